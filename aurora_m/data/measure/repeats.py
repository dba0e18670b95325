"""Compiled loops over the piece and line hashes of one text: what of it repeats within it, in characters.

The measures are Gopher's (Rae et al. 2021, table A1), counted as DataTrove counts them: a line, paragraph or n-gram is
a duplicate when it stood earlier; the next duplicate n-gram is looked for behind the last. An n-gram can only repeat
where its first n - 1 pieces do, so each n looks at no more places than the one before: few, in most texts.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_m.data.measure.pieces import WIDE
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import PRIME, SEED, U64, mixed, power_of_two

DUP_LINES, DUP_LINE_CHARS, PARAS, DUP_PARAS, DUP_PARA_CHARS, TOP, DUP = 0, 1, 2, 3, 4, 5, 8
LEAST_TOP, LEAST_DUP, MOST_DUP = 2, 5, 10
REPEATS = DUP + 1 + MOST_DUP - LEAST_DUP
BASE = np.uint64(0x9FB21C651E98DF25)
MOST = np.uint64(0xFFFFFF)  # a slot's count is in its low bits, the high bits of the key above them


class Room(NamedTuple):
    """Room to count in: `table` for n-grams and lines, the others for the n-grams of a text."""

    sums: U64  # polynomials over the hashes of the pieces before each
    places: NDArray[np.int32]  # the pieces at which n-grams begin
    slots: NDArray[np.int32]  # of these n-grams in `table`
    table: U64


@compiled
def _slot(table: Any, size: Any, key: Any) -> Any:
    """Where a key is, or goes, in the first `size` slots of an open-addressing table of key bits above a count."""
    at = key & np.uint64(size - 1)
    while table[at] and table[at] ^ key > MOST:
        at = (at + np.uint64(1)) & np.uint64(size - 1)
    return at


@compiled
def _emptied(table: Any, count: Any) -> Any:
    """Empty the part of a table for `count` keys: a small text's stays in the processor's cache. Returns its size."""
    size = power_of_two(2 * count)
    table[:size] = 0
    return size


@compiled
def count_lines(lines: Any, count: Any, table: Any) -> Any:
    """How many of the first `count` lines stood earlier, and their characters."""
    hashes, chars, _ = lines
    size = _emptied(table, count)
    again, part = 0, 0
    for i in range(count):
        at = _slot(table, size, hashes[i])
        if table[at]:
            again, part = again + 1, part + chars[i]
        table[at] = (hashes[i] & ~MOST) | np.uint64(1)
    return again, part


@compiled
def paragraphs(lines: Any, count: Any) -> Any:
    """Make lines into paragraphs, in place: a paragraph's hash is of its lines', its characters their sum."""
    hashes, chars, ends = lines
    first = 0
    for row in range(count):
        value, total = SEED, -1
        for line in range(first, ends[row]):
            value, total = mixed(value ^ hashes[line]) * PRIME, total + chars[line] + 1
        first = ends[row]
        hashes[row], chars[row] = value, total


@compiled
def _counted(room: Any, power: Any, n: Any, count: Any, end: Any) -> Any:
    """Count the n-grams at the first `count` places in the table, write their slots; returns the places with room."""
    sums, places, slots, table = room
    while count > 0 and places[count - 1] + n > end:
        count -= 1
    size = _emptied(table, count)
    for j in range(count):
        key = sums[places[j] + n] - sums[places[j]] * power
        at = _slot(table, size, key)
        now = table[at] if table[at] else key & ~MOST
        table[at] = now + np.uint64(now & MOST < MOST)
        slots[j] = at
    return count


@compiled
def _top(n: Any, room: Any, count: Any, end: Any, pieces: Any) -> Any:
    """Characters of the most frequent n-gram, the first of equals, times how often it stands; 0 if there is none."""
    top, often = 0, np.int64(1)
    if end < n:
        return 0
    for j in range(count):
        times = np.int64(room.table[room.slots[j]] & MOST)
        if times > often:
            top, often = room.places[j], times
    chars = 0
    for i in range(top, top + n):
        chars += pieces.lengths[i] + (1 if i > top and not pieces.kinds[i] & WIDE else 0)
    return chars * often


@compiled
def _duplicates(n: Any, room: Any, count: Any, lengths: Any) -> Any:
    """Characters in n-grams that stood earlier; none begins inside another. Makes the counts of those met 0."""
    _, places, slots, table = room
    part, until = 0, 0
    for j in range(count):
        at = slots[j]
        if places[j] < until:
            continue
        if table[at] & MOST:
            table[at] &= ~MOST
            continue
        until = places[j] + n
        for i in range(places[j], until):
            part += lengths[i]
    return part


@compiled
def count_grams(pieces: Any, end: Any, room: Any, row: Any) -> Any:
    """Fill TOP (2- to 4-grams) and DUP (5- to 10-grams) of `row` for the first `end` pieces."""
    sums, places, slots, table = room
    sums[0], power, count = 0, BASE, end
    for i in range(end):
        sums[i + 1], places[i] = sums[i] * BASE + pieces.hashes[i], i
    for n in range(LEAST_TOP, MOST_DUP + 1):
        power = power * BASE
        count = _counted(room, power, n, count, end)
        if n < LEAST_DUP:
            row[TOP + n - LEAST_TOP] = _top(n, room, count, end, pieces)
        kept = 0
        for j in range(count):
            if table[slots[j]] & MOST > 1:
                places[kept], slots[kept] = places[j], slots[j]
                kept += 1
        count = kept
        if n >= LEAST_DUP:
            row[DUP + n - LEAST_DUP] = _duplicates(n, room, count, pieces.lengths)
