"""The forgetting budget: how far bits per byte of an old language may rise over the base, and what follows if it does.

What was found stands in the curve, at its evaluation points; whatever follows from it is a function of the curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import Waiting
from aurora_m.core.step import Work
from aurora_m.tokens.rows import Interleaved, Rows, taken
from aurora_m.train.curve import Curve, EvalPoint
from aurora_m.train.facts import BudgetFacts, Raised

STEP, MOST = 0.1, 0.3  # of all rows: what one point over the budget adds to the replay, and what all may


@dataclass(frozen=True)
class Budget:
    """A budget and what follows at an evaluation point over it; without old languages, none.

    warn   say so
    pause  stop with the checkpoint kept, until people let the run go on
    raise  from here on, read a further `STEP` of the rows from `replay`
    """

    max_rise: float = 0.0  # relative
    action: str = "warn"
    base: Mapping[str, float] = field(default_factory=dict)  # bits per byte of old languages
    replay: Rows[Any] | None = None

    def evaluate(self, measure: Mapping[str, float], curve: Curve) -> EvalPoint:
        """The next evaluation point of a curve: the rise of each old language, and what is over the budget."""
        if not self.base:
            return EvalPoint(measure)
        rise = {lang: round(measure[lang] / bits - 1, 6) for lang, bits in self.base.items()}
        over = tuple(lang for lang in rise if rise[lang] > self.max_rise)
        before = next((share for _, share in reversed(curve.raises(1))), 0.0)
        raised = round(min(MOST, before + STEP), 6) if over and self.action == "raise" else None
        return EvalPoint(measure, rise, over, raised)

    def metadata(self) -> dict[str, JSON]:
        """What watchers compare with."""
        return {"max_old_rise": self.max_rise, "then": self.action, "base": dict(self.base)} if self.base else {}

    def rows(self, rows: Rows[Any], curve: Curve, rows_a_step: int) -> Rows[Any]:
        """The rows to read, given what the curve says so far."""
        if self.replay is None or not (raises := curve.raises(rows_a_step)):
            return rows
        return Interleaved(rows, self.replay, raises)

    def warn(self, work: Work, name: str, curve: Curve) -> None:
        """Say that the curve ends over the budget, if it does."""
        if curve.last and curve.last.over_budget:
            work.log.say(f"  {name}: {self._words(curve.last)}")
            rise: JSON = dict(curve.last.old_rise or {})
            work.log.event("over_budget", step=name, tokens=curve.tokens, rise=rise)

    def pauses(self, curve: Curve) -> bool:
        """Whether a stage stops where the curve ends until people decide."""
        return self.action == "pause" and curve.last is not None and bool(curve.last.over_budget)

    def raise_if_paused(self, name: str, curve: Curve) -> None:
        """Waiting, where a stage stops here."""
        if curve.last and self.pauses(curve):
            hint = (
                "`aurora watch` shows the way here; the same run with --go-on goes on from the checkpoint; a recipe "
                "with more `replay` or another `max_old_rise` trains the stage anew"
            )
            raise Waiting(self._words(curve.last), at=f"{name}, after {curve.tokens} tokens", hint=hint)

    def _words(self, point: EvalPoint) -> str:
        rises = ", ".join(f"`{lang}` {(point.old_rise or {})[lang]:+.1%}" for lang in point.over_budget)
        more = f"; {point.raised:.0%} of the rows are replay from here on" if point.raised is not None else ""
        return f"bits per byte rose over the base by more than {100 * self.max_rise:g}%: {rises}{more}"

    def facts(self, curve: Curve, num_rows: int, rows_a_step: int) -> BudgetFacts:
        """What a finished stage says of its budget."""
        if not self.base:
            return BudgetFacts()
        points = [point for _, point in curve.eval_points() if point.old_rise is not None]
        raised = None
        if self.replay is not None:
            more = taken(curve.raises(rows_a_step), num_rows)
            raised = Raised(more, round(more / num_rows, 6))
        return BudgetFacts(points[-1].old_rise, sum(bool(point.over_budget) for point in points), raised)
