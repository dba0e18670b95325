"""Training rows by index, and two kinds of them read as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from aurora_m.core.ends import Ends

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Row(NamedTuple):
    """One training row, as the shards hold it: `targets` come after `inputs`."""

    tokens: np.ndarray  # int64[row_tokens + 1]
    positions: np.ndarray  # int64[row_tokens]: 0 where a document begins, so that documents do not see each other
    weights: np.ndarray  # float32[row_tokens]: 1 where the target counts in the loss
    source: str
    epoch: int
    ends: Ends | None = None  # of the documents; None where the end of one leads the next

    @property
    def targets(self) -> np.ndarray:
        """What comes next: int64[row_tokens]."""
        return self.tokens[1:]

    @property
    def inputs(self) -> np.ndarray:
        """What the model reads, int64[row_tokens]: the lead, if there is one, where an end stands before a document.

        That end is a target of the document before it; nothing is predicted of a lead.
        """
        given = self.tokens[:-1]
        if self.ends is None or self.ends.lead is None:
            return given
        return np.where((self.positions == 0) & (given == self.ends.end.id), self.ends.lead.id, given)


class Rows(Protocol[T_co]):
    """What a training step reads, by index: a pure function."""

    def __getitem__(self, index: int, /) -> T_co: ...


@dataclass(frozen=True)
class Interleaved(Generic[T]):
    """Rows of which shares, each from an index on, come from `others`, spread evenly: a pure function, too."""

    rows: Rows[T]
    others: Rows[T]
    shares: Sequence[tuple[int, float | Fraction]]  # from this index on, this share
    between: bool = False  # whether the others come between the rows; else in their place

    def __getitem__(self, index: int) -> T:
        before, after = taken(self.shares, index), taken(self.shares, index + 1)
        return self.others[before] if after > before else self.rows[index - before if self.between else index]


def taken(shares: Sequence[tuple[int, float | Fraction]], index: int) -> int:
    """How many of the first `index` rows come from the others."""
    count = Fraction(0)
    for (first, share), (last, _) in pairwise([*shares, (index, 0.0)]):
        count += max(0, min(index, last) - first) * Fraction(share).limit_denominator(1000)
    return int(count)
