"""Compiled loops over the utf-8 bytes of a text column: words and lines as uint64 hashes, no Python per word.

A word is a run of letters and digits. Scripts that put no space between words (han, kana, Thai, Lao, Khmer, Burmese)
give the two-character pieces of their runs instead. Case is folded before hashing; punctuation never counts.
"""

import unicodedata
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.compiled import compiled

U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

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
ONE, FIVE = np.int64(1), np.int64(5)  # literals compile callees anew


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


@compiled
def mixed(value: Any) -> Any:
    value = (value ^ (value >> HALF)) * MIX_1
    value = (value ^ (value >> HALF)) * MIX_2
    return value ^ (value >> HALF)


@compiled
def decoded(data: Any, i: Any) -> Any:
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


@compiled
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
                point, width = decoded(data, i)
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
                    hashes[count], lengths[count] = mixed(value), length
                    count += 1
                run, length, value = now, 0, SEED
            if kind < LETTER:
                continue
            char = np.uint64(folded[point])
            if run == LETTER or length == 0:
                value = (value ^ char) * PRIME
            else:
                hashes[count], lengths[count] = mixed((((SEED ^ before) * PRIME) ^ char) * PRIME), 2
                count += 1
            before = char
            length += 1
        bounds[text + 1] = count
    return hashes, lengths, bounds


@compiled
def gram(hashes: Any, at: Any, n: Any) -> Any:
    value = SEED
    for i in range(at, at + n):
        value = mixed(value ^ hashes[i]) * PRIME
    return value


@compiled
def power_of_two(least: Any) -> Any:
    """The size of a table of `least` slots or more, 4 at least."""
    size = 4
    while size < least:
        size *= 2
    return size


@compiled
def slot(keys: Any, marks: Any, mark: Any, key: Any) -> Any:
    """Where a key is, or goes, in an open-addressing table; slots with another mark are free."""
    last = np.uint64(len(keys) - 1)
    at = mixed(key) & last
    while marks[at] == mark and keys[at] != key:
        at = (at + np.uint64(1)) & last
    return at


@compiled
def grams(words: Any, first: Any, last: Any, n: Any) -> Any:
    """Hashes of the n-word pieces of words[first:last], in order."""
    found = np.empty(max(last - first - n + 1, 0), np.uint64)
    for i in range(len(found)):
        found[i] = gram(words, first + i, n)
    return found


@compiled
def matches(words: Any, bounds: Any, n: Any, keys: Any) -> Any:
    """For each word, which of the distinct `keys` is the hash of the n words from it on in its text; -1 for none."""
    size = power_of_two(4 * len(keys))
    table, marks, places = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for place in range(len(keys)):
        at = slot(table, marks, ONE, keys[place])
        table[at], marks[at], places[at] = keys[place], 1, place
    found = np.empty(len(words), np.int64)
    found[:] = -1
    for text in range(len(bounds) - 1):
        for i in range(bounds[text], bounds[text + 1] - n + 1):
            at = slot(table, marks, ONE, gram(words, i, n))
            if marks[at] == 1:
                found[i] = places[at]
    return found
