"""How sure a number is: the bootstrap for rates, exact tests for pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurora_m.core.canon import digest

CHUNK_COUNTS = 2**22  # resampled counts held at a time, 32 MiB


def resample(rows_NC: NDArray[np.float64], name: str, resamples: int) -> NDArray[np.float64]:
    """Column sums [resamples, C] of rows drawn with replacement, all columns together; seeded by `name`."""
    n = len(rows_NC)
    random = np.random.default_rng(int(digest(name)[:16], 16))
    chunk = max(1, CHUNK_COUNTS // n)
    parts = [
        random.multinomial(n, np.full(n, 1 / n), size=min(chunk, resamples - first)) @ rows_NC
        for first in range(0, resamples, chunk)
    ]
    return np.concatenate(parts)


def middle_95(values: NDArray[np.float64]) -> tuple[float, float]:
    """The interval that holds the middle 95 % of bootstrap values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p that a pair is as likely to be lost as gained (McNemar 1947, binomial form)."""
    n = lost + gained
    term = tail = 1  # n over k, exactly, and its sum
    for k in range(min(lost, gained)):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for how many there are (Holm 1979), in the order given."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
