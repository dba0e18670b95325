"""What dedup computes of texts, in compiled loops: whole-text keys, shingles, MinHash, true similarity, components."""

import hashlib
import unicodedata
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import FIVE, PRIME, SEED, SPACE, decoded, gram, mixed

BANDS = 16  # of 7 rows: finds a pair with Jaccard 0.7 with probability 0.74, 0.8 with 0.977, 0.9 with 0.99998
BAND_ROWS = 7
MIN_WORDS = np.int64(20)  # shorter texts have too few shingles to be near: exact only
ROWS = np.int64(BAND_ROWS)
NONE, BYTE, FULL, BLANK = np.uint64(0), np.uint64(8), np.uint64(64), np.uint8(32)
HIGH = np.uint64(32)
OTHER = np.uint64(0xD6E8FEB86659FD93)  # the second lane of a text's key
FIRST, SECOND, NEVER = 1, 2, 4  # of a code point in NFC: may join a later one, may join an earlier one, stands in none
LOOSE = 0x300  # no code point below joins an earlier one or is written otherwise


@cache
def composing() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For every code point the part it can take in composition (bits) and its canonical combining class."""
    parts, order = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    for char in filter(unicodedata.combining, kernels.assigned()):
        order[ord(char)] = unicodedata.combining(char)
    for char in filter(unicodedata.decomposition, kernels.assigned()):
        pieces = unicodedata.decomposition(char).split()
        if pieces[0].startswith("<"):
            continue
        if not unicodedata.is_normalized("NFC", char):
            parts[ord(char)] |= NEVER
        elif len(pieces) == 2:
            parts[int(pieces[0], 16)] |= FIRST
            parts[int(pieces[1], 16)] |= SECOND
    parts[0x1100:0x1113] |= FIRST  # Hangul is composed by rule: leading consonant, vowel, trailing consonant
    parts[0x1161:0x1176] |= SECOND
    parts[0x11A8:0x11C3] |= SECOND
    parts[0xAC00:0xD7A4:28] |= FIRST
    return parts, order


def nfc(texts: pa.Array) -> pa.Array:
    """Compose the pieces of texts that may need it; the same array if none does."""
    data, offsets = kernels.text_buffers(texts)
    spans = loose(data, offsets, *composing())
    if not len(spans):
        return texts
    view, at = data.data, int(offsets[0])
    known: dict[bytes, bytes] = {}
    parts: list[bytes | memoryview] = []
    longer = np.zeros(len(spans) + 1, np.int64)
    for row, (first, last) in enumerate(spans.tolist(), 1):
        piece = bytes(view[first:last])
        if piece not in known:
            known[piece] = unicodedata.normalize("NFC", piece.decode()).encode()
        parts += [view[at:first], known[piece]]
        longer[row], at = len(known[piece]) - len(piece), last
    parts.append(view[at : int(offsets[-1])])
    moved = offsets - offsets[0] + np.cumsum(longer)[np.searchsorted(spans[:, 1], offsets, "right")]
    composed = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(moved), pa.py_buffer(b"".join(parts)))
    return composed.cast(texts.type)


@cache
def functions() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors (odd) and terms of the MinHash functions, fixed for ever."""
    names = range(2 * BANDS * BAND_ROWS)
    drawn = (hashlib.blake2b(f"minhash {name}".encode(), digest_size=4).digest() for name in names)
    numbers = np.array([int.from_bytes(value, "big") for value in drawn], np.uint32)
    half = len(numbers) // 2
    return numbers[:half] | np.uint32(1), numbers[half:].copy()


@compiled
def loose(data: Any, offsets: Any, parts: Any, order: Any) -> Any:
    """The pieces of texts that may not be NFC: [pieces, 2], the first byte of each and its end."""
    spans, count = np.empty((16, 2), np.int64), 0
    for text in range(len(offsets) - 1):
        end = offsets[text + 1]
        first, last = _loose(data, offsets[text], end, parts, order)
        while first < end:
            if count == len(spans):
                spans = np.concatenate((spans, spans))
            spans[count, 0], spans[count, 1] = first, last
            count += 1
            first, last = _loose(data, last, end, parts, order)
    return spans[:count]


