"""Kinds of devices, by name: what they can do at most, and what share of that training reaches as a rule."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aurora_m.core.errors import RecipeError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """A device as its maker describes it."""

    flop_s: float  # peak of dense bfloat16 matrix products; of a core of a CPU, float32
    memory_bytes: int  # 0: what the machine has
    mfu: float  # share of the peak that 6 FLOP a parameter and token usually reach


# cpu: 8-wide fused multiply-adds, two a cycle, at 3 GHz; what the loop reached on tiny models.
# a100 and h100: SXM; the usual share is that of published runs of 1B to 13B on few machines.
# mi250x: both halves of a module, which torch sees as two devices; with `RECOMPUTED`, 0.2, the share that Aurora-M
# reached on 128 of them.
KINDS = {
    "cpu": Kind(96e9, 0, 0.4),
    "a100": Kind(312e12, 80 * 2**30, 0.4),
    "h100": Kind(989e12, 80 * 2**30, 0.4),
    "h200": Kind(989e12, 140 * 2**30, 0.4),
    "mi250x": Kind(383e12, 128 * 2**30, 0.24),
}
# Times as long does a step take whose blocks are made again on the way back: a forward pass more of four would be 1.33,
# but what waits for other devices waits no longer (rehearsed: 15.5B on 128 H100, 6.81 s for 5.72 s).
RECOMPUTED = 1.2


@dataclass(frozen=True)
class Machines:
    """What training is estimated on."""

    kind: str = "cpu"
    devices: int = 1
    mfu: float = 0.0  # 0: the kind's usual one
    micro_batch: int = 0  # rows a forward pass of a device; 0: all of its share
    replicas: int = 1  # as in core.step.Runtime, and the next three
    tensor: int = 1
    precision: str = "auto"
    recompute: str = "none"

    @property
    def data(self) -> int:
        """How many devices, or groups of `tensor` devices, read rows of their own."""
        return self.devices // self.tensor

    @property
    def number_bytes(self) -> int:
        """Of the numbers that are computed with."""
        wide = self.precision == "fp32" or (self.precision == "auto" and self.kind == "cpu")
        return 4 if wide else 2

    @property
    def laid_out(self) -> bool:
        """Whether weights are divided, and gathered where they are used."""
        return self.devices > 1 or self.number_bytes < 4

    @property
    def share(self) -> float:
        """Of the peak that is expected to be used."""
        return self.mfu or KINDS[self.kind].mfu / (RECOMPUTED if self.recompute == "blocks" else 1.0)

    @property
    def flop_s(self) -> float:
        """What one device is expected to do."""
        return KINDS[self.kind].flop_s * self.share

    def check(self) -> None:
        """RecipeError for what does not exist."""
        if self.kind not in KINDS:
            hint = did_you_mean(self.kind, KINDS, f"choose {', '.join(KINDS)}")
            raise RecipeError(f"there is no kind of device `{self.kind}`", at="--device-kind", hint=hint)
        if self.devices < 1:
            raise RecipeError(f"`{self.devices}` is too small", at="--devices", hint="write a positive number")
        if not 0 <= self.mfu <= 1:
            raise RecipeError(f"`{self.mfu:g}` is not a share", at="--mfu", hint="write a number from 0 to 1")
        if self.devices % (self.replicas * self.tensor):
            what = f"{self.devices} devices cannot be {self.replicas} replicas of {self.tensor} or a multiple of it"
            raise RecipeError(what, at="--devices", hint="write a number that both divide")


def options() -> argparse.ArgumentParser:
    """The options that say on what training is to be estimated."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--devices", type=int, default=1, help="estimate training on so many devices (default 1)")
    made.add_argument("--device-kind", default="cpu", help=f"of these: {', '.join(KINDS)} (default cpu: one core)")
    made.add_argument(
        "--mfu", type=float, default=0.0, help="share of their peak that is used; 0: the kind's usual one"
    )
    return made


def machines_of(args: argparse.Namespace, runtime: Mapping[str, Any]) -> Machines:
    """What the options say; `runtime` are those of `core.step.Runtime` that a run is given too."""
    shared = {name: runtime[name] for name in ("replicas", "tensor", "precision", "recompute")}
    return Machines(args.device_kind, args.devices, args.mfu, args.micro_batch, **shared)
