"""Rows out of a source's documents, in one of two ways.

concat    documents end to end, cut where a row ends (the paper's run)
best_fit  documents that fit a row stay whole, best fit decreasing; longer ones fill whole rows, and their rests go
          where they fit (Ding et al. 2024, arXiv 2404.10830). What is left of a row is padding.

pieces.bin   PIECE: the parts of documents, row after row
rows.bin     int64: where each row begins in the pieces, and their number
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from aurora_m.core.errors import RecipeError
from aurora_m.core.files import replacing
from aurora_m.tokens.fim import MIN_TOKENS
from aurora_m.tokens.shards import Shards

PIECES, ROWS = "pieces.bin", "rows.bin"
PIECE = np.dtype([("start", "<i8"), ("length", "<i4"), ("goes_on", "<i4")])  # in tokens; 1: with a document cut before
RUN = 2**20  # documents packed together, which bounds the memory
MARKS = 3  # that a document gets when its middle is filled in

Infill = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]  # tokens, starts, room: new ones
Laid = tuple[np.ndarray, np.ndarray, np.ndarray]  # tokens [row_tokens + 1], starts of documents, weights [row_tokens]


class SourceRows(Protocol):
    """The rows of a source."""

    def row(self, number: int, infill: Infill | None) -> Laid:
        """A row's tokens, where documents begin in it, and 1 where a target counts in the loss."""

    def spans(self, number: int) -> list[tuple[int, int]]:
        """The source's tokens that a row holds: first, and one past the last."""


@dataclass(frozen=True)
class Concatenated:
    """Rows end to end; the last token of one is the first input of the next."""

    shards: Shards
    row_tokens: int
    first: int | None = None  # stands before the first document; None: its first token is given

    @cached_property
    def _weights(self) -> np.ndarray:
        weights = np.ones(self.row_tokens, np.float32)
        weights.flags.writeable = False  # all rows share them
        return weights

    def row(self, number: int, infill: Infill | None) -> Laid:
        """All tokens of the row are targets, but the first. Infilling cuts off the row's end."""
        ((start, stop),) = self.spans(number)
        tokens = self.shards.read(start, stop - start)
        _, bounds = self.shards.docs_between(start, stop)
        starts = bounds[:-1] - start
        starts[0] = 0
        if stop - start == self.row_tokens:  # the first row
            tokens, starts = np.append([self.first], tokens), np.append([0], starts + 1)
        if infill:
            tokens, starts = infill(tokens, starts, len(tokens))
        return tokens, starts, self._weights

    def spans(self, number: int) -> list[tuple[int, int]]:
        """One: the row is a piece of the source."""
        start, before = number * self.row_tokens, int(number == 0 and self.first is not None)
        return [(start, start + self.row_tokens + 1 - before)]


@dataclass(frozen=True)
class Packed:
    """Rows that `pack` made: a token of context, the pieces, and padding of end tokens."""

    shards: Shards
    row_tokens: int
    pieces: np.ndarray
    bounds: np.ndarray
    end: int

    @classmethod
    def open(cls, shards: Shards, row_tokens: int, folder: Path) -> "Packed":
        """Map the files of `pack`."""
        pieces = np.asarray(np.memmap(folder / PIECES, PIECE, "r"))
        bounds = np.asarray(np.memmap(folder / ROWS, "<i8", "r"))
        return cls(shards, row_tokens, pieces, bounds, int(shards.read(len(shards) - 1, 1)[0]))

    def row(self, number: int, infill: Infill | None) -> Laid:
        """The first token is the one before the first piece: an end token, or what a cut document goes on from.

        A rest that stands behind another piece has no such token: what follows the end token there is no target.
        """
        pieces = self.pieces[self.bounds[number] : self.bounds[number + 1]].tolist()
        begin = pieces[0][0]
        before = self.shards.read(begin - 1, 1) if begin else [self.end]
        tokens = np.concatenate([before, *(self.shards.read(start, length) for start, length, _ in pieces)])
        starts = np.array([0, *accumulate((length for _, length, _ in pieces[:-1]), initial=1)])
        cut = int(tokens[-1] != self.end)  # the row is a part of a long document, and not its last
        if infill:  # such a part is given an end, which goes to the padding
            tokens, starts = infill(np.append(tokens, np.full(cut, self.end)), starts, self.row_tokens + 1 + cut)
            tokens = tokens[: len(tokens) - cut]
        weights = np.zeros(self.row_tokens, np.float32)
        weights[: len(tokens) - 1] = 1.0
        for start, (_, _, goes_on) in zip(starts[2:], pieces[1:], strict=True):
            if goes_on:
                weights[start - 1] = 0.0
        padding = self.row_tokens + 1 - len(tokens)
        if padding:
            starts = np.append(starts, len(tokens))
            tokens = np.concatenate([tokens, np.full(padding, self.end)])
        return tokens, starts, weights

    def spans(self, number: int) -> list[tuple[int, int]]:
        """One for each piece."""
        pieces = self.pieces[self.bounds[number] : self.bounds[number + 1]].tolist()
        return [(start, start + length) for start, length, _ in pieces]


