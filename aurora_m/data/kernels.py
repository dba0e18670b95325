"""Compiled loops over the utf-8 bytes of a text column: words, lines and repeats as uint64 hashes, no Python per word.

A word is a run of letters and digits. Scripts that put no space between words (han, kana, Thai, Lao, Khmer, Burmese)
give the two-character pieces of their runs instead. Case is folded before hashing; punctuation never counts.
"""

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

SYMBOL, PUNCTUATION, SPACE, MARK, DIGIT, LETTER, UNSPACED = range(7)
JOINERS = "\u200c\u200d"  # inside Hindi and Persian words
UNCOMMON = "#%&*@\\_"  # punctuation to Unicode, symbols to a reader
UNSPACED_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x323AF),
)  # fmt: skip
ASSIGNED = ((0, 0x32400), (0xE0000, 0xE0200))  # no letter, mark, digit or space stands elsewhere
SEED = np.uint64(0x9E3779B97F4A7C15)
PRIME = np.uint64(0x100000001B3)
MIX_1, MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
HALF = np.uint64(33)
BAND_ROWS = 8
ONE, TWO, FIVE, ROWS = np.int64(1), np.int64(2), np.int64(5), np.int64(BAND_ROWS)  # literals compile callees anew


def _compiled(function: Function) -> Function:
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


@cache
def classes() -> NDArray[np.uint8]:
    """The class of every code point, from Python's Unicode tables."""
    unspaced = np.zeros(0x110000, np.bool_)
    for first, last in UNSPACED_RANGES:
        unspaced[first : last + 1] = True
    table = np.full(0x110000, SYMBOL, np.uint8)
    for first, last in ASSIGNED:
        table[first:last] = [_class(chr(point), bool(unspaced[point])) for point in range(first, last)]
    return table


def _class(char: str, unspaced: bool) -> int:
    category = unicodedata.category(char)
    if unspaced and (category[0] in "LM" or category == "Nl"):
        return UNSPACED
    if category[0] == "M" or char in JOINERS:
        return MARK
    if char.isspace():
        return SPACE
    if category[0] == "P" and char not in UNCOMMON:
        return PUNCTUATION
    return {"L": LETTER, "N": DIGIT}.get(category[0], SYMBOL)


@cache
def folded() -> NDArray[np.uint32]:
    """The lower case of every code point whose lower case is one code point; others stay."""
    table = np.arange(0x110000, dtype=np.uint32)
    for first, last in ASSIGNED:
        lower = (chr(point).lower() for point in range(first, last))
        table[first:last] = [ord(low) if len(low) == 1 else point for point, low in enumerate(lower, first)]
    return table


def text_buffers(texts: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.uint8], I64]:
    """A text column without nulls as (bytes, n + 1 offsets into them), without a copy for one chunk."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    column = chunks[0] if len(chunks) == 1 else pa.concat_arrays([pa.array([], texts.type), *chunks])
    _, offsets, data = column.cast(pa.large_string()).buffers()
    if len(column) == 0:
        return np.frombuffer(b"", np.uint8), np.frombuffer(bytes(8), np.int64)
    return np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64, len(column) + 1, column.offset * 8)


def words(texts: pa.ChunkedArray | pa.Array) -> tuple[U64, NDArray[np.int32], I64]:
    """Word hashes of all texts in a row, their lengths in characters, and n + 1 bounds of the texts."""
    data, offsets = text_buffers(texts)
    hashes, lengths, bounds = split_words(data, offsets, classes(), folded())
    return hashes[: bounds[-1]].copy(), lengths[: bounds[-1]].copy(), bounds


def lines(texts: pa.ChunkedArray | pa.Array) -> tuple[I64, U64, NDArray[np.int32], I64]:
    """Counts of each text [n, 6]: chars, alpha, digits, symbols, lines, chars of the longest line; then line hashes
    of all texts in a row, the lines' lengths in bytes, and n + 1 bounds. A line of white space alone is none."""
    data, offsets = text_buffers(texts)
    counts, hashes, sizes, bounds = split_lines(data, offsets, classes())
    return counts, hashes[: bounds[-1]].copy(), sizes[: bounds[-1]].copy(), bounds


@_compiled
def _mixed(value: Any) -> Any:
    value = (value ^ (value >> HALF)) * MIX_1
    value = (value ^ (value >> HALF)) * MIX_2
    return value ^ (value >> HALF)


@_compiled
def _decoded(data: Any, i: Any) -> Any:
    """One code point of valid utf-8 and its width in bytes."""
    first = np.int64(data[i])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[i + 1] & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | np.int64(data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F), 3
    high = (first & 0x07) << 18 | np.int64(data[i + 1] & 0x3F) << 12
    return high | np.int64(data[i + 2] & 0x3F) << 6 | (data[i + 3] & 0x3F), 4


