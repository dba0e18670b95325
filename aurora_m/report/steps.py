"""The steps that compare models with their base and write for people."""

from collections.abc import Mapping, Sequence

from aurora_m.core.declare import Steps, step
from aurora_m.core.step import Step


@step("report.forgetting:forgetting")
def forgetting(*, scores: Steps, models: Sequence[str], old: Sequence[str], margins: Mapping[str, float]) -> None:
    """What each model has gained and lost over the base."""


@step("report.pages.datasheet:datasheet", version=2)
def datasheet(
    *, fetched: Steps, duplicates: Step, overlap: Step, decided: Steps, rewritten: Steps, recipe: str
) -> None:
    """The datasheet of the text."""


@step("report.pages.card:model_card", version=2)
def model_card(
    *, forgetting: Step, models: Steps, decided: Steps, rewritten: Steps, mixtures: Steps, reviewed: Steps, recipe: str
) -> None:
    """The card that goes with the released model."""


@step("report.pages.report:page", version=3)
def page(
    *,
    forgetting: Step,
    models: Steps,
    decided: Steps,
    rewritten: Steps,
    mixtures: Steps,
    reviewed: Steps,
    fertility: Step,
    answers: Steps,
    scores: Steps,
    items: Step,
    recipe: str,
) -> None:
    """The report of the run, one page."""
