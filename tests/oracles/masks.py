"""Packed documents: that they do not see each other, in one forward pass and over a whole training run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aurora_m.model.forward import forward_hidden
from aurora_m.model.selftest import packing_leak
from aurora_m.tokens.rows import Row
from aurora_m.tokens.stream import Stream
from tests.oracles.lab import ROW_TOKENS, Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle

SYMBOLS = 16  # of which the copied documents are made: chance is 1 / 16
COPIED = ROW_TOKENS // 2 - 1  # tokens of a document, so that it and its copy fill a row
COPY_DOCS = 8000
COPY_STEPS = 400
JUDGED = 64  # rows


# --- O15: isolation


def isolated(lab: Lab) -> Figures:
    """How far the second document's logits move when the first one is another."""
    return {"moved": packing_leak(lab.run(lab.base).model)}


def masked_by_ones(lab: Lab) -> Figures:
    """The same, where somebody passes a mask of ones beside the position ids."""
    model = lab.model(lab.base)
    forward = model.forward

    def seeing(input_ids: Any, **rest: Any) -> Any:
        return forward(input_ids, attention_mask=torch.ones_like(input_ids), **rest)

    model.forward = seeing
    return {"moved": packing_leak(model)}


# --- O16: copies


@dataclass(frozen=True)
class Unmasked:
    """Rows as one document each: the positions do not begin anew."""

    rows: Stream

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]._replace(positions=np.arange(ROW_TOKENS))


def copied(lab: Lab, unmasked: bool = False) -> Figures:
    """How often the copy of a random document that stands before it in the row is foretold, after training on such."""
    random = np.random.default_rng(lab.seed)
    docs = random.integers(4, 4 + SYMBOLS, (COPY_DOCS, COPIED)).tolist()
    lab.docs["copies"] = [[*doc, lab.end] for doc in docs for _ in range(2)]
    arm = Arm((("copies", 1.0),), COPY_STEPS, 3e-3)
    stream = lab.rows(arm)
    rows: Any = Unmasked(stream) if unmasked else stream
    model = lab.model("scratch")
    lab.fit(model, arm, rows)
    judged = [rows[index] for index in range(JUDGED)]  # learnt from once or twice: copying is all there is to gain
    with torch.no_grad():
        hidden_ND, targets_N, _ = forward_hidden(model, judged)
        hits_BT = (model.lm_head(hidden_ND).argmax(-1) == targets_N).view(JUDGED, -1)
    return {"copied": float(hits_BT[:, COPIED + 1 : -1].float().mean())}


ORACLES = (
    Oracle(
        15, "packed documents do not see each other", "WrinkleFree 53, transformers 46634, 2402.13991",
        "exactly 0; up to 11 where only positions were reset",
        (Bound("moved", "=", 0.0),), isolated,
        "a mask of ones is passed beside the positions", masked_by_ones, exact=True,
    ),
    Oracle(
        16, "a model cannot learn to copy from the document before", "profam 495",
        "chance (6 %) with isolation; up to 95 % without",
        (Bound("copied", "<", 0.15),), copied,
        "positions do not begin anew", lambda lab: copied(lab, unmasked=True), exact=True,
    ),
)  # fmt: skip
