"""What a run says: events as JSON lines, and live progress on stderr."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_m.core.canon import JSON
from aurora_m.core.units import format_count, format_duration
from aurora_m.core.visible import raw, visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

METRICS = "metrics.jsonl"  # of a running stage, in a folder of its name below `Log.runs`
PLAIN_EVERY_S = 10.0  # between lines where stderr is no terminal


@dataclass
class Log:
    """Talks to people on stderr and to machines in `events.jsonl`. One for each run."""

    events: Path | None = None
    quiet: bool = False
    runs: Path | None = None  # where running stages tell their numbers
    _progress: "Progress | None" = field(default=None, repr=False)

    def event(self, kind: str, **fields: JSON) -> None:
        """Append one event with the wall-clock time."""
        if self.events is None:
            return
        line = json.dumps({"at_s": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False)
        with self.events.open("ab") as file:
            file.write(line.encode() + b"\n")

    def say(self, text: str) -> None:
        """Print one line to stderr, above a live bar if there is one."""
        if self.quiet:
            return
        text = visible(text)
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator["Bar"]:
        """Show progress of one long piece of work: done, rate and time left."""
        if self.quiet or not sys.stderr.isatty():
            yield Bar(self, what, total, unit)
            return
        if self._progress is not None:  # work inside work: one more line of the same display
            task = self._progress.add_task(visible(what), total=total, text="")
            try:
                yield Bar(self, what, total, unit, task)
            finally:
                self._progress.remove_task(task)
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(file=raw(sys.stderr)), transient=True) as progress:
            self._progress = progress
            try:
                yield Bar(self, what, total, unit, progress.add_task(visible(what), total=total, text=""))
            finally:
                self._progress = None


@dataclass
class Bar:
    """One running measure of progress."""

    log: Log
    what: str
    total: float
    unit: str
    task: "TaskID | None" = None
    started_s: float = field(default_factory=time.monotonic)
    first: float | None = None  # where a resumed piece of work began
    said_s: float = field(default_factory=time.monotonic)

    def update(self, done: float, note: str = "") -> None:
        """Say how far the work is; cheap enough for every step."""
        if self.first is None:
            self.first = done
        now = time.monotonic()
        if self.task is None and (self.log.quiet or now - self.said_s < PLAIN_EVERY_S):
            return
        rate = (done - self.first) / max(now - self.started_s, 1e-9)
        of = f"{format_count(done)}/{format_count(self.total)} {self.unit}"
        text = f"{of}  {format_count(rate)} {self.unit}/s  {note}"
        if self.task is not None and self.log._progress is not None:
            self.log._progress.update(self.task, completed=done, text=visible(text))
            return
        left = f"  {format_duration((self.total - done) / rate)} left" if rate > 0 else ""
        self.log.say(f"  {self.what}  {text}{left}")
        self.said_s = now


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
