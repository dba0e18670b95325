"""Compiled loops over word and line hashes: what of a text repeats within it."""

from typing import Any

import numpy as np

from aurora_m.data.compiled import compiled
from aurora_m.data.kernels import FIVE, ONE, gram, slot

TWO = np.int64(2)


@compiled
def _repeated(hashes: Any, weights: Any, first: Any, end: Any, n: Any, keys: Any, marks: Any, mark: Any) -> Any:
    """Share of the weight of hashes[first:end] that lies in n-grams which stood earlier in it."""
    part, total, until = 0, 0, first
    for i in range(first, end):
        if i + n <= end:
            key = gram(hashes, i, n)
            at = slot(keys, marks, mark, key)
            if marks[at] == mark:
                until = i + n
            keys[at], marks[at] = key, mark
        part += weights[i] if i < until else 0
        total += weights[i]
    return part / max(total, 1)


@compiled
def _top(hashes: Any, weights: Any, first: Any, end: Any, keys: Any, marks: Any, mark: Any, counts: Any) -> Any:
    """Share of the weight that lies in the most frequent 2-gram, the first of equals; 0 if none stands twice."""
    places = np.empty(max(end - first - 1, 0), np.int64)
    top, often = -1, 1
    for i in range(len(places)):
        key = gram(hashes, first + i, TWO)
        at = slot(keys, marks, mark, key)
        counts[at] = counts[at] + 1 if marks[at] == mark else 1
        keys[at], marks[at], places[i] = key, mark, at
    for at in places:
        if counts[at] > often:
            top, often = at, counts[at]
    part, total, until = 0, 0, 0
    for i in range(end - first):
        if i < len(places) and places[i] == top:
            until = i + 2
        part += weights[first + i] if i < until else 0
        total += weights[first + i]
    return part / max(total, 1)


@compiled
def repeats(words: Any, lengths: Any, bounds: Any, lines: Any, sizes: Any, line_bounds: Any) -> Any:
    """Shares of each text that repeat: [bytes of lines, characters of words in the top 2-gram, words in 5-grams].

    A line or 5-gram repeats when it stood earlier in the text (as DataTrove counts). The rules are those of Gopher
    (Rae et al. 2021, table A1), but a word that two overlapping 2-grams share counts once, and punctuation never.
    """
    texts = len(bounds) - 1
    most = 1
    for text in range(texts):
        most = max(most, max(bounds[text + 1] - bounds[text], line_bounds[text + 1] - line_bounds[text]))
    size = 4
    while size < 2 * most:
        size *= 2
    keys, marks, counts = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    ones = np.ones(len(words), np.int32)
    shares = np.zeros((texts, 3))
    for text in range(texts):
        first, end, mark = bounds[text], bounds[text + 1], 3 * text
        shares[text, 0] = _repeated(lines, sizes, line_bounds[text], line_bounds[text + 1], ONE, keys, marks, mark + 1)
        shares[text, 1] = _top(words, lengths, first, end, keys, marks, mark + 2, counts)
        shares[text, 2] = _repeated(words, ones, first, end, FIVE, keys, marks, mark + 3)
    return shares
