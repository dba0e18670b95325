"""The step at which people decide."""

from aurora_m.core.declare import Pin, step


@step("review.gate:gate", version=2)
def gate(*, rows: str, rows_pin: Pin, decisions: str, decisions_pin: Pin, reviewers: int) -> None:
    """The safety rows that enough reviewers let pass."""
