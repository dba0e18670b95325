"""Compiled loops over the utf-8 bytes of a text column: words and lines as uint64 hashes, no Python per word.

A word is a run of letters and digits. Scripts that put no space between words (han, kana, Thai, Lao, Khmer, Burmese)
give the two-character pieces of their runs instead. Case is folded before hashing; punctuation never counts.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.text.compiled import compiled

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


def assigned() -> Iterator[str]:
    """The characters of `ASSIGNED`, in order."""
    return chain.from_iterable(map(chr, range(first, last)) for first, last in ASSIGNED)


@cache
def categories() -> NDArray[np.bytes_]:
    """The general category of every code point, two bytes; those outside `ASSIGNED` are all `Cn`."""
    table, names = np.full(0x110000, b"Cn"), "".join(map(unicodedata.category, assigned())).encode()
    table[np.concatenate([np.arange(*span) for span in ASSIGNED])] = np.frombuffer(names, "S2")
    return table


@cache
def classes() -> NDArray[np.uint8]:
    """The class of every code point, from Python's Unicode tables."""
    kinds = np.full(128, SYMBOL, np.uint8)  # by the first letter of the category
    kinds[list(b"PMNL")] = PUNCTUATION, MARK, DIGIT, LETTER
    table = kinds[categories().view(np.uint8)[::2]]
    for chars, kind in ((UNCOMMON, SYMBOL), (JOINERS, MARK), (filter(str.isspace, assigned()), SPACE)):
        table[list(map(ord, chars))] = kind
    for first, last in UNSPACED_RANGES:
        part = table[first : last + 1]
        part[(part == LETTER) | (part == MARK) | (categories()[first : last + 1] == b"Nl")] = UNSPACED
    return table


@cache
def folded() -> NDArray[np.uint32]:
    """The lower case of every code point whose lower case is one code point; others stay."""
    table = np.arange(0x110000, dtype=np.uint32)
    for capital in filter(str.istitle, assigned()):
        if len(lower := capital.lower()) == 1:
            table[ord(capital)] = ord(lower)
    return table


