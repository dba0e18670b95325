"""Filling in the middle: what learning it costs left to right, and what keeps it through continual pre-training."""

from math import log
from typing import Any

import numpy as np

from aurora_m.model.likelihood import score_spans
from aurora_m.tokens.fim import arrange
from tests.oracles.lab import Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle

MARKS = (1, 2, 3)  # the ids of prefix, middle and suffix
SPAN, FIRST, LAST = 60, 22, 38  # bytes of a span of code, and those of them that are its middle
EVERY = 100  # bytes of held-out code, one span
STEPS = 500


def middle_bits(lab: Lab, model: Any) -> float:
    """Bits per byte of middles of held-out code, given what stands before and after."""
    spans = []
    for doc in lab.held["py"]:
        spans += [np.array(doc[at : at + SPAN]) for at in range(0, len(doc) - SPAN, EVERY)]
    rows = [arrange(span, FIRST, LAST, MARKS, spm=False).tolist() for span in spans]
    nats = score_spans(model.eval(), [(row, len(row) - (LAST - FIRST)) for row in rows])
    return -sum(nats) / log(2) / (len(rows) * (LAST - FIRST))


# --- O13: what it costs


def code_alone(lab: Lab, fim: float) -> Arm:
    """Learn code from nothing, with middles of such a share to fill in."""
    return Arm((("py", 1.0),), 2 * lab.cap_steps, 3e-3, fim=fim)


def price(lab: Lab, fim: float = 0.5) -> Figures:
    """What left-to-right code costs more where middles are filled in, and how much better middles are then."""
    plain, filled = lab.run(code_alone(lab, 0.0)), lab.run(code_alone(lab, fim))
    gain = middle_bits(lab, plain.model) / middle_bits(lab, filled.model)
    return {"left_to_right": filled.bits["py"] / plain.bits["py"] - 1, "infill_gain": gain}


# --- O14: what keeps it


def kept(lab: Lab, beside: str = "py") -> Figures:
    """How far middles of code become dearer by Japanese alone, and by Japanese with a tenth of something beside it."""
    before = middle_bits(lab, lab.run(lab.base).model)
    reads = (("ja", 0.9), (beside, 0.1))
    arms = {"none": lab.cap(), "code": lab.cap(reads=reads), "filled": lab.cap(reads=reads, fim=0.5)}
    return {f"rise_{name}": middle_bits(lab, lab.run(arm).model) - before for name, arm in arms.items()}


ORACLES = (
    Oracle(
        13, "filling in middles is nearly free left to right", "2207.14255",
        "free at scale; 3.6 % at this size",
        (Bound("left_to_right", "<", 0.06), Bound("infill_gain", ">", 1.1)), price,
        "no middle is filled in, whatever was asked", lambda lab: price(lab, 0.0),
    ),
    Oracle(
        14, "infilling survives a new language only with replay of code", "a first measurement",
        "middles 2.57 before; 7.86 without replay, 2.78 with 10 % code, 2.75 with 10 % filled in",
        (Bound("rise_none", ">", 0.3), Bound("rise_code", "<", 0.12)), kept,
        "the code is English", lambda lab: kept(lab, "en"),
    ),
)  # fmt: skip
