"""The stream: row i of a stage as a pure function of (mixture, shards, seed). No iterator, no state.

Resume, another batch size and another number of devices read the same rows because a row has no history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_m.core.canon import digest
from aurora_m.core.ends import Ends, ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.step import Artifact
from aurora_m.tokens.fim import infill
from aurora_m.tokens.mixture import PACKS, read_mixture
from aurora_m.tokens.packing import Concatenated, Packed, SourceRows
from aurora_m.tokens.rows import Row
from aurora_m.tokens.shards import Shards
from aurora_m.tokens.tokenizer import fim_ids, open_tokenizer

BLOCK = 256  # rows within which the shares are exact to one row a source
TOGETHER = 16  # blocks whose places are found at once: to permute few numbers costs as much as to permute many
STRIDE, WORD = 0x9E3779B97F4A7C15, 2**64 - 1  # splitmix64's


class Place(NamedTuple):
    """Where a row comes from."""

    source: str
    epoch: int
    row: int  # in the source


@dataclass(frozen=True)
class Part:
    """A part of a document in a row, before infilling: tokens `first` to `last` - 1 of it."""

    doc: str
    first: int
    last: int


class Stream:
    """Rows of a mixture by index."""

    def __init__(
        self,
        mixture: Artifact,
        shards: Mapping[str, Artifact],
        seed: int,
        fim: tuple[int, int, int] | None,
        ends: Ends | None = None,
    ) -> None:
        """Open the shards of a mixture. RecipeError if the tokenizer's infilling marks are missed.

        fim   these marks
        ends  of documents; None where the end of one leads the next
        """
        self.plan = read_mixture(mixture.path)
        self.names = sorted(self.plan.sources)
        self.row_tokens, self.num_rows = self.plan.row_tokens, self.plan.rows
        self.seed, self.fim, self.ends = seed, fim, ends
        self.sources = [self.plan.sources[name] for name in self.names]
        if fim is None and any(source.fim for source in self.sources):
            what, hint = "the base's tokenizer has no marks for infilling", "leave `fim` out of the mixture"
            raise RecipeError(what, at="mixture: fim", hint=hint)
        self.shards = {name: Shards.of(shards[name]) for name in self.names}
        self._rows = lru_cache(maxsize=None)(partial(self._open, mixture.path / PACKS))
        total = sum(Fraction(source.row_share) for source in self.sources)
        shares = [Fraction(source.row_share) / total for source in self.sources]
        self.cumulative = [Fraction(0), *accumulate(shares)]
        self._places = lru_cache(maxsize=2)(self._make_places)

    def _open(self, packs: Path, name: str) -> tuple[SourceRows, float]:
        """The rows of a source, and what share of its documents is filled in."""
        shards, packed = self.shards[name], self.plan.packing == "best_fit"
        first = self.ends.end.id if self.ends and self.ends.lead else None
        plain = Concatenated(shards, self.row_tokens, first)
        rows = Packed.open(shards, self.row_tokens, packs / name) if packed else plain
        return rows, self.plan.sources[name].fim

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, index: int) -> Row:
        place = self.where(index)
        rows, rate = self._rows(place.source)
        fill = partial(infill, rate=rate, marks=self.fim, seed=(self.seed, index)) if rate and self.fim else None
        tokens, starts, weights = rows.row(place.row, fill)
        starts[1:] -= 1  # but for the first, a document's first input is the end token before it
        return Row(tokens, positions_of(starts, self.row_tokens), weights, place.source, place.epoch, self.ends)

    def where(self, index: int) -> Place:
        """Where row `index` comes from. IndexError outside the stream."""
        if not 0 <= index < self.num_rows:
            raise IndexError(f"row {index} of {self.num_rows}")
        return self._places(index // (BLOCK * TOGETHER))[index % (BLOCK * TOGETHER)]

    def parts(self, index: int) -> list[Part]:
        """The parts of documents in row `index`, in order."""
        place = self.where(index)
        shards, found = self.shards[place.source], []
        for start, stop in self._rows(place.source)[0].spans(place.row):
            first, bounds = shards.docs_between(start, stop)
            ids = shards.doc_ids(first, first + len(bounds) - 1)
            for name, begin, end in zip(ids, bounds.tolist(), bounds[1:].tolist(), strict=False):
                found.append(Part(name, max(start, begin) - begin, min(stop, end) - begin))
        return found

    def _taken(self, block: int) -> list[int]:
        """Rows of each source in all blocks before `block`; they add up to `block * BLOCK`."""
        floors = [share.numerator * block * BLOCK // share.denominator for share in self.cumulative]
        return [after - before for before, after in pairwise(floors)]

    def _make_places(self, group: int) -> list[Place]:
        """Where the rows of `TOGETHER` blocks, or of those that are left, come from, each block shuffled."""
        first, last = group * TOGETHER, min((group + 1) * TOGETHER, -(-self.num_rows // BLOCK))
        taken = [self._taken(block) for block in range(first, last + 1)]
        blocks: list[list[Place]] = [[] for _ in range(first, last)]
        for name, source, ends in zip(self.names, self.sources, zip(*taken, strict=True), strict=True):
            rows = self._rows_between(name, source.rows_an_epoch, ends[0], ends[-1])
            for places, before, after in zip(blocks, ends, ends[1:], strict=False):
                places += rows[before - ends[0] : after - ends[0]]
        found = []
        for block, places in enumerate(blocks, first):
            keys = hash_keyed(np.arange(BLOCK, dtype=np.uint64), combine_keys(self.seed, -1, block))
            found += [places[at] for at in np.argsort(keys, kind="stable").tolist()]
        return found

    def _rows_between(self, name: str, size: int, first: int, last: int) -> list[Place]:
        """The rows of a source from its `first` turn to `last`: each epoch of `size` in an order of its own."""
        found: list[Place] = []
        for epoch in range(first // size, -(-last // size)):
            turns = np.arange(max(first, epoch * size), min(last, (epoch + 1) * size)) - epoch * size
            rows = permute(turns, size, combine_keys(self.seed, key_of(name), epoch))
            found += [Place(name, epoch, row) for row in rows.tolist()]
        return found


def stage_stream(
    mixture: Artifact, shards: Mapping[str, Artifact], tokenizer: Artifact, seed: int, name: str
) -> Stream:
    """The rows of a mixture in an order of the stage's own, so that replay does not read first what the base did."""
    fim, ends = fim_ids(open_tokenizer(tokenizer.path)), ends_of(tokenizer.path)
    return Stream(mixture, shards, combine_keys(seed, key_of(name)), fim, ends)


