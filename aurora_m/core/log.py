"""What a run says: events as JSON lines, and live progress on stderr."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_m.core.canon import JSON
from aurora_m.core.files import no_link
from aurora_m.core.units import format_count, format_duration
from aurora_m.core.visible import raw, visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

METRICS = "metrics.jsonl"  # of a running stage, in a folder of its name below `Log.runs`
PLAIN_EVERY_S = 10.0  # between lines where stderr is no terminal: nobody waits longer for a sign of life


@dataclass
class Log:
    """Talks to people on stderr and to machines in `events.jsonl`. One for each run."""

    events: Path | None = None
    quiet: bool = False
    runs: Path | None = None  # where running stages tell their numbers
    _progress: "Progress | None" = field(default=None, repr=False)
    _bars: list["Bar"] = field(default_factory=list, repr=False)  # that are no live ones, the innermost last
    _said_s: float = field(default_factory=time.monotonic, repr=False)

    def event(self, kind: str, **fields: JSON) -> None:
        """Append one event with the wall-clock time. StoreError if the file is a link."""
        if self.events is None:
            return
        line = json.dumps({"at_s": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False)
        with open(self.events, "ab", opener=no_link) as file:
            file.write(line.encode() + b"\n")

    def say(self, text: str) -> None:
        """Print one line to stderr, above a live bar if there is one."""
        if self.quiet:
            return
        self._said_s = time.monotonic()
        text = visible(text)
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def pulse(self, what: str) -> Iterator[None]:
        """Say at least every `PLAIN_EVERY_S` that a piece of work goes on, where nothing else is said or moves."""
        ended = threading.Event()
        thread = threading.Thread(target=self._pulse, args=(what, time.monotonic(), ended), daemon=True)
        if not self.quiet:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if not self.quiet:
                thread.join()

    def _pulse(self, what: str, started_s: float, ended: threading.Event) -> None:
        while not ended.wait(max(0.0, self._said_s + PLAIN_EVERY_S - time.monotonic()) if not self._progress else 1.0):
            now_s = time.monotonic()
            if self._progress or now_s - self._said_s < PLAIN_EVERY_S:
                continue
            if self._bars:
                self._bars[-1].say(now_s)
            else:
                self.say(f"  {what} goes on, {format_duration(now_s - started_s)} so far")

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator["Bar"]:
        """Show progress of one long piece of work: done, rate and time left."""
        if self.quiet or not sys.stderr.isatty():
            self._bars.append(Bar(self, what, total, unit))
            try:
                yield self._bars[-1]
            finally:
                self._bars.pop()
            return
        if self._progress is not None:  # work inside work: one more line of the same display
            task = self._progress.add_task(visible(what), total=total, text="")
            try:
                yield Bar(self, what, total, unit, task)
            finally:
                self._progress.remove_task(task)
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),  # it moves while nothing else does
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
    done: float = 0.0
    note: str = ""

    def update(self, done: float, note: str = "") -> None:
        """Say how far the work is; cheap enough for every step."""
        if self.first is None:
            self.first = done
        self.done, self.note = done, note
        now_s = time.monotonic()
        if self.task is None and (self.log.quiet or now_s - self.said_s < PLAIN_EVERY_S):
            return
        if self.task is not None and self.log._progress is not None:
            text = visible("  ".join(self._parts(self._rate(now_s))))
            self.log._progress.update(self.task, completed=done, text=text)
            return
        self.say(now_s)

    def say(self, now_s: float) -> None:
        """Print a line on it."""
        rate = self._rate(now_s)
        left = [f"{format_duration((self.total - self.done) / rate)} left"] if rate > 0 else []
        self.log.say("  ".join((f"  {self.what}", *self._parts(rate), *left)))
        self.said_s = now_s

    def _rate(self, now_s: float) -> float:
        return (self.done - (self.first or 0.0)) / max(now_s - self.started_s, 1e-9)

    def _parts(self, rate: float) -> list[str]:
        speed = f"{format_count(rate)} {self.unit}/s"
        if rate < 1:
            speed = f"1 {self.unit.removesuffix('s')} in {format_duration(1 / rate)}" if rate > 0 else ""
        of = f"{format_count(self.done)}/{format_count(self.total)} {self.unit}"
        return [part for part in (of, speed, self.note) if part]


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
