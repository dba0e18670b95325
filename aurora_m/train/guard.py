"""Guards of a running stage: what to do with a step whose loss or gradient is not finite, or a spike.

All decisions follow from the curve, whose numbers are the same on every rank, so all ranks decide alike.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aurora_m.core.errors import TrainError
from aurora_m.core.step import Facts

WINDOW, LEAST = 128, 16  # good steps that a spike is measured against: at most, at least
WARMING = 5.0  # times as far must a spike stand out while the learning rate rises, and the loss may with it
FLOOR = 0.02  # of the median: the least standard deviation, for losses that hardly move
NEAR, MANY = 16, 3  # so many bad steps within so many lead to a rewind
MOST_SKIPPED = 8  # of `NEAR`; more is no spike but another loss
REWINDS = 10  # of one stage, at most
PASSED = "passed over"  # why a step has no update that a rewind found bad


@dataclass(frozen=True)
class Guard:
    """What is bad, and what follows from it.

    stop    not finite: an error, before the update
    skip    not finite or a spike: no update
    rewind  not finite: no update. A spike: an update, as clipped as ever; but of `MANY` bad steps within `NEAR` none
            may have one: back to the last checkpoint before them, and over them without an update
    source  PaLM rewinds and skips (Chowdhery et al. 2022, arXiv 2204.02311, section 5.1); the spread over 128 steps is
            OLMo's (arXiv 2501.00656)
    """

    action: str = "stop"
    spike: float = 8.0  # robust standard deviations above the median

    def judge(self, curve: Sequence[Any], loss: float, norm: float, warming: bool, at: str) -> str:
        """What is wrong with the next step of a curve: `not finite`, `loss`, `norm` or nothing.

        TrainError where it stops the stage; the last checkpoint stays good.
        """
        wrong = self._wrong(curve, loss, norm, warming)
        if wrong and self.action == "stop":
            hint = "lower `peak_lr` or lengthen `warmup`; the weights were not updated with this batch"
            raise TrainError(f"the loss is {loss:g} and the gradient norm {norm:g}", at=at, hint=hint)
        if wrong and self.action == "skip" and len(bad_steps(curve)) >= MOST_SKIPPED:
            what = f"the last {NEAR} steps were bad more than {MOST_SKIPPED} times"
            hint = "this is no spike: lower `peak_lr`, look at the rows that the curve names, or raise `spike`"
            raise TrainError(what, at=at, hint=hint)
        return wrong

    def _wrong(self, curve: Sequence[Any], loss: float, norm: float, warming: bool) -> str:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return "not finite"
        if self.action == "stop":
            return ""
        good = [*islice((entry for entry in reversed(curve) if "loss" in entry and "spike" not in entry), WINDOW)]
        limit = self.spike * (WARMING if warming else 1.0)
        for key, value in (("loss", loss), ("norm", norm)):
            if len(good) >= LEAST and deviations(value, [entry[key] for entry in good]) > limit:
                return key
        return ""

    def updates(self, wrong: str) -> bool:
        """Whether a step with this fault has its update all the same."""
        return not wrong or (self.action == "rewind" and wrong != "not finite")

    def noted(self, entry: dict[str, Any], wrong: str, rows: range) -> dict[str, Any]:
        """What the curve says of a step: a spike's rows, too; of a step without an update, no loss learnt from."""
        if not wrong:
            return entry
        if self.updates(wrong):
            return {**entry, "spike": wrong, "rows": [rows.start, rows.stop - 1]}
        found = f"loss {entry['loss']:g}, gradient norm {entry['norm']:g}"
        return {**skipped(entry["tokens"], entry["lr"], wrong, rows), "found": found}

    def rewinds(self, curve: Sequence[Any]) -> bool:
        """Whether the last steps of a curve are to be undone."""
        return self.action == "rewind" and len(bad_steps(curve)) >= MANY

    def facts(self, curve: Sequence[Any]) -> Facts:
        """What a finished stage says: the optimizer steps that had no update, and how often it was rewound."""
        if self.action == "stop":
            return {}
        without = [n for n, entry in enumerate(curve) if "skipped" in entry]
        return {"skipped": without, **({"rewinds": curve[0].get("rewinds", 0)} if self.action == "rewind" else {})}

    def saves(self, curve: Sequence[Any]) -> bool:
        """Whether a checkpoint may be written: never after a bad step that may yet be undone."""
        return self.action != "rewind" or not bad_steps(curve)


def deviations(value: float, others: Sequence[float]) -> float:
    """How far a value is above the median of others, in standard deviations taken from their median deviation."""
    middle = statistics.median(others)
    spread = 1.4826 * statistics.median(abs(other - middle) for other in others)
    return (value - middle) / max(spread, FLOOR * abs(middle), 1e-12)


def bad_steps(curve: Sequence[Any]) -> list[int]:
    """The bad ones of the last `NEAR` steps, those aside that are passed over. Entry n of a curve is step n."""
    steps = range(max(1, len(curve) - NEAR), len(curve))
    return [n for n in steps if "spike" in curve[n] or curve[n].get("skipped", PASSED) != PASSED]


def skipped(tokens: int, lr: float, why: str, rows: range) -> dict[str, Any]:
    """What the curve says of a step without an update."""
    return {"tokens": tokens, "lr": lr, "skipped": why, "rows": [rows.start, rows.stop - 1]}


def undone(curve: Sequence[Any], at: str) -> dict[str, Any]:
    """What the first entry says after a rewind. TrainError after too many."""
    rewinds = curve[0].get("rewinds", 0) + 1
    if rewinds > REWINDS:
        hint = "the loss does not come back: lower `peak_lr`, look at the rows that the curve names, or raise `spike`"
        raise TrainError(f"the stage was rewound {REWINDS} times and would be again", at=at, hint=hint)
    return {"passed_over": sorted({*curve[0].get("passed_over", []), *bad_steps(curve)}), "rewinds": rewinds}
