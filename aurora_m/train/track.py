"""What a running stage tells while it runs: a bar, a line of numbers a step, TensorBoard. Never part of what it makes.

store/runs/<recipe>/<step>/metrics.jsonl   a head (what is planned), then the entries of the curve, one a line
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aurora_m.core.canon import JSON
from aurora_m.core.files import replacing
from aurora_m.core.log import METRICS, Bar
from aurora_m.core.step import Work

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass
class Track:
    """Where the numbers of one stage go."""

    work: Work
    name: str
    batch: int  # tokens an optimizer step
    head: Mapping[str, JSON]
    bar: Bar
    lines: IO[bytes] | None = None
    board: "SummaryWriter | None" = None

    def begin(self, curve: Sequence[Any]) -> None:
        """Show a stage from where it goes on: from its start, a checkpoint, or a rewind."""
        done = len(curve) - 1
        self.bar.update(done * self.batch)
        if self.lines:
            self.lines.close()
        if self.work.log.runs:
            path = self.work.log.runs / self.name / METRICS
            with replacing(path) as file:
                file.writelines(_line(row) for row in ({"at_s": _now_s(), "done": done, **self.head}, *curve))
            self.lines = path.open("ab", buffering=0)
        if self.board:
            self.board.close()
        if self.work.runtime.tensorboard and self.work.log.runs:
            folder = self.work.runtime.tensorboard / self.work.log.runs.name / self.name
            self.board = _board(folder, done)
            if done == 0:
                self._scalars(0, curve[0])

    def step(self, opt_step: int, entry: Mapping[str, Any], waited_s: float = 0.0) -> None:
        """Tell one optimizer step, and how long it waited for its rows."""
        loss = f"loss {entry['loss']:.3f}" if "loss" in entry else "skipped"
        self.bar.update(opt_step * self.batch, f"{loss}  lr {entry['lr']:.2e}")
        if "rows" in entry:
            self.work.log.event("bad_step", step=self.name, opt_step=opt_step, **entry)
        if self.lines:
            self.lines.write(_line({"at_s": _now_s(), "waited_s": round(waited_s, 6), **entry}))
        if self.board:
            self._scalars(opt_step, entry)

    def _scalars(self, opt_step: int, entry: Mapping[str, Any]) -> None:
        found = {f"training/{key}": entry[key] for key in ("loss", "norm", "lr") if key in entry}
        found |= {f"held out/{key}": value for key, value in entry.get("measure", {}).items()}
        found |= {f"anchor/{key}": value for key, value in entry.get("anchor", {}).items()}
        by_source = entry.get("by_source", {}).items()
        found |= {f"loss of/{key}": total / count for key, (total, count) in by_source if count}
        found["training/skipped"] = float("skipped" in entry)
        for key, value in found.items():
            if self.board and math.isfinite(value):
                self.board.add_scalar(key, value, opt_step)

    def close(self) -> None:
        """Write what is left."""
        for end in (self.lines, self.board):
            if end:
                end.close()


@contextmanager
def tracking(work: Work, name: str, opt_steps: int, batch: int, about: Mapping[str, JSON]) -> Iterator[Track]:
    """Track a stage of so many optimizer steps. `about` goes into the head: what `aurora watch` compares with."""
    head: dict[str, JSON] = {"step": name, "opt_steps": opt_steps, "batch": batch, **about}
    with ExitStack() as stack:
        bar = stack.enter_context(work.log.bar(name, opt_steps * batch, "tokens"))
        track = Track(work, name, batch, head, bar)
        stack.callback(track.close)
        yield track


def _board(folder: Path, done: int) -> "SummaryWriter":
    """A writer of TensorBoard's files; what a run wrote past the step that it now goes on from is hidden."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1 if done else None, flush_secs=10)


def _now_s() -> float:
    return round(time.time(), 3)


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
