"""The step by which a model leaves the house."""

from aurora_m.core.declare import step
from aurora_m.core.step import Step


@step("release.export:export")
def export(*, model: Step, card: Step, license: str) -> None:
    """A model and its card, as they are published."""
