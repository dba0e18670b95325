"""Compiled loops over shingle hashes: MinHash bands, true similarity, and components of near pairs."""

from typing import Any

import numpy as np

from aurora_m.data.compiled import compiled
from aurora_m.data.kernels import gram

BAND_ROWS = 8
ROWS = np.int64(BAND_ROWS)


@compiled
def bands(shingles: Any, bounds: Any, factors: Any, terms: Any) -> Any:
    """MinHash (Broder 1997) of each text's shingle hashes by h * factor + term mod 2^64, one key per band of rows."""
    texts, rows = len(bounds) - 1, len(factors)
    keys = np.empty((texts, rows // BAND_ROWS), np.uint64)
    least = np.empty(rows, np.uint64)
    for text in range(texts):
        least[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for i in range(bounds[text], bounds[text + 1]):
            for row in range(rows):
                value = shingles[i] * factors[row] + terms[row]
                least[row] = min(least[row], value)
        for band in range(keys.shape[1]):
            keys[text, band] = gram(least, band * BAND_ROWS, ROWS)
    return keys


@compiled
def jaccard(shingles: Any, bounds: Any, a: Any, b: Any) -> Any:
    """Size of the intersection over size of the union of two texts' sorted, distinct shingles; 0 for none."""
    i, end_i, j, end_j, both = bounds[a], bounds[a + 1], bounds[b], bounds[b + 1], 0
    union = end_i - i + end_j - j
    while i < end_i and j < end_j:
        left, right = shingles[i], shingles[j]
        both += 1 if left == right else 0
        i += 1 if left <= right else 0
        j += 1 if right <= left else 0
    return both / max(union - both, 1)


@compiled
def root(parents: Any, text: Any) -> Any:
    """The first text of a text's component; halves the path on the way."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@compiled
def link(shingles: Any, bounds: Any, order: Any, keys: Any, parents: Any, near: Any) -> None:
    """Join, in `parents`, the texts of `order` that share a key and whose true Jaccard is `near` or more.

    `order` sorts `keys`, equal ones by position; the smaller root wins, so a component's root is its first text.
    """
    start = 0
    for i in range(len(order)):
        if keys[order[i]] != keys[order[start]]:
            start = i
        for j in range(start, i):
            a, b = root(parents, order[j]), root(parents, order[i])
            if a != b and jaccard(shingles, bounds, order[j], order[i]) >= near:
                parents[max(a, b)] = min(a, b)
