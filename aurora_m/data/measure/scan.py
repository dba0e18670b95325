"""Compiled scan of one text: what stands in its pieces (pieces.py) and in each of its lines, as counts."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_m.data.measure.pieces import (
    CAPITAL,
    CLOSER,
    DOT,
    ENDS,
    FIRST,
    HAS_CAPITAL,
    HAS_LETTER,
    HAS_WORD,
    HYPHEN,
    SCRIPTS,
    STOP,
    WIDE,
    ZERO,
    class_of,
)
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import (
    DIGIT,
    I64,
    LETTER,
    MARK,
    ONE,
    PRIME,
    SEED,
    SPACE,
    SYMBOL,
    U64,
    decoded,
    mixed,
    slot,
)

# What is counted of a text; shares of these are the columns of signals.py.
(
    CHARS, ALPHA, DIGITS, SYMBOLS, UPPER, NEWLINES, HASHES, ELLIPSES, LONGEST, LINE_CHARS,
    PIECES, WORDS, LETTER_WORDS, WORD_CHARS, STOPS, STOP_KINDS, FLAGGED,
    LINES, BULLETS, CUT_LINES, ENDED, SHORT, UPPER_LINES, DIGIT_LINES, COUNTER_LINES, NOISE_WORDS,
    C4_LINES, C4_SENTENCES, LOREM, CURLY, JAVASCRIPT, POLICY, SCRIPT,
) = range(33)  # fmt: skip
COUNTS = SCRIPT + 1 + len(SCRIPTS)  # the first script is: none of these

# Of each phrase; the bits above tell the first eight stop words apart.
STOP_WORD, FLAGGED_WORD, POLICY_WORDS, SCRIPT_WORD, LOREM_WORDS = (1 << bit for bit in range(5))
KINDS_SHIFT = 8
LOWER_MARKS = (1 << KINDS_SHIFT) - 1  # a stop word with a capital is not one of Gopher's: a menu is no sentence

HASH, CURLY_OPEN, ELLIPSIS = 35, 123, 0x2026
SHORT_CHARS, COUNTER_CHARS, LONG_WORD, LINE_WORDS = 30, 20, 1000, 3
SCRIPT_MASK = np.int64(7)


class Phrases(NamedTuple):
    """What a scan looks for: phrases in lists that begin at their first piece's hash."""

    keys: U64  # an open-addressing table of first pieces,
    used: I64
    heads: I64  # and the number of the first phrase that begins so; -1: none
    nexts: I64  # of each phrase: the number of the next that begins alike; -1: none
    starts: I64  # where its pieces stand in `pieces`,
    sizes: I64  # and how many there are
    marks: I64  # what it is, in bits
    pieces: U64


class Lines(NamedTuple):
    """Room for the lines of a text."""

    hashes: U64
    chars: I64
    paragraph_ends: NDArray[np.int32]  # the line after each paragraph


class Line(NamedTuple):
    """The characters of a line."""

    end: int
    solid: int  # the end of its last character that is no space; its start where it is blank
    value: np.uint64  # hash
    chars: int
    alpha: int
    upper: int
    digits: int
    opening: np.int64  # the first character that is no space


class LineWords(NamedTuple):
    """The pieces of a line."""

    chunks: int  # between white space
    longest: np.int64  # chunk, in characters
    sentences: np.int64
    marks: np.int64  # of the phrases in it, in bits
    words: int


@compiled
def count_chars(data: Any, start: Any, end: Any, traits: Any, counts: Any) -> Any:
    """Count the characters of the line at `start` by class, case and script; returns its `Line`."""
    solid: Any = start
    i, value, chars, opening = start, SEED, 0, ZERO
    alpha, upper, digits, symbols, dots, dot = 0, 0, 0, 0, 0, start
    while i < end and data[i] != 10:
        point, width = decoded(data, i)
        trait = np.int64(traits[point])
        group = class_of(trait)
        i += width
        chars += 1
        value = (value ^ np.uint64(point)) * PRIME
        alpha += group == MARK or group >= LETTER
        digits += group == DIGIT
        symbols += group == SYMBOL
        upper += 1 if trait & CAPITAL else 0
        counts[SCRIPT + (trait >> 24 & SCRIPT_MASK)] += group >= LETTER
        opening = point if solid == start and group != SPACE else opening
        solid = i if group != SPACE else solid
        if point in (DOT, ELLIPSIS, HASH):
            dots = dots + 1 if point == DOT and dot == i - 1 else 1
            dot = i
            counts[ELLIPSES] += point == ELLIPSIS or (point == DOT and dots % 3 == 0)
            counts[HASHES] += point == HASH
    counts[CHARS] += chars
    counts[ALPHA] += alpha
    counts[DIGITS] += digits
    counts[SYMBOLS] += symbols
    counts[UPPER] += upper
    counts[LONGEST] = max(counts[LONGEST], chars)
    return Line(i, solid, mixed(value), chars, alpha, upper, digits, opening)


@compiled
def _ending(data: Any, start: Any, end: Any, traits: Any) -> Any:
    """Whether a line ends as a sentence does, in a quote, and in dots that cut it off."""
    i = end - 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    point, _ = decoded(data, i)
    dots = end - start > 2 and data[end - 1] == DOT and data[end - 2] == DOT and data[end - 3] == DOT
    stops = (np.int64(traits[point]) & (STOP | CLOSER)) > 0
    return stops, point == 34 or point == 39, dots or point == ELLIPSIS


