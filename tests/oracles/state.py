"""What goes on exactly: inserted blocks, optimizer states, resumed runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from aurora_m.core.manifest import sealed, unsealed
from aurora_m.model.expand import expand
from aurora_m.tokens.rows import Row
from aurora_m.tokens.stream import Stream
from aurora_m.train.checkpoint import FOLDER, STATE
from aurora_m.train.pieces import own_pieces, write_pieces
from tests.oracles.lab import OLD, ROWS, VOCAB, Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle

RATE = 1e-3  # constant: no warm-up hides a lost state
STEPS, KILLED = 40, 25
FRESH = 2.0  # times as large as the next update must one from nothing be, or the state would not matter here


def steady(lab: Lab, opt_steps: int) -> Arm:
    """Go on with the base's text at one rate."""
    return lab.cap(reads=tuple(OLD.items()), peak_lr=RATE, end=1.0, warmup=0.0, opt_steps=opt_steps)


# --- O17: inserted blocks


def expanded(lab: Lab, then: Callable[[Any], None] = lambda model: None) -> Figures:
    """How far logits move when blocks are inserted."""
    model = lab.model(lab.base)
    tokens_BT = torch.randint(0, VOCAB, (4, 48), generator=torch.Generator().manual_seed(lab.seed))
    with torch.no_grad():
        before_BTV = model(tokens_BT).logits
        expand(model, 2)
        then(model)
        return {"moved": float((model(tokens_BT).logits - before_BTV).abs().max())}


def not_zero(model: Any) -> None:
    """Give an inserted block's output weights of its own."""
    nn.init.normal_(model.model.layers[1].mlp.down_proj.weight, std=0.02)


# --- O18: the optimizer's state


@dataclass(frozen=True)
class Later:
    """The rows of a stream from one on."""

    rows: Stream
    first: int

    def __getitem__(self, index: int) -> Row:
        return self.rows[self.first + index]


def carried(lab: Lab, lost: bool = False) -> Figures:
    """The first update after a break, with the state carried over, against that of a run without a break."""
    whole, before, work = lab.model(lab.base), lab.model(lab.base), lab.work()
    rows = lab.rows(steady(lab, STEPS + 1))
    lab.fit(before, steady(lab, STEPS), rows, work, keep=True)
    lab.fit(whole, steady(lab, STEPS + 1), rows)
    sizes = {}
    for name, reuse in (("carried", None if lost else work.out), ("fresh", None)):
        after = replace_weights(lab.model(lab.base), before)
        lab.fit(after, steady(lab, 1), Later(rows, STEPS * ROWS), reuse=reuse)
        sizes[name] = distance(after, before)
        if name == "carried":
            off = distance(after, whole)
    real = distance(whole, before)
    return {"off": off, "carried_over_real": sizes["carried"] / real, "fresh_over_real": sizes["fresh"] / real}


def replace_weights(model: Any, other: Any) -> Any:
    """Give a model the weights of another."""
    model.load_state_dict(other.state_dict())
    return model


def distance(one: Any, two: Any) -> float:
    """How far the weights of two models are from each other."""
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return float(sum(float((p - q).detach().double().square().sum()) for p, q in pairs)) ** 0.5


# --- O20: a killed run


@dataclass(frozen=True)
class Killed:
    """Rows, of which one cannot be read."""

    rows: Stream
    last: int

    def __getitem__(self, index: int) -> Row:
        if index >= self.last:
            raise KeyboardInterrupt
        return self.rows[index]


def resumed(lab: Lab, spoil: Callable[[Path], None] = lambda checkpoint: None) -> Figures:
    """How far a run that was killed and gone on with ends from one that was not."""
    arm, whole, half = steady(lab, STEPS), lab.model(lab.base), lab.model(lab.base)
    rows = lab.rows(arm)
    curve = lab.fit(whole, arm, rows)
    work = lab.work(save_every_s=0.0)
    try:
        lab.fit(half, arm, Killed(rows, KILLED * ROWS), work)
    except KeyboardInterrupt:
        spoil(next((work.scratch / FOLDER).glob("*/")))
    again = lab.model(lab.base)
    second = lab.fit(again, arm, rows, work)
    return {"off": distance(again, whole), "same_curve": float(json.dumps(second) == json.dumps(curve))}


def without_state(checkpoint: Path) -> None:
    """Set the optimizer's states in a checkpoint to zero, its weights left."""
    state, _ = unsealed((checkpoint / STATE).read_bytes())
    del state["checksum"]
    [path] = checkpoint.glob("*.safetensors")
    tensors = {name: value * (1 if name.startswith("model.") else 0) for name, value in load_file(path).items()}
    sha256 = write_pieces(path, own_pieces(tensors, 0, 0))
    (checkpoint / STATE).write_bytes(sealed({**state, "files": {path.name: sha256}}))


ORACLES = (
    Oracle(
        17, "inserted blocks change nothing before they learn", "2401.02415",
        "logits are identical",
        (Bound("moved", "=", 0.0),), expanded,
        "one inserted block does not add zero", lambda lab: expanded(lab, not_zero), exact=True,
    ),
    Oracle(
        18, "an optimizer state that is carried over goes on as if there had been no break",
        "OLMo 758; a first measurement",
        "the first update of a lost state is 4.8 times too large",
        (Bound("off", "=", 0.0), Bound("carried_over_real", "<", 1.3), Bound("fresh_over_real", ">", FRESH)), carried,
        "the state is lost", lambda lab: carried(lab, lost=True), exact=True,
    ),
    Oracle(
        20, "a killed run ends as if nothing had happened", "streaming 869, 880",
        "the same weights and curve, bit for bit",
        (Bound("off", "=", 0.0), Bound("same_curve", "=", 1.0)), resumed,
        "the checkpoint's optimizer state is zeroed", lambda lab: resumed(lab, without_state), exact=True,
    ),
)  # fmt: skip
