"""Wilson's interval equals values known by hand or from the literature."""

import pytest

from aurora_m.core.interval import wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 100, 0.0, 0.036995),  # z^2 / (n + z^2)
        (0, 250, 0.0, 0.015133),
        (100, 100, 0.963005, 1.0),
        (5, 10, 0.236593, 0.763407),
        (81, 263, 0.255289, 0.366208),  # Newcombe 1998, table I: 0.2553 to 0.3662
    ],
)
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    assert list(wilson(hits, n)) == pytest.approx([low, high], abs=2e-5)