def positions_of(starts: np.ndarray, length: int) -> np.ndarray:
    """Position ids of a row of `length` inputs in which documents begin at `starts` (the first is 0)."""
    positions = np.arange(length)
    inside = [start for start in starts[1:].tolist() if start < length]
    count = positions.copy() if inside else positions
    for start, stop in pairwise([*inside, length]):
        positions[start:stop] = count[: stop - start]
    return positions


def hash_keyed(values: np.ndarray, key: int) -> np.ndarray:
    """Hash uint64 values with a key: splitmix64's finalizer (Steele et al. 2014), the same on every machine."""
    x = values.astype(np.uint64) + np.uint64(key * STRIDE & WORD)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: np.ndarray = x ^ (x >> np.uint64(31))
    return hashed


@lru_cache(maxsize=1024)
def key_of(name: str) -> int:
    """A 64-bit key from a name: rows keep their order when other sources come or go."""
    return int(digest(name)[:16], 16)


def combine_keys(*keys: int) -> int:
    """One 64-bit key from several integers."""
    state = 0
    for key in keys:
        state = int(hash_keyed(np.array([(state + key) & WORD], np.uint64), 0x5851F42D4C957F2D)[0])
    return state


def permute(values: np.ndarray, size: int, key: int) -> np.ndarray:
    """Permute integers of [0, size) by a keyed 4-round Feistel network with cycle walking.

    source  Black and Rogaway 2002, ciphers with arbitrary finite domains
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64(2**half - 1)
    result = values.astype(np.uint64)
    outside = np.ones(len(result), bool)
    while outside.any():
        x = result[outside]
        left, right = x >> np.uint64(half), x & mask
        for turn in range(4):
            left, right = right, left ^ (hash_keyed(right, key + turn) & mask)
        result[outside] = (left << np.uint64(half)) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
