"""The steps that measure models: items, answers, scores."""

from collections.abc import Sequence

from aurora_m.core.declare import Pin, Steps, step
from aurora_m.core.step import Step


@step("evals.suites:collect", version=2)
def collect(*, suites: Sequence[str], safety: str, pin: Pin) -> None:
    """The items of all suites."""


@step("evals.answer:answer", version=2)
def answer(*, model: Step, items: Step, held: Steps, max_new: int, max_held_bytes: int, seed: int) -> None:
    """What a model answers, and its loss on held-out text."""


@step("evals.score:score")
def score(*, answers: Step, items: Step) -> None:
    """How many answers are right."""
