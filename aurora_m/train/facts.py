"""What a finished training step says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Raised:
    """The replay that a forgetting budget added."""

    rows: int
    share: float  # of all rows


@dataclass(frozen=True)
class GuardFacts:
    """What a guard did, unless it stops a step at once."""

    skipped: tuple[int, ...] | None = None  # optimizer steps that had no update
    rewinds: int | None = None


@dataclass(frozen=True)
class BudgetFacts:
    """What became of a forgetting budget, where there is one."""

    old_rise: Mapping[str, float] | None = None  # of each old language at the end, relative to the base
    marks_over: int | None = None  # evaluation points over the budget
    raised: Raised | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingFacts(GuardFacts, BudgetFacts):
    """A trained model. What a step had no part in is None."""

    opt_steps: int
    tokens: int
    loss: float | None = None  # mean of the last tenth
    parameters: int
    flop: int
    optimizer_state: str  # fresh or reused
    curve_tokens: int | None = None  # along the learning rate's curve, with those of the steps before
    trained: int | None = None  # weights that learned, where that is not all of them
    anchor_tokens: int | None = None
    read: Mapping[str, Mapping[str, float]] | None = None  # of a stage, by source: see tokens.mixture.achieved
    examples: int | None = None  # of a tuning
    too_long: int | None = None  # for a row of a tuning, and left out
