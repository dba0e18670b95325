"""Compiled scan of one text: its pieces (words and punctuation) and what stands in each of its lines, as counts.

A piece is nearly what spaCy's English tokenizer cuts (so that thresholds published for it hold): letters and digits in
a run, with marks inside (`3.14`, `AT&T`, `example.com/a-b`), cut at hyphens and slashes between letters and before
`'s`; punctuation at the edge of a run is a piece a character, dots in a row are one. Scripts without spaces give the
two-character pieces of their runs, as in kernels.py. A word is a piece with a letter or a digit. Case is folded.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import (
    DIGIT,
    LETTER,
    MARK,
    ONE,
    PRIME,
    SEED,
    SPACE,
    SYMBOL,
    UNSPACED,
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
SCRIPTS = {
    "latin": "0041-005A 0061-007A 00AA-00AA 00BA-00BA 00C0-024F 1E00-1EFF 2C60-2C7F A722-A7FF FF21-FF3A FF41-FF5A",
    "devanagari": "0900-097F A8E0-A8FF",
    "han": "3005-3007 3400-4DBF 4E00-9FFF F900-FAFF 20000-323AF",
    "kana": "3041-30FF 31F0-31FF FF66-FF9F",
    "cyrillic": "0400-052F 1C80-1C8F 2DE0-2DFF A640-A69F",
    "arabic": "0600-06FF 0750-077F 08A0-08FF FB50-FDFF FE70-FEFC",
    "hangul": "1100-11FF 3130-318F AC00-D7FB",
}
COUNTS = SCRIPT + 1 + len(SCRIPTS)  # the first script is: none of these

# Of each code point, in 32 bits: lower case 0-20, class 21-23, script 24-26, and these.
CAPITAL, STOP, CLOSER, EDGE, ICON = (np.int64(1 << bit) for bit in (27, 28, 29, 30, 31))
STOPS_OF_SENTENCES = ".!?。！？．｡।॥؟۔։።၊။។៕‼⁇⁈⁉‽"
CLOSING_QUOTES = "」』"  # Japanese speech ends with them, without a full stop
INSIDE_WORDS, SYMBOLS_AT_EDGES = "-/@\\.", "<>=`´"
# Of each piece.
HAS_LETTER, HAS_WORD, WIDE, ENDS, FIRST, HAS_CAPITAL = (1 << bit for bit in range(6))
# Of each phrase; the bits above tell the first eight stop words apart.
STOP_WORD, FLAGGED_WORD, POLICY_WORDS, SCRIPT_WORD, LOREM_WORDS = (1 << bit for bit in range(5))
KINDS_SHIFT = 8
LOWER_MARKS = (1 << KINDS_SHIFT) - 1  # a stop word with a capital is not one of Gopher's: a menu is no sentence

HYPHEN, DOT, HASH, CURLY_OPEN, COLON, SLASH, ELLIPSIS = 45, 46, 35, 123, 58, 47, 0x2026
CONTRACTED = 2  # letters at most after the apostrophe of `we'll`
SHORT_CHARS, COUNTER_CHARS, LONG_WORD, LINE_WORDS = 30, 20, 1000, 3
JOIN, CUT, BEGIN = range(3)
ZERO, MASK, SCRIPT_MASK = np.int64(0), np.int64(7), np.int64(7)


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
def _class(trait: Any) -> Any:
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
    letter, both_digits = _class(after) >= LETTER, _class(before) == DIGIT and _class(after) == DIGIT
    if point == DOT:
        return CUT if letter and after & CAPITAL and _class(before) >= LETTER and not before & CAPITAL else JOIN
    if point == 44:  # comma
        return CUT if letter and _class(before) >= LETTER else JOIN
    if point in (HYPHEN, 0x7E, 0x2013, 0x2014):
        return CUT if letter or (point == HYPHEN and both_digits) else JOIN
    if point in (COLON, SLASH, 60, 61, 62):
        return CUT if letter else JOIN
    if point in (39, 0x2019):  # apostrophes
        for _ in range(CONTRACTED):
            if _class(_trait(data, i, end, traits)) >= LETTER:
                i += decoded(data, i)[1]
        return JOIN if _class(_trait(data, i, end, traits)) >= MARK else BEGIN
    if point in (42, 43, 94):  # * + ^
        return CUT if both_digits else JOIN
    return CUT if np.int64(traits[point]) & ICON else JOIN


@compiled
def _sign(
    point: Any, last: Any, length: Any, linked: Any, dotted: Any, data: Any, i: Any, end: Any, traits: Any
) -> Any:
    """What a mark after a word character does, where the text goes on, and if the word is a link or has a dot."""
    trait, after = np.int64(traits[point]), _trait(data, i, end, traits)
    if _class(last) >= MARK and (_class(after) == DIGIT or _class(after) == LETTER):
        if linked or (dotted and point == SLASH):
            return JOIN, i, True, dotted
        step = _inner(point, last, after, data, i, end, traits)
        return step, i, False, dotted or (point == DOT and step == JOIN)
    if point == DOT:
        letter = _class(last) == LETTER and (length == 1 or (length > 2 and data[i - 3] == DOT))  # `J.`, `e.g.`
        return JOIN if letter and after & 0x1FFFFF != DOT else CUT, i, linked, dotted
    if point == COLON and i + 1 < end and data[i] == SLASH and data[i + 1] == SLASH:
        return JOIN, i, True, dotted
    if point == HYPHEN and after & 0x1FFFFF == HYPHEN:
        while i < end and data[i] == HYPHEN:
            i += 1
        return CUT if _class(_trait(data, i, end, traits)) == LETTER else JOIN, i, linked, dotted
    return CUT if trait & EDGE else JOIN, i, linked, dotted


@compiled
def split_pieces(
    data: Any, start: Any, end: Any, traits: Any, hashes: Any, lengths: Any, kinds: Any, line_ends: Any
) -> Any:
    """Write the pieces of data[start:end] (hash, characters, kind) and the number of them before each line end.

    Of two-character pieces each counts one character, the last of its run two. Returns the number of pieces.
    """
    count, lines, i = 0, 0, start
    run, length, value, kind, before, last = ZERO, ZERO, SEED, ZERO, SEED, ZERO
    first, linked, dotted = ZERO + FIRST, False, False
    while i <= end:
        point, width = decoded(data, i) if i < end else (np.int64(10), 1)
        trait = np.int64(traits[point])
        group, char = _class(trait), np.uint64(trait & 0x1FFFFF)
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
                step, i, linked, dotted = _sign(point, last, length, linked, dotted, data, i, end, traits)
            elif trait & EDGE or (point == DOT and _class(_trait(data, i, end, traits)) < DIGIT):
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


@compiled
def count_chars(data: Any, start: Any, end: Any, traits: Any, counts: Any) -> Any:
    """Count the characters of the line at `start` by class, case and script.

    Returns (its end, the end of its last character that is no space, or `start` for a blank line, hash, characters,
    letters, capitals, digits, the first character that is no space).
    """
    solid: Any = start
    i, value, chars, opening = start, SEED, 0, ZERO
    alpha, upper, digits, symbols, dots, dot = 0, 0, 0, 0, 0, start
    while i < end and data[i] != 10:
        point, width = decoded(data, i)
        trait = np.int64(traits[point])
        group = _class(trait)
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
    return i, solid, mixed(value), chars, alpha, upper, digits, opening


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
def count_words(hashes: Any, lengths: Any, kinds: Any, first: Any, end: Any, phrases: Any, counts: Any) -> Any:
    """Count the pieces first:end of a line and the phrases in them.

    Returns (chunks between white space, longest of them in characters, sentences, phrases found as bits, words).
    """
    keys, used, heads, nexts, starts, sizes, marks, flat = phrases
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
    return chunks, longest, sentences, found, words


@compiled
def count_lines(
    data: Any, start: Any, end: Any, traits: Any, pieces: Any, phrases: Any, lines: Any, counts: Any
) -> Any:
    """Count the lines of data[start:end]; write each one's hash and characters, and the line after each paragraph.

    A line of white space alone is none, and parts paragraphs. Returns (lines, paragraphs).
    """
    hashes, lengths, kinds, line_ends = pieces
    line_hashes, line_chars, paragraph_ends = lines
    i, row, first, count, paragraphs, kinds_found = start, 0, 0, 0, 0, 0
    while i <= end:
        begin = i
        i, solid, value, chars, alpha, upper, digits, opening = count_chars(data, i, end, traits, counts)
        last = line_ends[row]
        if solid > begin:
            stops, quoted, cut_off = _ending(data, begin, solid, traits)
            found = count_words(hashes, lengths, kinds, first, last, phrases, counts)
            chunks, longest, sentences, marks, words = found
            kinds_found |= marks
            line_hashes[count], line_chars[count] = value, chars
            counts[LINE_CHARS] += chars
            count += 1
            counts[BULLETS] += _bullet(opening)
            counts[CUT_LINES] += cut_off
            counts[ENDED] += stops
            counts[SHORT] += chars <= SHORT_CHARS
            _count_noise(chars, alpha, upper, digits, opening, words, traits, counts)
            if longest <= LONG_WORD and chunks >= LINE_WORDS and not cut_off and (stops or quoted):
                _count_c4(data, begin, solid, marks, sentences, counts)
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
def _count_noise(
    chars: Any, alpha: Any, upper: Any, digits: Any, opening: Any, words: Any, traits: Any, counts: Any
) -> Any:
    """Lines mostly in capitals, of digits alone, counters such as `3 likes`; and the words in them and in lines of one.

    After RefinedWeb (Penedo et al. 2023, appendix G.2), which drops such lines, and texts where they are many.
    """
    capital = alpha > 1 and upper > 0.6 * alpha
    number = digits > 0 and alpha == 0
    starts = _class(np.int64(traits[opening])) == DIGIT
    counter = starts and alpha > 0 and chars <= COUNTER_CHARS and words <= 3
    counts[UPPER_LINES] += capital
    counts[DIGIT_LINES] += number
    counts[COUNTER_LINES] += counter
    counts[NOISE_WORDS] += words if capital or number or counter or words == 1 else 0


@compiled
def _count_c4(data: Any, start: Any, end: Any, marks: Any, sentences: Any, counts: Any) -> Any:
    """What C4 (Raffel et al. 2020, section 2.2) does with a line that ends as a sentence and is long enough."""
    counts[LOREM] += (marks & LOREM_WORDS) > 0
    if marks & SCRIPT_WORD:
        counts[JAVASCRIPT] += 1
    else:
        i = start
        while i < end and data[i] != CURLY_OPEN:
            i += 1
        if i < end:
            counts[CURLY] += 1
        elif marks & POLICY_WORDS:
            counts[POLICY] += 1
        else:
            counts[C4_LINES] += 1
            counts[C4_SENTENCES] += sentences
