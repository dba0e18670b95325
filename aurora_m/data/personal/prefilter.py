"""Where in a text column personal data may stand: one compiled pass over the bytes, so that only pieces are searched.

A spot is a byte that cannot be missing from a find: the `@` of an address, a long row of digits, the first letters of
a known key. Around each lies a region with room for the find and for the words that name it; regions that touch are
one. What is no spot costs a nanosecond a byte; only regions reach Python.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_m.data.text.compiled import compiled

EMAIL, NUMBER, IP, PAN, SECRET = 1, 2, 4, 8, 16  # what a region may hold
BEFORE_BYTES, AFTER_BYTES = 240, 160  # 80 characters of Hindi or Japanese before, 50 after
KEY_BYTES = 6000  # of a private key block, RSA of 8192 bits
TOKEN_BYTES = 4096
MIN_DIGITS = 8  # of the shortest number: a land line in Helsinki
OTHER, DIGIT, LETTER, SPACE, STOP, NEWLINE = range(6)  # classes of a byte
JOINERS = b" .-()/+"  # may stand between the digits of one number
GAP_BYTES = 5  # of joiners, at most
PREFIXES = (  # the first four bytes of a known key
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "gith", "glpa", "xoxb", "xoxa", "xoxp", "xoxr", "xoxs",
    "xapp", "sk-p", "sk-a", "sk-s", "sk_l", "rk_l", "AIza", "ya29", "GOCS", "SG.", "eyJ", "hf_", "npm_", "pypi", "dop_",
    "shpa", "shps", "dckr", "whse", "BEGI", "hook", "sk-",
)  # fmt: skip
KEY_ENDS = ("ord", "swd", "pwd", "ass", "ret", "ken", "key", "als", "uth", "ase")  # of `password`, `api_key`, ...


class Region(NamedTuple):
    """data[start:end] of text number `text` may hold what `kinds` says (bits)."""

    text: int
    start: int
    end: int
    kinds: int


def regions(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of `Region`, in order, none touching another; they never cut a character nor leave their text."""
    fixed, bounds = data.view(), offsets.view()
    fixed.flags.writeable = bounds.flags.writeable = False  # whether they were or not: each kind compiles anew
    found, count = scan(fixed, bounds, _tables())
    rows: NDArray[np.int64] = found[:count]
    return rows


class Tables(NamedTuple):
    """What the pass asks of bytes."""

    classes: NDArray[np.uint8]  # of each byte
    firsts: NDArray[np.bool_]  # of each two bytes: a known key may begin with them
    heads: NDArray[np.uint32]  # `PREFIXES` as numbers
    ends: NDArray[np.uint32]  # `KEY_ENDS` as numbers


@cache
def _tables() -> Tables:
    classes = np.full(256, STOP, np.uint8)
    classes[0x80:] = OTHER
    classes[[ord(char) for char in "0123456789"]] = DIGIT
    classes[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), ord("_")]] = LETTER
    classes[list(JOINERS)] = SPACE
    classes[[10, 13]] = NEWLINE
    firsts = np.zeros(65536, np.bool_)
    firsts[[ord(prefix[0]) << 8 | ord(prefix[1]) for prefix in PREFIXES]] = True
    heads = np.array([_packed(prefix) for prefix in PREFIXES], np.uint32)
    ends = np.array([_packed(end) for end in KEY_ENDS], np.uint32)
    return Tables(classes, firsts, heads, ends)


