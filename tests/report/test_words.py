"""Numbers as people read them."""

import pytest

from aurora_m.report.words import SPACE, decimal, percent, points, power, signed


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (percent(0.875), "88 %"),
        (percent(0.875, 1), "87.5 %"),
        (signed(0.0123), "+1.2 %"),
        (signed(-0.62, 0), "−62 %"),
        (signed(-0.0001), "0.0 %"),
        (points(0.125), "+12.5 pt"),
        (decimal(-1.5), "−1.500"),
        (power(3.2e15), "3.2 × 10¹⁵"),
        (power(0), "0"),
    ],
)
def test_numbers_read_well(found: str, wanted: str) -> None:
    assert found.replace(SPACE, " ") == wanted