def text_buffers(texts: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.uint8], I64]:
    """A text column without nulls as (bytes, n + 1 offsets into them), without a copy for one chunk; not writable."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    column = chunks[0] if len(chunks) == 1 else pa.concat_arrays([pa.array([], texts.type), *chunks])
    _, offsets, data = column.cast(pa.large_string()).buffers()
    if len(column) == 0:
        return np.frombuffer(b"", np.uint8), np.frombuffer(bytes(8), np.int64)
    found = np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64, len(column) + 1, column.offset * 8)
    for array in found:  # some buffers are writable, and for another type each kernel would be compiled again
        array.flags.writeable = False
    return found


def words(texts: pa.ChunkedArray | pa.Array) -> tuple[U64, NDArray[np.int32], I64]:
    """Word hashes of all texts in a row, their lengths in characters, and n + 1 bounds of the texts."""
    data, offsets = text_buffers(texts)
    hashes, lengths, bounds = split_words(data, offsets, classes(), folded())
    return hashes, lengths, bounds


class Patterns(NamedTuple):
    """Runs of words to look for: what `matches` asks of them."""

    sizes: I64  # each number of words once, least first
    heads: U64  # two bits for the first words of each (Bloom 1970)
    keys: U64  # an open-addressing table of the hashes of the patterns
    used: I64
    places: I64


def patterns(words: U64, firsts: I64, sizes: I64) -> Patterns:
    """The patterns words[first : first + size], numbered as they come; the first of equal ones counts."""
    different = np.unique(sizes) if len(sizes) else np.ones(1, np.int64)
    return Patterns(different, *_index(words, firsts, sizes, different[0]))


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
def split_words(data: Any, offsets: Any, classes: Any, folded: Any) -> Any:  # noqa: C901  # a kernel
    """Hash the words of each text; see `words`."""
    texts = len(offsets) - 1
    most = (offsets[texts] - offsets[0]) // 2 + texts + 1  # a one-byte word needs a separator or an unspaced neighbour
    hashes, lengths = np.empty(most, np.uint64), np.empty(most, np.int32)
    bounds = np.zeros(texts + 1, np.int64)
    count = 0
    for text in range(texts):
        i, end = offsets[text], offsets[text + 1]
        while i < end:
            point, width = decoded(data, i)
            kind, value, length = classes[point], (SEED ^ np.uint64(folded[point])) * PRIME, 1
            i += width
            if DIGIT <= kind <= LETTER:
                while i < end:
                    point, width = decoded(data, i)
                    if not MARK <= classes[point] <= LETTER:
                        break
                    value, length = (value ^ np.uint64(folded[point])) * PRIME, length + 1
                    i += width
            elif kind == UNSPACED:
                while i < end:
                    point, width = decoded(data, i)
                    if classes[point] == UNSPACED:
                        char = np.uint64(folded[point])
                        hashes[count], lengths[count] = mixed((value ^ char) * PRIME), 2
                        value, length, count = (SEED ^ char) * PRIME, 2, count + 1
                    elif classes[point] != MARK:
                        break
                    i += width
                if length > 1:
                    continue
            else:
                continue
            hashes[count], lengths[count] = mixed(value), length
            count += 1
        bounds[text + 1] = count
    return hashes[:count], lengths[:count], bounds


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
def _head(words: Any, first: Any, n: Any) -> Any:
    """A hash of n words that rolls along a text: a polynomial in PRIME."""
    value = np.uint64(0)
    for i in range(first, first + n):
        value = value * PRIME + words[i]
    return value


@compiled
def _bit(heads: Any, value: Any) -> Any:
    """Where the bit of a value is in a filter: its word and a mask."""
    at = value & np.uint64(64 * len(heads) - 1)
    return at >> np.uint64(6), np.uint64(1) << (at & np.uint64(63))


@compiled
def _index(words: Any, firsts: Any, sizes: Any, least: Any) -> Any:
    heads = np.zeros(power_of_two(len(firsts) // 2), np.uint64)  # 32 bits a piece: 4 of 1000 other words pass
    slots = power_of_two(2 * len(firsts))
    keys, used, places = np.zeros(slots, np.uint64), np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    for place in range(len(firsts)):
        value = _head(words, firsts[place], least)
        for part in (value, value >> HALF):
            at, mask = _bit(heads, part)
            heads[at] |= mask
        key = gram(words, firsts[place], sizes[place])
        at = slot(keys, used, ONE, key)
        if used[at] == 0:
            keys[at], used[at], places[at] = key, 1, place
    return heads, keys, used, places


@compiled
def matches(words: Any, bounds: Any, patterns: Any) -> Any:
    """Where a pattern stands in a text: [hits, 2], the word it begins at, in order, and its number; the shorter first.

    Only where a filter knows the first words (as many as the shortest pattern has) is each size looked at.
    """
    sizes, heads, keys, used, places = patterns
    found, count, least, leaving = np.empty((16, 2), np.int64), 0, sizes[0], np.uint64(1)
    for _ in range(1, least):
        leaving *= PRIME
    for text in range(len(bounds) - 1):
        last = bounds[text + 1]
        if bounds[text] + least > last:
            continue
        value = _head(words, bounds[text], least - 1)
        for i in range(bounds[text], last - least + 1):
            value = value * PRIME + words[i + least - 1]
            (one, mask), (other, other_mask) = _bit(heads, value), _bit(heads, value >> HALF)
            value -= words[i] * leaving
            if heads[one] & mask == 0 or heads[other] & other_mask == 0:
                continue
            for n in sizes:
                if i + n > last:
                    break
                at = slot(keys, used, ONE, gram(words, i, n))
                if used[at] == 0:
                    continue
                if count == len(found):
                    found = np.concatenate((found, found))
                found[count, 0], found[count, 1] = i, places[at]
                count += 1
    return found[:count]
