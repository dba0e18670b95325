"""The stream: row i of a stage as a pure function of (mixture, shards, seed). No iterator, no state.

Resume, another batch size and another number of devices read the same rows because a row has no history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from aurora_m.core.canon import digest
from aurora_m.core.errors import RecipeError
from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact
from aurora_m.tokens.fim import infill
from aurora_m.tokens.mixture import FILE
from aurora_m.tokens.shards import Shards

BLOCK = 256  # rows within which the shares are exact to one row a source


@dataclass(frozen=True)
class Row:
    """One training row: inputs are `tokens[:-1]`, targets `tokens[1:]`."""

    tokens: np.ndarray  # int64[row_tokens + 1]
    positions: np.ndarray  # int64[row_tokens]: 0 where a document begins, so that documents do not see each other
    weights: np.ndarray  # float32[row_tokens]: 1 where the target counts in the loss
    source: str
    epoch: int


@dataclass(frozen=True)
class Place:
    """Where a row comes from."""

    source: str
    epoch: int
    row: int  # in the source


class Stream:
    """Rows of a mixture by index."""

    def __init__(
        self, mixture: Artifact, shards: Mapping[str, Artifact], seed: int, fim: tuple[int, int, int] | None
    ) -> None:
        """Open the shards of a mixture; `fim` are the tokenizer's infilling marks. RecipeError if they are missed."""
        plan = read_json(mixture.path / FILE)
        self.names = sorted(plan["sources"])
        self.row_tokens, self.num_rows = int(plan["row_tokens"]), int(plan["rows"])
        self.seed, self.fim = seed, fim
        self.sources = [plan["sources"][name] for name in self.names]
        if fim is None and any(source["fim"] for source in self.sources):
            what, hint = "the base's tokenizer has no marks for infilling", "leave `fim` out of the mixture"
            raise RecipeError(what, at="mixture: fim", hint=hint)
        self.shards = {name: Shards.of(shards[name]) for name in self.names}
        total = sum(Fraction(s["token_share"]) for s in self.sources)
        self.cumulative = [Fraction(0)]
        for source in self.sources:
            self.cumulative.append(self.cumulative[-1] + Fraction(source["token_share"]) / total)
        self._block = lru_cache(maxsize=4)(self._make_block)

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, index: int) -> Row:
        place = self.where(index)
        shards = self.shards[place.source]
        start = place.row * self.row_tokens
        tokens = shards.read(start, self.row_tokens + 1)
        first, last = shards.docs_between(start, start + self.row_tokens + 1)
        starts = np.maximum(shards.doc_starts[first:last] - start, 0)
        rate = self.sources[self.names.index(place.source)]["fim"]
        if rate and self.fim:
            tokens, starts = infill(tokens, starts, rate, self.fim, seed=(self.seed, index))
        positions = positions_of(
            np.maximum(starts - 1, 0), self.row_tokens
        )  # a document begins at the end token before it
        return Row(tokens, positions, np.ones(self.row_tokens, np.float32), place.source, place.epoch)

    def where(self, index: int) -> Place:
        """Where row `index` comes from. IndexError outside the stream."""
        if not 0 <= index < self.num_rows:
            raise IndexError(f"row {index} of {self.num_rows}")
        block, offset = divmod(index, BLOCK)
        sources, epochs, rows = self._block(block)
        return Place(self.names[sources[offset]], int(epochs[offset]), int(rows[offset]))

    def doc_ids(self, index: int) -> list[str]:
        """The ids of the documents in row `index`."""
        place = self.where(index)
        start = place.row * self.row_tokens
        shards = self.shards[place.source]
        return shards.doc_ids(*shards.docs_between(start, start + self.row_tokens + 1))

    def _taken(self, block: int) -> np.ndarray:
        """Rows of each source in all blocks before `block`; they add up to `block * BLOCK`."""
        floors = [int(share * block * BLOCK) for share in self.cumulative]
        return np.diff(floors)

    def _make_block(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source number, epoch and row of every row of a block, shuffled."""
        before, after = self._taken(block), self._taken(block + 1)
        sources = np.repeat(np.arange(len(self.names)), after - before)
        epochs, rows = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
        for number, source in enumerate(self.sources):
            mine = sources == number
            turn = np.arange(before[number], after[number])
            size = source["rows_an_epoch"]
            epochs[mine], turn = turn // size, turn % size
            for epoch in np.unique(epochs[mine]):
                these = np.flatnonzero(mine)[epochs[mine] == epoch]
                chosen = turn[epochs[mine] == epoch]
                rows[these] = permute(chosen, size, mixed(self.seed, key_of(self.names[number]), int(epoch)))
        order = np.argsort(scatter(np.arange(BLOCK, dtype=np.uint64), mixed(self.seed, -1, block)), kind="stable")
        return sources[order], epochs[order], rows[order]


def positions_of(starts: np.ndarray, length: int) -> np.ndarray:
    """Position ids of a row of `length` inputs in which documents begin at `starts` (the first is 0)."""
    starts = starts[starts < length]
    positions: np.ndarray = np.arange(length) - np.repeat(starts, np.diff([*starts, length]))
    return positions


def scatter(values: np.ndarray, key: int) -> np.ndarray:
    """Hash uint64 values with a key: splitmix64's finalizer (Steele et al. 2014), the same on every machine."""
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64) + np.uint64(key & (2**64 - 1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed: np.ndarray = x ^ (x >> np.uint64(31))
    return hashed


def key_of(name: str) -> int:
    """A 64-bit key from a name: rows keep their order when other sources come or go."""
    return int(digest(name)[:16], 16)


def mixed(*keys: int) -> int:
    """One 64-bit key from several integers."""
    state = 0
    for key in keys:
        state = int(scatter(np.array([(state + key) & (2**64 - 1)], np.uint64), 0x5851F42D4C957F2D)[0])
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
            left, right = right, left ^ (scatter(right, key + turn) & mask)
        result[outside] = (left << np.uint64(half)) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
