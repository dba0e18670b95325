"""Guards of a running stage: what to do with a step whose loss or gradient is not finite, or a spike; a loss that runs
away stops every stage.

All decisions follow from the curve, whose numbers are the same on every rank, so all ranks decide alike.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from aurora_m.core.errors import TrainError
from aurora_m.train.curve import Curve, Entry, Rewind, Skip
from aurora_m.train.facts import GuardFacts
from aurora_m.train.schedule import OptStep

WINDOW, LEAST = 128, 16  # good steps that a spike is measured against: at most, at least
WARMING = 5.0  # times as far must a spike stand out while the learning rate rises, and the loss may with it
FLOOR = 0.02  # of the median: the least standard deviation, for losses that hardly move
NEAR, MANY = 16, 3  # so many bad steps within so many lead to a rewind
MOST_SKIPPED = 8  # of `NEAR`; more is no spike but another loss
REWINDS = 10  # of one stage, at most
TIMES, AWAY = 2.0, 1.0  # a loss so many times that of calm steps, and so many nats more, is far away:
NEAREST, FARTHEST = 2.0, 3.0  # nats, at least, as of rows learnt by heart; and at most, as a collapse ends on a plateau
FROM_START = 5.0  # nats more than `TIMES` the first loss: before there are calm steps, and where there were never any
PASSED = "passed over"  # why a step has no update that a rewind found bad


@dataclass(frozen=True)
class Verdict:
    """What a guard says of a step: whether it has its update, and what stands in the curve."""

    update: bool
    step: Entry | Skip


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
    patience: int = 9  # steps far away, most of the last, that are no spike: the stage stops, whatever `action` says

    def judge(self, curve: Curve, entry: Entry, step: OptStep, name: str) -> Verdict:
        """Whether what was found in the next step of a curve is bad, and what follows.

        TrainError where it stops the stage; the last checkpoint stays good.
        """
        wrong = self._wrong(curve, entry, step.warming)
        if not wrong:
            self._stop_if_away(curve, entry, step, name)
            return Verdict(True, entry)
        if self.action == "stop":
            hint = "lower `peak_lr` or lengthen `warmup_tokens`; the weights were not updated with this batch"
            raise TrainError(
                f"the loss is {entry.loss:g} and the gradient norm {entry.norm:g}", at=step.at(name), hint=hint
            )
        if self.action == "skip" and len(bad_steps(curve)) >= MOST_SKIPPED:
            what = f"the last {NEAR} steps were bad more than {MOST_SKIPPED} times"
            hint = "this is no spike: lower `peak_lr`, look at the rows that the curve names, or raise `spike`"
            raise TrainError(what, at=step.at(name), hint=hint)
        if self.action == "rewind" and wrong != "not finite":
            return Verdict(True, replace(entry, spike=wrong, rows=step.ends))
        found = f"loss {entry.loss:g}, gradient norm {entry.norm:g}"
        return Verdict(False, Skip(entry.tokens, entry.lr, wrong, step.ends, found))

    def _wrong(self, curve: Curve, entry: Entry, warming: bool) -> str:
        if not (math.isfinite(entry.loss) and math.isfinite(entry.norm)):
            return "not finite"
        if self.action == "stop":
            return ""
        learnt = (step for step in reversed(curve.steps) if isinstance(step, Entry) and not step.spike)
        good = [*islice(learnt, WINDOW)]
        limit = self.spike * (WARMING if warming else 1.0)
        if len(good) < LEAST:
            return ""
        if deviations(entry.loss, [step.loss for step in good]) > limit:
            return "loss"
        return "norm" if deviations(entry.norm, [step.norm for step in good]) > limit else ""

    def _stop_if_away(self, curve: Curve, entry: Entry, step: OptStep, name: str) -> None:
        """TrainError if the loss is far above what it was, for more than half of the last steps."""
        learnt = (step.loss for step in reversed(curve.steps) if isinstance(step, Entry))
        last = [entry.loss, *islice(learnt, 2 * self.patience - 2)]
        level = min(curve.first, curve.calm)
        rise = min(max(NEAREST, (TIMES - 1) * curve.calm + AWAY), FARTHEST)
        limit = min(TIMES * curve.first + FROM_START, curve.calm + rise)
        if sum(loss > limit for loss in last) < self.patience:
            return
        what = f"the loss runs away: it was {level:.3g}, and is {entry.loss:.3g} at a learning rate of {entry.lr:.3g}"
        hint = "lower `peak_lr`, or lengthen `warmup_tokens`: this model will not come back"
        raise TrainError(what, at=step.at(name), hint=hint)

    def rewinds(self, curve: Curve) -> bool:
        """Whether the last steps of a curve are to be undone."""
        return self.action == "rewind" and len(bad_steps(curve)) >= MANY

    def facts(self, curve: Curve) -> GuardFacts:
        """What a finished stage says: the optimizer steps that had no update, and how often it was rewound."""
        if self.action == "stop":
            return GuardFacts()
        return GuardFacts(tuple(curve.skipped), curve.rewind.count if self.action == "rewind" else None)

    def saves(self, curve: Curve) -> bool:
        """Whether a checkpoint may be written: never after a bad step that may yet be undone."""
        return self.action != "rewind" or not bad_steps(curve)


def deviations(value: float, others: Sequence[float]) -> float:
    """How far a value is above the median of others, in standard deviations taken from their median deviation."""
    middle = statistics.median(others)
    spread = 1.4826 * statistics.median(abs(other - middle) for other in others)
    return (value - middle) / max(spread, FLOOR * abs(middle), 1e-12)


def bad_steps(curve: Curve) -> list[int]:
    """The bad ones of the last `NEAR` optimizer steps, those aside that are passed over."""
    first = max(0, curve.done - NEAR)
    return [number for number, step in enumerate(curve.steps[first:], first + 1) if _bad(step)]


def _bad(step: Entry | Skip) -> bool:
    return bool(step.spike) if isinstance(step, Entry) else step.why != PASSED


def passed_over(step: OptStep) -> Skip:
    """What the curve says of a step that a rewind found bad."""
    return Skip(step.tokens, step.lr, PASSED, step.ends)


def undone(curve: Curve, at: str) -> Rewind:
    """What a rewind leads over. TrainError after too many."""
    count = curve.rewind.count + 1
    if count > REWINDS:
        hint = "the loss does not come back: lower `peak_lr`, look at the rows that the curve names, or raise `spike`"
        raise TrainError(f"the stage was rewound {REWINDS} times and would be again", at=at, hint=hint)
    return Rewind(tuple(sorted({*curve.rewind.passed_over, *bad_steps(curve)})), count)