def pack(shards: Shards, row_tokens: int, filled: bool, folder: Path) -> dict[str, int]:
    """Pack a source and write pieces.bin and rows.bin.

    filled   whether middles will be filled in: each piece then has room for its marks, so that no end is lost
    returns  rows, pieces, and `cut_docs`, the documents that no row can hold
    errors   RecipeError if a row has no room for marks
    """
    marks = MARKS if filled else 0
    if row_tokens - marks < MIN_TOKENS and filled:
        what = f"rows of {row_tokens} tokens have no room for the marks of infilling"
        raise RecipeError(what, at="mixture: packing", hint="make rows longer, or leave `fim` out")
    num_rows = num_pieces = cut = 0
    with replacing(folder / PIECES) as piece_file, replacing(folder / ROWS) as row_file:
        for first in range(0, shards.num_docs, RUN):
            bounds = shards.bounds(first, min(first + RUN, shards.num_docs))
            pieces = cut_up(bounds, row_tokens - marks)
            cost = np.minimum(pieces["length"] + marks, row_tokens)
            rows = best_fit(cost, row_tokens)
            order = np.argsort(rows, kind="stable")
            counts = np.bincount(rows)
            row_file.write((num_pieces + np.cumsum(counts) - counts).astype("<i8").tobytes())
            piece_file.write(pieces[order].tobytes())
            num_rows, num_pieces = num_rows + len(counts), num_pieces + len(pieces)
            cut += int((np.diff(bounds) > row_tokens - marks).sum())
        row_file.write(np.array([num_pieces], "<i8").tobytes())
    return {"rows": num_rows, "pieces": num_pieces, "cut_docs": cut}


def cut_up(bounds: np.ndarray, room: int) -> np.ndarray:
    """Cut documents with these bounds into pieces of `room` tokens, each with a rest: PIECE[pieces]."""
    lengths = np.diff(bounds)
    counts = -(-lengths // room)
    doc = np.repeat(np.arange(len(lengths)), counts)
    part = np.arange(len(doc)) - np.repeat(np.cumsum(counts) - counts, counts)
    pieces = np.empty(len(doc), PIECE)
    pieces["start"] = bounds[doc] + part * room
    pieces["length"] = np.minimum(room, lengths[doc] - part * room)
    pieces["goes_on"] = part > 0
    return pieces


def best_fit(sizes: np.ndarray, room: int) -> np.ndarray:
    """The row of each piece, best fit decreasing: the largest first, each into the fullest row that can take it.

    Pieces of one size and rows with as much room left are placed together: as a piece leaves a row less room than it
    had, the next of its size goes into the same row while it fits. That is O(room log room) placements, however many
    pieces there are.

    sizes    int64[pieces], each from 1 to `room`
    returns  int64[pieces]; rows are counted from 0
    """
    order = np.argsort((room - sizes).astype(np.min_scalar_type(room)), kind="stable")  # radix where 16 bits do
    counts = np.bincount(sizes, minlength=room + 1)
    rows = np.empty(len(sizes), np.int64)
    open_rows = _OpenRows(room)
    at = 0
    for size in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[size])
        while left:
            free, first, count = open_rows.take(size, left)
            fit = free // size
            used = min(count, left // fit)
            taken = np.repeat(np.arange(first, first + used), fit)
            open_rows.put(free - fit * size, first, used)
            if used < count and left > len(taken):  # the last of this size do not fill their row
                some = left - used * fit
                taken = np.append(taken, np.full(some, first + used))
                open_rows.put(free - some * size, first + used, 1)
                used += 1
            open_rows.put(free, first + used, count - used)
            rows[order[at : at + len(taken)]] = taken
            at, left = at + len(taken), left - len(taken)
    return rows


class _OpenRows:
    """Runs of rows that follow each other, by the room that is left in each."""

    def __init__(self, room: int) -> None:
        self.room, self.number = room, 0
        self.runs: dict[int, list[tuple[int, int]]] = {}
        self.rooms: list[int] = []  # sorted

    def take(self, size: int, pieces: int) -> tuple[int, int, int]:
        """Room, first row and number of a run with the least room for `size`; new rows for all, if there is none."""
        place = bisect_left(self.rooms, size)
        if place == len(self.rooms):
            count = -(-pieces // (self.room // size))
            self.number += count
            return self.room, self.number - count, count
        free = self.rooms[place]
        first, count = self.runs[free].pop()
        if not self.runs[free]:
            del self.runs[free], self.rooms[place]
        return free, first, count

    def put(self, free: int, first: int, count: int) -> None:
        """Keep a run, if it has rows and they have room."""
        if free and count:
            if free not in self.runs:
                self.runs[free] = []
                insort(self.rooms, free)
            self.runs[free].append((first, count))


def cut_end_to_end(shards: Shards, row_tokens: int) -> int:
    """Documents that end in another row than they begin in, where rows are end to end."""
    count = 0
    for first in range(0, shards.num_docs, RUN):
        bounds = shards.bounds(first, min(first + RUN, shards.num_docs))
        # Token t is a target of row (t - 1) // row_tokens, and the first one of none.
        begin, end = np.maximum(bounds[:-1] - 1, 0) // row_tokens, np.maximum(bounds[1:] - 2, 0) // row_tokens
        count += int((begin != end).sum())
    return count
