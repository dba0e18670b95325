"""Learning rates: what they cost, what warming up again does, and that the planned one is the one that is used."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from aurora_m.core.errors import TrainError
from tests.oracles.lab import BATCH, OLD, Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle, least_fall

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
LOW, HIGH = 3e-4, 3e-3  # the base's last rate and its peak
MARKS = 20
FIRST = 3  # steps after which a jump is read
STEPS = 20


# --- O5: the frontier


def rates(lab: Lab, used: Sequence[float] = RATES) -> Figures:
    """What is old and what is new at each rate, without replay."""
    runs = [lab.run(lab.cap(peak_lr=rate)) for rate in used]
    old, new = [run.bits["old"] for run in runs], [run.bits["ja"] for run in runs]
    ends = {"new_1e-4": new[0], "new_3e-3": new[-1]}
    return {"least_new_fall": least_fall(new), "old_1e-3_over_3e-4": old[2] - old[1], **ends}


# --- O6: warming up again


def same_data(lab: Lab, peak_lr: float, **changes: Any) -> Arm:
    """Go on with what the base learnt from."""
    return lab.cap(reads=tuple(OLD.items()), fim=lab.base.fim, peak_lr=peak_lr, **changes)


def rewarmed(lab: Lab, peak_lr: float = HIGH) -> Figures:
    """The bump after a new warm-up, with no change of data, and what is gained in the end over a low, constant rate."""
    again = lab.run(same_data(lab, peak_lr, marks=MARKS, opt_steps=2 * lab.cap_steps)).marks
    constant = lab.run(same_data(lab, LOW, end=1.0, marks=MARKS, opt_steps=2 * lab.cap_steps)).marks
    return {"bump": max(again[1 : MARKS // 2]) - again[0], "gain": constant[-1] - again[-1]}


# --- O7: the warm-up itself


def jumps(lab: Lab, warmup: float = 0.05) -> Figures:
    """How far old text jumps in the first steps of a fresh optimizer, with a warm-up as a share of that without."""
    found = []
    for share in (warmup, 0.0):
        arm = same_data(lab, HIGH, warmup=share, opt_steps=FIRST, of_steps=lab.cap_steps, marks=FIRST)
        marks = lab.run(arm).marks
        found.append(max(marks[1:]) - marks[0])
    return {"jump_without": found[1], "with_over_without": max(found[0], 0.0) / found[1]}


# --- O19: the rate that is used


def applied(lab: Lab, change: Callable[[float], float] = lambda rate: rate) -> Figures:
    """The farthest that a used rate is from the plan: from an optimizer state of a high rate, on a low one's curve."""
    before, seen = lab.work(), []
    model = lab.model("scratch")
    lab.fit(model, Arm(tuple(OLD.items()), STEPS, HIGH), work=before, keep=True)
    arm = Arm(tuple(OLD.items()), STEPS, LOW, warmup=0.25)

    def look(optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = change(group["lr"])
        seen.append({group["lr"] for group in optimizer.param_groups})

    hook = register_optimizer_step_pre_hook(look)
    with suppress(TrainError):  # Aurora's own check, after the update
        lab.fit(model, arm, reuse=before.out)
    hook.remove()
    off = [abs(rate - wanted(step, arm)) for step, rates_ in enumerate(seen, 1) for rate in rates_]
    return {"off": max(off) / LOW, "steps": float(len(seen))}


def wanted(step: int, arm: Arm) -> float:
    """The planned rate of a step, written down a second time: warm up in a line, then half a cosine to the end."""
    warmup, total, end = round(arm.warmup * arm.opt_steps * BATCH), arm.opt_steps * BATCH, arm.end * arm.peak_lr
    at = step * BATCH
    if at < warmup:
        return arm.peak_lr * at / warmup
    return end + (arm.peak_lr - end) * (1 + math.cos(math.pi * (at - warmup) / (total - warmup))) / 2


ORACLES = (
    Oracle(
        5, "a higher rate learns more and forgets more", "2308.04014, 2403.08763",
        "new falls 5.98, 5.01, 4.06, 3.62 from 1e-4 to 3e-3; old 3.9 at 3e-4, 6.5 at 1e-3",
        (Bound("least_new_fall", ">", 0.0), Bound("old_1e-3_over_3e-4", ">", 0.2)), rates,
        "every arm is trained at 1e-3, whatever was asked", lambda lab: rates(lab, (1e-3,) * 4),
    ),
    Oracle(
        6, "warming up again costs at first and pays in the end, with no change of data", "2308.04014, 2403.08763",
        "bump 0.19 at step 31; 0.05 below a constant low rate at the end",
        (Bound("bump", ">", 0.1), Bound("gain", ">", 0.0)), rewarmed,
        "the new peak is ignored", lambda lab: rewarmed(lab, LOW),
    ),
    Oracle(
        7, "a fresh Adam needs its warm-up", "2308.04014; a first measurement",
        "first steps jump by 1.0 without, by about 0 with",
        (Bound("jump_without", ">", 0.1), Bound("with_over_without", "<", 0.2)), jumps,
        "the warm-up is ignored", lambda lab: jumps(lab, 0.0),
    ),
    Oracle(
        19, "the rate in use is the planned one, whatever rate an optimizer state comes from", "Megatron-LM 963, 1284",
        "equal at every step",
        (Bound("off", "=", 0.0), Bound("steps", "=", STEPS)), applied,
        "something doubles the rate behind the loop's back", lambda lab: applied(lab, lambda rate: 2 * rate),
        exact=True,
    ),
)  # fmt: skip