@_compiled
def split_words(data: Any, offsets: Any, classes: Any, folded: Any) -> Any:
    """Hash the words of each text; see `words`."""
    texts = len(offsets) - 1
    most = (offsets[texts] - offsets[0]) // 2 + texts + 1  # a one-byte word needs a separator or an unspaced neighbour
    hashes, lengths = np.empty(most, np.uint64), np.empty(most, np.int32)
    bounds = np.zeros(texts + 1, np.int64)
    count = 0
    for text in range(texts):
        i, run, length, value, before = offsets[text], 0, 0, SEED, SEED
        while i <= offsets[text + 1]:
            kind = 0
            point = np.int64(0)
            if i < offsets[text + 1]:
                point, width = _decoded(data, i)
                kind = classes[point]
                i += width
            else:
                i += 1  # past the end: closes the last run
            if kind == MARK and run > 0:
                kind = LETTER if run == LETTER else MARK
            elif kind == MARK:
                kind = SYMBOL
            elif kind == DIGIT:
                kind = LETTER
            now = run if kind == MARK else (kind if kind >= LETTER else 0)
            if now != run:
                if run == LETTER or (run == UNSPACED and length == 1):
                    hashes[count], lengths[count] = _mixed(value), length
                    count += 1
                run, length, value = now, 0, SEED
            if kind < LETTER:
                continue
            char = np.uint64(folded[point])
            if run == LETTER or length == 0:
                value = (value ^ char) * PRIME
            else:
                hashes[count], lengths[count] = _mixed((((SEED ^ before) * PRIME) ^ char) * PRIME), 2
                count += 1
            before = char
            length += 1
        bounds[text + 1] = count
    return hashes, lengths, bounds


@_compiled
def split_lines(data: Any, offsets: Any, classes: Any) -> Any:
    """Count the characters of each text and hash its lines; see `lines`."""
    texts = len(offsets) - 1
    counts = np.zeros((texts, 6), np.int64)
    most = (offsets[texts] - offsets[0]) // 2 + texts + 1
    hashes, sizes = np.empty(most, np.uint64), np.empty(most, np.int32)
    bounds = np.zeros(texts + 1, np.int64)
    lines = 0
    for text in range(texts):
        i = start = offsets[text]
        end = offsets[text + 1]
        value, chars, blank = SEED, 0, True
        while i <= end:
            if i == end or data[i] == 10:
                if not blank:
                    hashes[lines], sizes[lines] = _mixed(value), i - start
                    lines += 1
                counts[text, 5] = max(counts[text, 5], chars)
                value, chars, blank, start = SEED, 0, True, i + 1
                counts[text, 0] += 1 if i < end else 0
                i += 1
                continue
            point, width = _decoded(data, i)
            kind = classes[point]
            i += width
            chars += 1
            blank = blank and kind == SPACE
            value = (value ^ np.uint64(point)) * PRIME
            counts[text, 0] += 1
            counts[text, 1] += 1 if kind == MARK or kind >= LETTER else 0
            counts[text, 2] += 1 if kind == DIGIT else 0
            counts[text, 3] += 1 if kind == SYMBOL else 0
        bounds[text + 1] = lines
        counts[text, 4] = lines - bounds[text]
    return counts, hashes, sizes, bounds


@_compiled
def _gram(hashes: Any, at: Any, n: Any) -> Any:
    value = SEED
    for i in range(at, at + n):
        value = _mixed(value ^ hashes[i]) * PRIME
    return value


@_compiled
def _slot(keys: Any, marks: Any, mark: Any, key: Any) -> Any:
    """Where a key is, or goes, in an open-addressing table; slots with another mark are free."""
    last = np.uint64(len(keys) - 1)
    at = _mixed(key) & last
    while marks[at] == mark and keys[at] != key:
        at = (at + np.uint64(1)) & last
    return at


@_compiled
def _repeated(hashes: Any, weights: Any, first: Any, end: Any, n: Any, keys: Any, marks: Any, mark: Any) -> Any:
    """Share of the weight of hashes[first:end] that lies in n-grams which stood earlier in it."""
    part, total, until = 0, 0, first
    for i in range(first, end):
        if i + n <= end:
            key = _gram(hashes, i, n)
            at = _slot(keys, marks, mark, key)
            if marks[at] == mark:
                until = i + n
            keys[at], marks[at] = key, mark
        part += weights[i] if i < until else 0
        total += weights[i]
    return part / max(total, 1)


@_compiled
def _top(hashes: Any, weights: Any, first: Any, end: Any, keys: Any, marks: Any, mark: Any, counts: Any) -> Any:
    """Share of the weight that lies in the most frequent 2-gram, the first of equals; 0 if none stands twice."""
    places = np.empty(max(end - first - 1, 0), np.int64)
    top, often = -1, 1
    for i in range(len(places)):
        key = _gram(hashes, first + i, TWO)
        at = _slot(keys, marks, mark, key)
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


@_compiled
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


@_compiled
def grams(words: Any, first: Any, last: Any, n: Any) -> Any:
    """Hashes of the n-word pieces of words[first:last], in order."""
    found = np.empty(max(last - first - n + 1, 0), np.uint64)
    for i in range(len(found)):
        found[i] = _gram(words, first + i, n)
    return found


@_compiled
def matches(words: Any, bounds: Any, n: Any, keys: Any) -> Any:
    """For each word, which of the distinct `keys` is the hash of the n words from it on in its text; -1 for none."""
    size = 4
    while size < 4 * len(keys):
        size *= 2
    table, marks, places = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for place in range(len(keys)):
        at = _slot(table, marks, ONE, keys[place])
        table[at], marks[at], places[at] = keys[place], 1, place
    found = np.empty(len(words), np.int64)
    found[:] = -1
    for text in range(len(bounds) - 1):
        for i in range(bounds[text], bounds[text + 1] - n + 1):
            at = _slot(table, marks, ONE, _gram(words, i, n))
            if marks[at] == 1:
                found[i] = places[at]
    return found


@_compiled
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
            keys[text, band] = _gram(least, band * BAND_ROWS, ROWS)
    return keys


@_compiled
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


@_compiled
def root(parents: Any, text: Any) -> Any:
    """The first text of a text's component; halves the path on the way."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@_compiled
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