def _packed(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


@compiled
def scan(data: Any, offsets: Any, tables: Any) -> Any:  # noqa: C901, PLR0915  # a kernel
    """See `regions`; also how many rows count."""
    classes, firsts, heads, ends = tables
    texts = len(offsets) - 1
    rows = np.empty(((offsets[texts] - offsets[0]) // AFTER_BYTES + texts + 1, 4), np.int64)
    count = 0
    for text in range(texts):
        low, high = offsets[text], offsets[text + 1]
        i, before = low, np.int64(STOP)
        first = run = run_end = last = digits = groups = shape = dots = dot = np.int64(0)
        while i <= high:
            byte = np.int64(data[i]) if i < high else np.int64(10)
            kind, width, value = np.int64(classes[byte]), 1, byte & 15
            if kind == LETTER and before == LETTER and digits == 0:
                i += 1
                continue
            if byte >= 0xC2:
                kind, width, value, byte = wide(data, i, byte)
            start, end, kinds = i, i, 0  # one region at most begins here
            if kind == DIGIT:
                if digits == 0:
                    first, groups, shape = i, np.int64(0), value << 16
                if run_end != i or digits == 0:  # a new group
                    run = np.int64(0)
                    groups += 1
                run += 1
                digits += 1
                if groups <= 3 and run < 16:
                    shape += 1 << (4 * (3 - groups))
                run_end = last = i + width
                if dots >= 3 and dot == i - 1:
                    start, end, kinds = i - 12, i + 4, IP
            else:
                if byte == 46 and run_end == i and 0 < run <= 3:  # a dot
                    dots = dots + 1 if dots > 0 and dot == i - run - 1 else np.int64(1)
                    dot = i
                if run == 4 and run_end == i and is_pan(data, i, low, high):
                    start, end, kinds = i - 9, i + 1, PAN
                if digits > 0 and (i + width - last > GAP_BYTES or breaks(data, i, high, kind, run, run_end)):
                    if digits >= MIN_DIGITS and not is_date(shape, digits):
                        start, kinds = min(first, start), kinds | NUMBER
                    digits = run = np.int64(0)
                if kind == LETTER:
                    if before != LETTER and before != DIGIT and i + 4 <= high and firsts[byte << 8 | data[i + 1]]:
                        key = key_end(data, i, low, high, heads)
                        if key > 0:
                            end, kinds = key, kinds | SECRET
                elif byte == 64:
                    if i > low and i + width < high and data[i - 1] > 32 and data[i + width] > 47:
                        kinds |= EMAIL
                elif byte == 58 and is_hex_start(data, i, low):
                    start, end, kinds = min(start, i - 4), i + 40, kinds | IP
                named = (
                    byte == 58 or byte == 61 or (byte == 34 and before == SPACE)
                )  # key: "", key = "", #define KEY ""
                if named and names_secret(data, i, low, high, ends):
                    start, end, kinds = min(start, i - 40), max(end, i + 80), kinds | SECRET
            if kinds > 0:
                count = put(rows, count, Region(text, start, end, kinds), low, high, data)
            before = kind
            i += width
    return rows, count


@compiled
def wide(data: Any, i: Any, byte: Any) -> Any:
    """Class, width, value and ASCII form of a character of two bytes or more."""
    if byte < 0xE0:
        return np.int64(SPACE if byte == 0xC2 else OTHER), 2, byte & 15, byte
    if byte >= 0xF0:
        return np.int64(OTHER), 4, byte & 15, byte
    second, third = np.int64(data[i + 1]), np.int64(data[i + 2])
    if byte == 0xEF and second == 0xBC:  # full-width forms
        if 0x90 <= third <= 0x99:
            return np.int64(DIGIT), 3, third & 15, byte
        if third == 0xA0:
            return np.int64(STOP), 3, third & 15, np.int64(64)
        return np.int64(SPACE), 3, third & 15, np.int64(third - 0x60)
    if byte == 0xE0 and second == 0xA5 and third >= 0xA6 and third <= 0xAF:  # Devanagari
        return np.int64(DIGIT), 3, third - 0xA6, byte
    dash = byte == 0xE2 or (byte == 0xE3 and ((second == 0x83 and third == 0xBC) or (second == 0x80 and third == 0x80)))
    return np.int64(SPACE if dash else OTHER), 3, third & 15, byte


@compiled
def put(rows: Any, count: Any, region: Any, low: Any, high: Any, data: Any) -> Any:
    """Add a region with room around it, joined with those that it touches."""
    text, start, end, kinds = region
    start, end = max(start - BEFORE_BYTES, low), min(end + AFTER_BYTES, high)
    while start > low and data[start] & 0xC0 == 0x80:
        start -= 1
    while end < high and data[end] & 0xC0 == 0x80:
        end += 1
    while count > 0 and rows[count - 1, 0] == text and rows[count - 1, 2] >= start:
        count -= 1
        start, end = min(start, rows[count, 1]), max(end, rows[count, 2])
        kinds |= rows[count, 3]
    rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = text, start, end, kinds
    return count + 1


@compiled
def breaks(data: Any, i: Any, high: Any, kind: Any, run: Any, run_end: Any) -> Any:
    """Whether the byte ends a row of digits; the letter of a Finnish code (`131052A308T`) does not."""
    if kind == SPACE:
        return False
    return not (kind == LETTER and run == 6 and run_end == i and i + 1 < high and 48 <= data[i + 1] <= 57)


@compiled
def is_date(shape: Any, digits: Any) -> Any:
    """Groups of digits as in 2023-01-31 10, 31.01.2023 and 1995-2023: far more of these than of numbers so grouped."""
    first, groups = shape >> 16, shape & 0xFFF
    iso = groups == 0x422 and first in (1, 2) and digits <= 10
    european = groups == 0x224 and first <= 3 and digits <= 10
    return iso or european or (groups == 0x440 and first in (1, 2) and digits == 8)


@compiled
def is_pan(data: Any, i: Any, low: Any, high: Any) -> Any:
    """Five capitals before the four digits that end at i, and one after."""
    if i - 9 < low or i >= high or not 65 <= data[i] <= 90:
        return False
    capitals = 0
    for at in range(i - 9, i - 4):
        capitals += 1 if 65 <= data[at] <= 90 else 0
    return capitals == 5


@compiled
def is_hex_start(data: Any, i: Any, low: Any) -> Any:
    """The first group of a public IPv6 address before the colon at i."""
    if i - 4 < low or not 50 <= data[i - 4] <= 51:
        return False
    hexes = 0
    for at in range(i - 3, i):
        hexes += 1 if 48 <= data[at] <= 57 or 65 <= data[at] <= 70 or 97 <= data[at] <= 102 else 0
    return hexes == 3


@compiled
def key_end(data: Any, i: Any, low: Any, high: Any, heads: Any) -> Any:
    """Where the key that may start at i ends; 0 if none may."""
    four = (
        np.uint32(data[i]) << 24 | np.uint32(data[i + 1]) << 16 | np.uint32(data[i + 2]) << 8 | np.uint32(data[i + 3])
    )
    known = False
    for head in heads:
        known = known or four == head or (head < 0x1000000 and four >> 8 == head)
    if not known:
        return 0
    if four == 0x42454749:  # BEGIN
        return min(i + KEY_BYTES, high) if i > low and data[i - 1] == 45 else 0
    end = i
    while end < high and end < i + TOKEN_BYTES and 43 <= data[end] <= 122:
        end += 1
    return end if end - i >= 16 else 0


@compiled
def names_secret(data: Any, i: Any, low: Any, high: Any, ends: Any) -> Any:
    """Whether a name such as `password` or `api_key` ends before the : or = at i, and a value may follow."""
    at = i - 1
    while at >= low and i - at <= 6 and (data[at] in (32, 34, 39, 58, 93) or data[at] == 41):
        at -= 1
    if at - 2 < low or at + 8 > high:
        return False
    three = (np.uint32(data[at - 2]) << 16 | np.uint32(data[at - 1]) << 8 | np.uint32(data[at])) | np.uint32(0x202020)
    for end in ends:
        if three == end:
            return has_value(data, i + 1, min(i + 64, high))
    return False


@compiled
def has_value(data: Any, at: Any, high: Any) -> Any:
    """Whether what is left of a line has a digit, a mark that words do not have, or capitals without an order."""
    capitals = 0
    while at < high and data[at] != 10:
        byte = data[at]
        if 48 <= byte <= 57 or 35 <= byte <= 38 or byte == 33 or byte == 64 or byte == 94:
            return True
        capitals += 1 if 65 <= byte <= 90 and 97 <= data[at - 1] <= 122 else 0
        at += 1
    return capitals >= 3