@compiled
def _loose(data: Any, i: Any, end: Any, parts: Any, order: Any) -> Any:
    """The first piece of data[i:end] that may not be NFC (Unicode annex 15, quick check); an empty one if none.

    A piece begins where nothing composes with what stands before, and ends where the next one begins. It is NFC when
    nothing in it is always written otherwise, marks stand in the order of their classes, and no code point follows one
    that it could join.
    """
    first, starter, rank, doubt = i, np.int64(-1), np.int64(0), False
    while i < end:
        if data[i] < 0xCC and not doubt:  # the first byte of code points below LOOSE, or a later one of them
            starter = i if data[i] < 0x80 or data[i] >= 0xC0 else starter
            first, rank = starter, np.int64(0)
            i += 1
            continue
        point, width = decoded(data, i)
        part, now = parts[point], np.int64(order[point])
        if part <= FIRST and now == 0:
            if doubt:
                return first, i
            first = i
        else:
            joins = part & SECOND and starter >= 0 and parts[decoded(data, starter)[0]] & FIRST
            if part & NEVER or (now and now < rank) or joins:
                doubt = True
        rank = now
        starter = starter if now else i
        i += width
    return (first, i) if doubt else (i, i)


@compiled
def text_keys(data: Any, offsets: Any, classes: Any) -> Any:
    """A 128-bit hash of each text, [texts, 2]; runs of white space count as one space, those at the ends as none."""
    keys = np.empty((len(offsets) - 1, 2), np.uint64)
    spaces = np.zeros(256, np.uint8)  # 1: this byte is a space, 2: it may begin one
    for lead in range(128):
        spaces[lead] = 1 if classes[lead] == SPACE else 0
    for lead in (0xC2, 0xE1, 0xE2, 0xE3):
        spaces[lead] = 2
    for text in range(len(keys)):
        i, end, gap, size = offsets[text], offsets[text + 1], False, 0
        one, two, word, shift = SEED, OTHER, NONE, NONE
        while i < end:
            byte = data[i]
            if spaces[byte]:
                point, width = decoded(data, i)
                if classes[point] == SPACE:
                    gap = size > 0
                    i += width
                    continue
            if gap:
                byte, gap = BLANK, False
            else:
                i += 1
            word |= np.uint64(byte) << shift
            shift += BYTE
            size += 1
            if shift == FULL:
                one, two = mixed(one ^ word) * PRIME, mixed(two + word) * OTHER
                word, shift = NONE, NONE
        one, two = mixed(one ^ word) * PRIME, mixed(two + word) * OTHER
        keys[text, 0], keys[text, 1] = mixed(one ^ np.uint64(size)), mixed(two + np.uint64(size))
    return keys


