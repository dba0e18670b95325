"""Compiled pieces of a text: its words and punctuation, nearly as spaCy's English tokenizer cuts them.

So that thresholds published for it hold. A piece is letters and digits in a run, with marks inside (`3.14`, `AT&T`,
`example.com/a-b`), cut at hyphens and slashes between letters and before `'s`; punctuation at the edge of a run is a
piece a character, dots in a row are one. Scripts without spaces give the two-character pieces of their runs, as in
kernels.py. A word is a piece with a letter or a digit. Case is folded.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import DIGIT, LETTER, MARK, ONE, PRIME, SEED, SPACE, U64, UNSPACED, decoded, mixed

SCRIPTS = {
    "latin": "0041-005A 0061-007A 00AA-00AA 00BA-00BA 00C0-024F 1E00-1EFF 2C60-2C7F A722-A7FF FF21-FF3A FF41-FF5A",
    "devanagari": "0900-097F A8E0-A8FF",
    "han": "3005-3007 3400-4DBF 4E00-9FFF F900-FAFF 20000-323AF",
    "kana": "3041-30FF 31F0-31FF FF66-FF9F",
    "cyrillic": "0400-052F 1C80-1C8F 2DE0-2DFF A640-A69F",
    "arabic": "0600-06FF 0750-077F 08A0-08FF FB50-FDFF FE70-FEFC",
    "hangul": "1100-11FF 3130-318F AC00-D7FB",
}

# Of each code point, in 32 bits: lower case 0-20, class 21-23, script 24-26, and these.
CAPITAL, STOP, CLOSER, EDGE, ICON = (np.int64(1 << bit) for bit in (27, 28, 29, 30, 31))
STOPS_OF_SENTENCES = ".!?。！？．｡।॥؟۔։።၊။។៕‼⁇⁈⁉‽"
CLOSING_QUOTES = "」』"  # Japanese speech ends with them, without a full stop
INSIDE_WORDS, SYMBOLS_AT_EDGES = "-/@\\.", "<>=`´"
# Of each piece.
HAS_LETTER, HAS_WORD, WIDE, ENDS, FIRST, HAS_CAPITAL = (1 << bit for bit in range(6))
HYPHEN, DOT, COLON, SLASH = 45, 46, 58, 47
CONTRACTED = 2  # letters at most after the apostrophe of `we'll`
JOIN, CUT, BEGIN = range(3)
ZERO, MASK = np.int64(0), np.int64(7)


class Text(NamedTuple):
    """The characters of data[:end], and what a scan asks of every code point."""

    data: NDArray[np.uint8]
    end: int
    traits: NDArray[np.uint32]


class Word(NamedTuple):
    """The word so far."""

    last: np.int64  # traits of its last character
    length: np.int64
    linked: bool  # it is a link
    dotted: bool  # it has a dot inside


class Pieces(NamedTuple):
    """Room for the pieces of a text."""

    hashes: U64
    lengths: NDArray[np.int32]  # in characters; of two-character pieces each counts one, the last of its run two
    kinds: NDArray[np.uint8]  # bits
    line_ends: NDArray[np.int32]  # how many pieces stand before each line's end


def room(most: int) -> Pieces:
    """For `most` pieces."""
    empty = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.uint8), np.empty(most, np.int32)
    return Pieces(*empty)


@cache
def traits() -> NDArray[np.uint32]:
    """What a scan asks of every code point."""
    script = np.zeros(0x110000, np.uint32)
    for number, ranges in enumerate(SCRIPTS.values(), 1):
        for first, _, last in (part.partition("-") for part in ranges.split()):
            script[int(first, 16) : int(last, 16) + 1] = number
    lower, kinds = kernels.folded(), kernels.classes()
    table: NDArray[Any] = lower | kinds.astype(np.uint32) << np.uint32(21) | script << np.uint32(24)
    table[lower != np.arange(0x110000)] |= np.uint32(CAPITAL)
    for start, end in kernels.ASSIGNED:
        table[start:end] |= _at_edges(kernels.categories()[start:end], kinds[start:end])
    for chars, flag in ((SYMBOLS_AT_EDGES, EDGE), (STOPS_OF_SENTENCES, STOP), (CLOSING_QUOTES, CLOSER)):
        table[[ord(char) for char in chars]] |= np.uint32(flag)
    table[[ord(char) for char in INSIDE_WORDS]] &= ~np.uint32(EDGE)
    return table


def _at_edges(categories: NDArray[np.bytes_], kinds: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """EDGE for the marks that spaCy strips from the edge of a word, ICON for those where it also cuts words."""
    icon = categories == b"So"
    edge = icon | (categories == b"Sc") | (categories.astype("S1") == b"P")
    bits: NDArray[np.uint32] = edge * np.uint32(EDGE) | icon * np.uint32(ICON)
    return np.where(kinds < SPACE, bits, np.uint32(0))


@compiled
def class_of(trait: Any) -> Any:
    """Which of kernels.py's classes a character is of."""
    return (trait >> 21) & MASK


@compiled
def _trait(data: Any, i: Any, end: Any, traits: Any) -> Any:
    """Of the character at `i`; past the end it is a space."""
    if i >= end:
        return np.int64(SPACE << 21)
    point, _ = decoded(data, i)
    return np.int64(traits[point])


