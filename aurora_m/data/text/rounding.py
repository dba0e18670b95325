"""Shares and means have 6 digits; sums of them are whole millionths, exact however the shards are cut."""

import numpy as np
from numpy.typing import ArrayLike

DIGITS, MILLION = 6, 1_000_000


def millionths(values: ArrayLike) -> int:
    """The sum of rounded values, in millionths."""
    return int(np.rint(np.asarray(values, np.float64) * MILLION).astype(np.int64).sum())


def mean(total: int, count: int) -> float:
    """The mean of `count` values that sum to `total` millionths; 0 of none."""
    return round(total / MILLION / max(count, 1), DIGITS)
