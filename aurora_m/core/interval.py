"""How sure a number is, and a share above all."""

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval, over `n` items or documents."""

    value: float
    low: float
    high: float
    n: int


def wilson(hits: float, n: int) -> tuple[float, float]:
    """95 % interval of a share, Wilson's score method (1927): right near 0 and 1, where the plain one is not."""
    share, z2 = hits / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