@compiled
def _inner(point: Any, before: Any, after: Any, data: Any, i: Any, end: Any, traits: Any) -> Any:
    """What a mark between two word characters does: JOIN them, CUT them, or BEGIN the next piece."""
    letter, both_digits = class_of(after) >= LETTER, class_of(before) == DIGIT and class_of(after) == DIGIT
    if point == DOT:
        return CUT if letter and after & CAPITAL and class_of(before) >= LETTER and not before & CAPITAL else JOIN
    if point == 44:  # comma
        return CUT if letter and class_of(before) >= LETTER else JOIN
    if point in (HYPHEN, 0x7E, 0x2013, 0x2014):
        return CUT if letter or (point == HYPHEN and both_digits) else JOIN
    if point in (COLON, SLASH, 60, 61, 62):
        return CUT if letter else JOIN
    if point in (39, 0x2019):  # apostrophes
        for _ in range(CONTRACTED):
            if class_of(_trait(data, i, end, traits)) >= LETTER:
                i += decoded(data, i)[1]
        return JOIN if class_of(_trait(data, i, end, traits)) >= MARK else BEGIN
    if point in (42, 43, 94):  # * + ^
        return CUT if both_digits else JOIN
    return CUT if np.int64(traits[point]) & ICON else JOIN


@compiled
def _after_word(point: Any, word: Any, data: Any, i: Any, end: Any, traits: Any) -> Any:
    """What a mark after a word character does, where the text goes on, and if the word is a link or has a dot."""
    last, length, linked, dotted = word
    trait, after = np.int64(traits[point]), _trait(data, i, end, traits)
    if class_of(last) >= MARK and (class_of(after) == DIGIT or class_of(after) == LETTER):
        if linked or (dotted and point == SLASH):
            return JOIN, i, True, dotted
        step = _inner(point, last, after, data, i, end, traits)
        return step, i, False, dotted or (point == DOT and step == JOIN)
    if point == DOT:
        letter = class_of(last) == LETTER and (length == 1 or (length > 2 and data[i - 3] == DOT))  # `J.`, `e.g.`
        return JOIN if letter and after & 0x1FFFFF != DOT else CUT, i, linked, dotted
    if point == COLON and i + 1 < end and data[i] == SLASH and data[i + 1] == SLASH:
        return JOIN, i, True, dotted
    if point == HYPHEN and after & 0x1FFFFF == HYPHEN:
        while i < end and data[i] == HYPHEN:
            i += 1
        return CUT if class_of(_trait(data, i, end, traits)) == LETTER else JOIN, i, linked, dotted
    return CUT if trait & EDGE else JOIN, i, linked, dotted


@compiled
def split_pieces(text: Any, start: Any, pieces: Any) -> Any:  # noqa: C901, PLR0915  # a kernel
    """Write the pieces of a text from `start` on; returns how many."""
    data, end, traits = text
    hashes, lengths, kinds, line_ends = pieces
    count, lines, i = 0, 0, start
    run, length, value, kind, before, last = ZERO, ZERO, SEED, ZERO, SEED, ZERO
    first, linked, dotted = ZERO + FIRST, False, False
    while i <= end:
        point, width = decoded(data, i) if i < end else (np.int64(10), 1)
        trait = np.int64(traits[point])
        group, char = class_of(trait), np.uint64(trait & 0x1FFFFF)
        i += width
        behind = i
        inside = group in (DIGIT, LETTER) or (group == MARK and run > 0)
        if run == LETTER and inside:
            kind |= HAS_WORD | (HAS_LETTER if group == LETTER else 0) | (HAS_CAPITAL if trait & CAPITAL else 0)
            value, length, last = (value ^ char) * PRIME, length + 1, trait
            continue
        if run == UNSPACED and group == MARK:
            continue
        if run == UNSPACED and group == UNSPACED:
            if length > 1:
                lengths[count - 1], kinds[count] = 1, HAS_LETTER | HAS_WORD | WIDE
                count += 1
            hashes[count - 1], lengths[count - 1] = mixed((((SEED ^ before) * PRIME) ^ char) * PRIME), 2
            before, length = char, length + 1
            continue
        step = BEGIN
        if group < SPACE or (group == MARK and not inside):
            if run == LETTER:
                word = Word(last, length, linked, dotted)
                step, i, linked, dotted = _after_word(point, word, data, i, end, traits)
            elif trait & EDGE or (point == DOT and class_of(_trait(data, i, end, traits)) < DIGIT):
                step = CUT
            if step == JOIN:
                value, length, last = (value ^ char) * PRIME, length + 1, trait
                continue
        if run == LETTER:
            hashes[count], lengths[count], kinds[count] = mixed(value), length, kind | first
            count, first = count + 1, ZERO
        run, length, value, kind, last = ZERO, ZERO, SEED, ZERO, trait
        if group == SPACE:
            first, linked, dotted = ZERO + FIRST, False, False
            if point == 10:
                line_ends[lines] = count
                lines += 1
        elif step == CUT:
            while i < end and point == DOT and data[i] == DOT:
                i += 1
            many = np.uint64(i > behind)
            hashes[count], lengths[count] = mixed(((value ^ char) * PRIME) ^ many), 1 + i - behind
            kinds[count] = first | (ENDS if trait & STOP and i == behind else 0)
            count, first = count + 1, ZERO
        elif group == UNSPACED:
            hashes[count], lengths[count] = mixed((SEED ^ char) * PRIME), 1
            kinds[count] = HAS_LETTER | HAS_WORD | WIDE | first
            count, first, run, length, before = count + 1, ZERO, np.int64(UNSPACED), ONE, char
        else:
            run, length, value = np.int64(LETTER), ONE, (value ^ char) * PRIME
            kind = ZERO + (HAS_WORD if inside else 0) + (HAS_LETTER if group == LETTER else 0)
            kind |= HAS_CAPITAL if trait & CAPITAL else 0
    return count