@compiled
def count_words(pieces: Any, first: Any, end: Any, phrases: Any, counts: Any) -> Any:
    """Count the pieces first:end of a line and the phrases in them; returns the `LineWords`."""
    keys, used, heads, nexts, starts, sizes, marks, flat = phrases
    hashes, lengths, kinds, _ = pieces
    longest: Any = ZERO
    chunks, long, words, found, sentences, ended = 0, ZERO, 0, ZERO, ONE, ONE < 0
    for i in range(first, end):
        kind = np.int64(kinds[i])
        word = kind & HAS_WORD
        long = lengths[i] if kind & FIRST else long + lengths[i]
        longest = max(longest, ZERO if kind & WIDE else long)
        chunks += 1 if kind & (FIRST | WIDE) else 0
        sentences += ended and word > 0
        ended = (ended and word == 0) or (kind & ENDS) > 0
        counts[LETTER_WORDS] += kind & HAS_LETTER
        if not word:
            continue
        words += 1
        counts[WORD_CHARS] += lengths[i]
        at = slot(keys, used, ONE, hashes[i])
        phrase = heads[at] if used[at] == 1 else -1
        while phrase >= 0:
            size, same = sizes[phrase], i + sizes[phrase] <= end
            for k in range(1, size if same else 0):
                same = same and flat[starts[phrase] + k] == hashes[i + k]
            found |= (marks[phrase] & (LOWER_MARKS if kind & HAS_CAPITAL else -1)) if same else 0
            counts[STOPS] += same and (marks[phrase] & STOP_WORD) > 0
            counts[FLAGGED] += size if same and marks[phrase] & FLAGGED_WORD else 0
            phrase = nexts[phrase]
    counts[PIECES] += end - first
    counts[WORDS] += words
    return LineWords(chunks, longest, sentences, found, words)


@compiled
def count_lines(text: Any, start: Any, pieces: Any, phrases: Any, lines: Any, counts: Any) -> Any:
    """Count the lines of a text from `start` on, and write them; returns (lines, paragraphs).

    A line of white space alone is none, and parts paragraphs.
    """
    data, end, traits = text
    line_ends, (hashes, chars, paragraph_ends) = pieces.line_ends, lines
    i, row, first, count, paragraphs, kinds_found = start, 0, 0, 0, 0, 0
    while i <= end:
        begin, last = i, line_ends[row]
        line = count_chars(data, begin, end, traits, counts)
        i = line.end
        if line.solid > begin:
            stops, quoted, cut_off = _ending(data, begin, line.solid, traits)
            words = count_words(pieces, first, last, phrases, counts)
            kinds_found |= words.marks
            hashes[count], chars[count] = line.value, line.chars
            counts[LINE_CHARS] += line.chars
            count += 1
            counts[BULLETS] += _bullet(line.opening)
            counts[CUT_LINES] += cut_off
            counts[ENDED] += stops
            counts[SHORT] += line.chars <= SHORT_CHARS
            _count_noise(line, words.words, traits, counts)
            if words.longest <= LONG_WORD and words.chunks >= LINE_WORDS and not cut_off and (stops or quoted):
                _count_c4(data, begin, line.solid, words, counts)
        elif count > 0 and (paragraphs == 0 or paragraph_ends[paragraphs - 1] < count):
            paragraph_ends[paragraphs] = count
            paragraphs += 1
        counts[CHARS] += i < end
        counts[NEWLINES] += i < end
        row, first, i = row + 1, last, i + 1
    if count > 0 and (paragraphs == 0 or paragraph_ends[paragraphs - 1] < count):
        paragraph_ends[paragraphs] = count
        paragraphs += 1
    counts[LINES] = count
    for bit in range(8):
        counts[STOP_KINDS] += kinds_found >> (KINDS_SHIFT + bit) & 1
    return count, paragraphs


@compiled
def _bullet(point: Any) -> Any:
    return point in (HYPHEN, 0x2022, 0x2023, 0x25CF, 0x25AA, 0x30FB)


@compiled
def _count_noise(line: Any, words: Any, traits: Any, counts: Any) -> Any:
    """Lines mostly in capitals, of digits alone, counters such as `3 likes`; and the words in them and in lines of one.

    After RefinedWeb (Penedo et al. 2023, appendix G.2), which drops such lines, and texts where they are many.
    """
    capital = line.alpha > 1 and line.upper > 0.6 * line.alpha
    number = line.digits > 0 and line.alpha == 0
    starts = class_of(np.int64(traits[line.opening])) == DIGIT
    counter = starts and line.alpha > 0 and line.chars <= COUNTER_CHARS and words <= 3
    counts[UPPER_LINES] += capital
    counts[DIGIT_LINES] += number
    counts[COUNTER_LINES] += counter
    counts[NOISE_WORDS] += words if capital or number or counter or words == 1 else 0


@compiled
def _count_c4(data: Any, start: Any, end: Any, words: Any, counts: Any) -> Any:
    """What C4 (Raffel et al. 2020, section 2.2) does with a line that ends as a sentence and is long enough."""
    counts[LOREM] += (words.marks & LOREM_WORDS) > 0
    if words.marks & SCRIPT_WORD:
        counts[JAVASCRIPT] += 1
    else:
        i = start
        while i < end and data[i] != CURLY_OPEN:
            i += 1
        if i < end:
            counts[CURLY] += 1
        elif words.marks & POLICY_WORDS:
            counts[POLICY] += 1
        else:
            counts[C4_LINES] += 1
            counts[C4_SENTENCES] += words.sentences
