"""The step by which a model leaves the house."""

from aurora_m.core.declare import Steps, step
from aurora_m.core.step import Step


@step("release.export:export", version=2)
def export(*, model: Step, base: Step, card: Step, docs: Steps, license: str, dtype: str) -> None:
    """A model and its card, as they are published."""
