"""How long and how fast a training step learns: its settings, and the optimizer steps that follow from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aurora_m.core.step import Artifact
from aurora_m.recipe import Training
from aurora_m.train.curve import Curve
from aurora_m.train.facts import TrainingFacts
from aurora_m.train.guard import Guard
from aurora_m.train.schedule import OptStep, Schedule


@dataclass(frozen=True)
class Plan:
    """A training step's settings, and what follows from them and its rows."""

    training: Training
    seed: int
    opt_steps: int
    schedule: Schedule
    reuse: Path | None = None  # the folder of the model whose optimizer state is taken
    keep: bool = False  # whether a later stage takes this one's

    @classmethod
    def of(
        cls, training: Training, seed: int, num_rows: int, start: Artifact | None = None, keep: bool = False
    ) -> "Plan":
        """The plan for so many rows, of which the last that do not fill a batch are not read.

        start  the model whose schedule or optimizer state goes on
        """
        opt_steps = num_rows // (training.batch_tokens // training.row_tokens)
        offset = 0
        if start and training.continues:
            before = start.read(TrainingFacts)
            offset = before.curve_tokens or before.tokens
        total = training.horizon_tokens or offset + opt_steps * training.batch_tokens
        reuse = start.path if start and training.optimizer_state == "reuse" else None
        return cls(training, seed, opt_steps, Schedule.of(training, total, offset), reuse, keep)

    @property
    def rows_a_step(self) -> int:
        """Rows an optimizer step."""
        return self.training.batch_tokens // self.training.row_tokens

    @property
    def batch_tokens(self) -> int:
        """Tokens an optimizer step."""
        return self.rows_a_step * self.training.row_tokens

    @property
    def num_rows(self) -> int:
        """Rows that are read."""
        return self.opt_steps * self.rows_a_step

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return self.opt_steps * self.batch_tokens

    @property
    def guard(self) -> Guard:
        """What a bad step leads to."""
        return Guard(self.training.guard, self.training.spike, max(3, min(9, self.opt_steps // 4)))

    @property
    def eval_steps(self) -> set[int]:
        """The optimizer steps after which the model is measured."""
        count = self.training.eval_points
        return {round(self.opt_steps * point / count) for point in range(1, count + 1)}

    def remaining(self, curve: Curve) -> Iterator[OptStep]:
        """The optimizer steps that a curve has not yet; those that it loses meanwhile come again."""
        while curve.done < self.opt_steps:
            number = curve.done + 1
            tokens = number * self.batch_tokens
            rows = range(curve.done * self.rows_a_step, number * self.rows_a_step)
            yield OptStep(number, rows, tokens, self.schedule.lr(tokens), self.schedule.warming(tokens))
