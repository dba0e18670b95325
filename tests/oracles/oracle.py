"""What an oracle is: figures that theory or others' measurements foretell, a gate, and a sabotage that must fail it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tests.oracles.lab import Lab

Figures = Mapping[str, float]
SIGNS = {"<": operator.lt, ">": operator.gt, "=": operator.eq}


@dataclass(frozen=True)
class Bound:
    """One condition of a gate."""

    figure: str
    sign: str
    value: float

    def holds(self, figures: Figures) -> bool:
        """Whether the figure is within it; what is not a number is not."""
        return bool(SIGNS[self.sign](figures[self.figure], self.value))

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.value:g}"


@dataclass(frozen=True)
class Oracle:
    """A statement about training that can be checked at the size of a toy.

    expected  what the source found
    gate      what Aurora must show here; every bound
    measure   its figures for one seed
    control   what is sabotaged in the same measurement, which the gate must then refuse
    exact     it must hold for every seed, not only for the median
    advisory  too noisy, or too little known, to fail anything
    """

    number: int
    says: str
    source: str
    expected: str
    gate: tuple[Bound, ...]
    measure: Callable[[Lab], Figures]
    control: str
    sabotage: Callable[[Lab], Figures]
    exact: bool = False
    advisory: bool = False

    @property
    def name(self) -> str:
        """`O1` and so on."""
        return f"O{self.number}"

    def holds(self, found: Sequence[Figures]) -> bool:
        """Whether the figures of all seeds pass the gate."""
        judged = found if self.exact else [medians(found)]
        return all(bound.holds(figures) for bound in self.gate for figures in judged)

    def verdict(self, found: Sequence[Figures], sabotaged: Sequence[Figures]) -> str:
        """green; red, if the gate does not hold; blind, if it holds for what was sabotaged, too."""
        if not self.holds(found):
            return "red"
        return "blind" if self.holds(sabotaged) else "green"


def medians(found: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure over the seeds; not a number, if one of them is none."""
    return {name: float(np.median([figures[name] for figures in found])) for name in found[0]}


def least_fall(values: Sequence[float]) -> float:
    """The least step down from each value to the next; above 0 if they fall throughout."""
    return min(before - after for before, after in pairwise(values))