@compiled
def sketch(words: Any, bounds: Any, min_words: Any, factors: Any, terms: Any) -> Any:
    """Shingles of each text, sorted and distinct, all in a row; their n + 1 bounds; and [texts, bands] MinHash keys.

    A shingle is the hash of 5 words in a row; a text of fewer than `min_words` words has none, and no valid keys.
    MinHash (Broder 1997) is the least of h * factor + term mod 2^32 over the upper halves h of the shingles; each key
    is of `BAND_ROWS` such minima, one after the other.
    """
    texts, most, total = len(bounds) - 1, np.int64(0), np.int64(0)
    for text in range(texts):
        size = bounds[text + 1] - bounds[text]
        total += size if size >= min_words else 0
        most = max(most, size)
    found, ends = np.empty(total, np.uint64), np.zeros(texts + 1, np.int64)
    keys = np.zeros((texts, len(factors) // BAND_ROWS), np.uint64)
    grams, heads, halves = np.empty(most, np.uint64), np.empty(2 * most + 2, np.int32), np.empty(most, np.uint32)
    for text in range(texts):
        start = ends[text]
        size = bounds[text + 1] - bounds[text] - FIVE + 1
        ends[text + 1] = start
        if size + FIVE - 1 < min_words or size < 1:
            continue
        shingles(words[bounds[text] : bounds[text + 1]], grams)
        size = distinct(grams[:size], heads, found[start:])
        ends[text + 1] = start + size
        for i in range(size):
            halves[i] = np.uint32(found[start + i] >> HIGH)
        minima(halves[:size], factors, terms, keys[text])
    return found[: ends[texts]].copy(), ends, keys


@compiled
def shingles(words: Any, found: Any) -> None:
    """Hash each 5 words in a row: a polynomial in PRIME that rolls along the words, mixed."""
    value, leaving = NONE, PRIME * PRIME * PRIME * PRIME * PRIME
    for i in range(len(words)):
        value = value * PRIME + words[i]
        if i >= 5:
            value -= words[i - 5] * leaving
        if i >= 4:
            found[i - 4] = mixed(value)


@compiled
def distinct(values: Any, heads: Any, found: Any) -> Any:
    """Write the sorted distinct of evenly spread `values` to `found`; returns how many.

    One bucket for each value or so, by the leading bits, then an insertion sort that has next to nothing to do.
    `heads` is room for two counts a value, and two more.
    """
    bits = np.uint64(1)
    while (1 << np.int64(bits)) < len(values):
        bits += np.uint64(1)
    shift, buckets = np.uint64(64) - bits, 1 << np.int64(bits)
    heads[: buckets + 1] = 0
    for value in values:
        heads[np.int64(value >> shift) + 1] += 1
    for bucket in range(buckets):
        heads[bucket + 1] += heads[bucket]
    for value in values:
        place = np.int64(value >> shift)
        found[heads[place]] = value
        heads[place] += 1
    count = np.int64(0)
    for i in range(len(values)):
        value, at = found[i], count
        while at > 0 and found[at - 1] > value:
            at -= 1
        if at > 0 and found[at - 1] == value:
            continue
        for later in range(count, at, -1):
            found[later] = found[later - 1]
        found[at] = value
        count += 1
    return count


@compiled
def minima(halves: Any, factors: Any, terms: Any, keys: Any) -> None:
    """The keys of one text. The inner loop is eight shingles wide in a vector register, so it stays this plain."""
    least = np.empty(len(factors), np.uint64)
    for row in range(len(factors)):
        factor, term, low = factors[row], terms[row], np.uint32(0xFFFFFFFF)
        for i in range(len(halves)):
            low = min(low, np.uint32(halves[i] * factor + term))
        least[row] = low
    for band in range(len(keys)):
        keys[band] = gram(least, band * BAND_ROWS, ROWS)


@compiled
def jaccard(a: Any, b: Any) -> Any:
    """Size of the intersection over size of the union of two texts' sorted, distinct shingles; 0 for none."""
    i, j, shared = 0, 0, 0
    while i < len(a) and j < len(b):
        left, right = a[i], b[j]
        shared += 1 if left == right else 0
        i += 1 if left <= right else 0
        j += 1 if right <= left else 0
    return shared / max(len(a) + len(b) - shared, 1)


@compiled
def root(parents: Any, text: Any) -> Any:
    """The first text of a text's component; halves the path on the way."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@compiled
def join(parents: Any, texts: Any, others: Any) -> None:
    """Put each text and its other in one component; the smaller root wins, so a component's root is its first text."""
    for i in range(len(texts)):
        a, b = root(parents, texts[i]), root(parents, others[i])
        parents[max(a, b)] = min(a, b)


@compiled
def flatten(parents: Any) -> None:
    """Let every text name its root."""
    for text in range(len(parents)):
        parents[text] = root(parents, text)
