"""The forgetting budget: how far bits per byte of an old language may rise over the base, and what follows if it does.

What was found stands in the curve, at its marks; whatever follows from it is a function of the curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aurora_m.core.errors import Waiting
from aurora_m.core.step import Facts, Work

if TYPE_CHECKING:
    from aurora_m.tokens.stream import Row
    from aurora_m.train.loop import Rows

STEP, MOST = 0.1, 0.3  # of all rows: what one mark over the budget adds to the replay, and what all may


@dataclass(frozen=True)
class Budget:
    """A budget and what follows at a mark over it; without old languages, none.

    warn   say so
    pause  stop with the checkpoint kept, until people let the run go on
    raise  from here on, read a further `STEP` of the rows from `replay`
    """

    max_rise: float = 0.0  # relative
    action: str = "warn"
    base: Mapping[str, float] = field(default_factory=dict)  # bits per byte of old languages
    replay: "Rows | None" = None

    def found(self, entry: Mapping[str, Any], curve: Sequence[Any]) -> dict[str, Any]:
        """What a mark adds to its entry: the rise of each old language, and what is over the budget."""
        if not self.base:
            return {}
        rise = {lang: round(entry["measure"][lang] / bits - 1, 6) for lang, bits in self.base.items()}
        over = [lang for lang in rise if rise[lang] > self.max_rise]
        raised = {"raised": round(min(MOST, self.raised(curve) + STEP), 6)} if over and self.action == "raise" else {}
        return {"old_rise": rise, **({"over_budget": over} if over else {}), **raised}

    def told(self) -> Facts:
        """What watchers compare with."""
        return {"max_old_rise": self.max_rise, "then": self.action, "base": dict(self.base)} if self.base else {}

    @staticmethod
    def raised(curve: Sequence[Any]) -> float:
        """The share of rows that is now read from `replay`."""
        return float(next((entry["raised"] for entry in reversed(curve) if "raised" in entry), 0.0))

    def reading(self, rows: "Rows", curve: Sequence[Any], rows_a_step: int) -> "Rows":
        """The rows to read, given what the curve says so far; entry n is of step n."""
        raises = [(n * rows_a_step, entry["raised"]) for n, entry in enumerate(curve) if "raised" in entry]
        return Raised(rows, self.replay, raises) if raises and self.replay is not None else rows

    def tell(self, work: Work, name: str, entry: Mapping[str, Any]) -> None:
        """Say that a mark is over the budget, if it is."""
        if "over_budget" in entry:
            work.log.say(f"  {name}: {self._words(entry)}")
            work.log.event("over_budget", step=name, tokens=entry["tokens"], rise=entry["old_rise"])

    def waits(self, entry: Mapping[str, Any]) -> bool:
        """Whether a stage stops at this entry until people decide."""
        return self.action == "pause" and "over_budget" in entry

    def hold(self, name: str, entry: Mapping[str, Any]) -> None:
        """Waiting, where a stage stops here."""
        if self.waits(entry):
            hint = (
                "`aurora watch` shows the way here; the same run with --go-on goes on from the checkpoint; a recipe "
                "with more `replay` or another `max_old_rise` trains the stage anew"
            )
            raise Waiting(self._words(entry), at=f"{name}, after {entry['tokens']} tokens", hint=hint)

    def _words(self, entry: Mapping[str, Any]) -> str:
        rises = ", ".join(f"`{lang}` {entry['old_rise'][lang]:+.1%}" for lang in entry["over_budget"])
        more = f"; {entry['raised']:.0%} of the rows are replay from here on" if "raised" in entry else ""
        return f"bits per byte rose over the base by more than {100 * self.max_rise:g}%: {rises}{more}"

    def facts(self, curve: Sequence[Any], num_rows: int, rows_a_step: int) -> Facts:
        """What a finished stage says of its budget."""
        if not self.base:
            return {}
        marks = [entry for entry in curve if "old_rise" in entry]
        found: Facts = {"old_rise": marks[-1]["old_rise"], "marks_over": sum("over_budget" in mark for mark in marks)}
        if self.replay is not None:
            raises = [(n * rows_a_step, entry["raised"]) for n, entry in enumerate(curve) if "raised" in entry]
            more = taken(raises, num_rows)
            found["raised"] = {"rows": more, "share": round(more / num_rows, 6)}
        return found


@dataclass(frozen=True)
class Raised:
    """Rows of which shares, each from an index on, are taken from `replay`, spread evenly: a pure function, too."""

    rows: "Rows"
    replay: "Rows"
    raises: Sequence[tuple[int, float]]  # from this row on, this share

    def __getitem__(self, index: int) -> "Row":
        before, after = taken(self.raises, index), taken(self.raises, index + 1)
        return self.replay[before] if after > before else self.rows[index]


def taken(raises: Sequence[tuple[int, float]], index: int) -> int:
    """How many of the first `index` rows are from the replay."""
    count = Fraction(0)
    for (first, share), (last, _) in pairwise([*raises, (index, 0.0)]):
        count += max(0, min(index, last) - first) * Fraction(share).limit_denominator(1000)
    return int(count)
