"""What a running stage tells while it runs: a bar, a line of numbers a step, TensorBoard. Never part of what it makes.

store/runs/<recipe>/<step>/metrics.jsonl   a head (what is planned), then the entries of the curve, one a line
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aurora_m.core.canon import JSON
from aurora_m.core.files import replacing
from aurora_m.core.log import METRICS, Bar
from aurora_m.core.step import Work
from aurora_m.train.curve import FORMAT, Curve, Entry, Skip, to_json
from aurora_m.train.plan import Plan

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass
class Track:
    """Where the numbers of one stage go."""

    work: Work
    name: str
    batch_tokens: int  # an optimizer step
    head: Mapping[str, JSON]
    bar: Bar
    lines: IO[bytes] | None = None
    board: "SummaryWriter | None" = None

    def begin(self, curve: Curve) -> None:
        """Show a stage from where it goes on: from its start, a checkpoint, or a rewind."""
        self.bar.update(curve.done * self.batch_tokens)
        if self.lines:
            self.lines.close()
        if self.work.log.runs:
            path = self.work.log.runs / self.name / METRICS
            head = {"at_s": _now_s(), "done": curve.done, **self.head}
            with replacing(path) as file:
                file.writelines(map(_line, (head, *curve.to_json())))
            self.lines = path.open("ab", buffering=0)
        if self.board:
            self.board.close()
        if self.work.runtime.tensorboard and self.work.log.runs:
            folder = self.work.runtime.tensorboard / self.work.log.runs.name / self.name
            self.board = _board(folder, curve.done)
            if curve.done == 0:
                self._scalars(0, {"training/skipped": 0.0, **_of_measure(curve.start.measure)})

    def rewound(self, curve: Curve, at: str) -> None:
        """Show that a stage went back to where its curve now ends."""
        self.work.log.say(f"  {at}: bad, as others before it; back to step {curve.done}")
        self.work.log.event("rewind", at=at, to=curve.done, passed_over=[*curve.rewind.passed_over])
        self.begin(curve)

    def step(self, curve: Curve, waited_s: float = 0.0) -> None:
        """Show the last optimizer step of a curve, and how long it waited for its rows."""
        step = curve.steps[-1]
        loss = f"loss {step.loss:.3f}" if isinstance(step, Entry) else "skipped"
        self.bar.update(curve.done * self.batch_tokens, f"{loss}  lr {step.lr:.2e}")
        if step.rows:
            self.work.log.event("bad_step", step=self.name, opt_step=curve.done, **to_json(step))
        if self.lines:
            self.lines.write(_line({"at_s": _now_s(), "waited_s": round(waited_s, 6), **to_json(step)}))
        if self.board:
            self._scalars(curve.done, _of_step(step))

    def _scalars(self, opt_step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            if self.board and math.isfinite(value):
                self.board.add_scalar(key, value, opt_step)

    def close(self) -> None:
        """Write what is left."""
        for end in (self.lines, self.board):
            if end:
                end.close()


@contextmanager
def tracking(work: Work, name: str, plan: Plan, about: Mapping[str, JSON]) -> Iterator[Track]:
    """Track a stage. `about` goes into the head: what `aurora watch` compares with."""
    size: dict[str, JSON] = {"opt_steps": plan.opt_steps, "batch_tokens": plan.batch_tokens}
    with ExitStack() as stack:
        bar = stack.enter_context(work.log.bar(name, plan.tokens, "tokens"))
        track = Track(work, name, plan.batch_tokens, {"format": FORMAT, "step": name, **size, **about}, bar)
        stack.callback(track.close)
        yield track


def _of_step(step: Entry | Skip) -> dict[str, float]:
    """The numbers of a step, as TensorBoard names them."""
    found = {"training/lr": step.lr, "training/skipped": float(isinstance(step, Skip))}
    if isinstance(step, Entry):
        found |= {"training/loss": step.loss, "training/norm": step.norm}
        found |= {f"anchor/{key}": value for key, value in step.anchor.items()}
        found |= {f"loss of/{key}": total / count for key, (total, count) in step.by_source.items() if count}
    return found | (_of_measure(step.eval_point.measure) if step.eval_point else {})


def _of_measure(measure: Mapping[str, float]) -> dict[str, float]:
    return {f"held out/{key}": value for key, value in measure.items()}


def _board(folder: Path, done: int) -> "SummaryWriter":
    """A writer of TensorBoard's files; what a run wrote past the step that it now goes on from is hidden."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1 if done else None, flush_secs=10)


def _now_s() -> float:
    return round(time.time(), 3)


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
