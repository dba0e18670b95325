"""The curve of a training step: what each optimizer step found, the evaluation points, what was skipped and rewound.

curve.jsonl   line 0: the format, the model at the start, and what rewinds lead over; line n: optimizer step n
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import StoreError
from aurora_m.core.files import read_jsonl, write_jsonl

FILE, FORMAT = "curve.jsonl", 2
CALM = 16  # optimizer steps


@dataclass(frozen=True)
class EvalPoint:
    """What was measured of a model, and what its forgetting budget says of that."""

    measure: Mapping[str, float]  # see train/monitor.py
    old_rise: Mapping[str, float] | None = None  # of each old language over the base, relative
    over_budget: tuple[str, ...] = ()  # old languages
    raised: float | None = None  # the share of rows that is read from more replay from here on


@dataclass(frozen=True)
class Entry:
    """An optimizer step: what it found before its update."""

    tokens: int  # read up to its end
    loss: float  # mean in nats a target
    lr: float
    norm: float  # of the gradients, before they are clipped
    by_source: Mapping[str, tuple[float, float]]  # sum of losses, targets
    anchor: Mapping[str, float] = field(default_factory=dict)  # values of the anchors, before their weights
    spike: str = ""  # what is one: `loss` or `norm`
    rows: tuple[int, int] | None = None  # of a spike: its first row and its last
    eval_point: EvalPoint | None = None


@dataclass(frozen=True)
class Skip:
    """An optimizer step without an update."""

    tokens: int
    lr: float
    why: str
    rows: tuple[int, int]
    found: str = ""  # what was wrong with it, in words
    eval_point: EvalPoint | None = None


@dataclass(frozen=True)
class Rewind:
    """What all rewinds of a training step lead to: optimizer steps that have no update."""

    passed_over: tuple[int, ...] = ()
    count: int = 0


@dataclass
class Curve:
    """The state of a training step beside its weights; whatever follows from it is the same in all processes."""

    start: EvalPoint
    steps: list[Entry | Skip] = field(default_factory=list)  # that of optimizer step n is n - 1
    rewind: Rewind = Rewind()

    def __post_init__(self) -> None:
        """Find the evaluation points, which are few, and the level of the loss."""
        numbered = enumerate(self.steps, 1)
        self._points = {number: step.eval_point for number, step in numbered if step.eval_point}
        self.first, self.calm = math.inf, math.inf  # the first loss; the largest in the calmest `CALM` steps
        self._last: deque[float] = deque(maxlen=CALM)
        for step in self.steps:
            self._note(step)

    def _note(self, step: Entry | Skip) -> None:
        if isinstance(step, Entry):
            self.first = self.first if self._last else step.loss
            self._last.append(step.loss)
            if len(self._last) == CALM:
                self.calm = min(self.calm, max(self._last))

    @property
    def done(self) -> int:
        """Optimizer steps."""
        return len(self.steps)

    @property
    def tokens(self) -> int:
        """Read so far."""
        return self.steps[-1].tokens if self.steps else 0

    @property
    def last(self) -> EvalPoint | None:
        """The evaluation point at which the curve ends, if it does."""
        return self.steps[-1].eval_point if self.steps else self.start

    @property
    def learnt(self) -> list[Entry]:
        """The steps that had an update."""
        return [step for step in self.steps if isinstance(step, Entry)]

    @property
    def skipped(self) -> list[int]:
        """The optimizer steps that had none."""
        return [number for number, step in enumerate(self.steps, 1) if isinstance(step, Skip)]

    def eval_points(self) -> list[tuple[int, EvalPoint]]:
        """The evaluation points, each with the tokens read up to it; the first is the start."""
        return [(0, self.start), *((self.steps[number - 1].tokens, point) for number, point in self._points.items())]

    def targets(self) -> dict[str, float]:
        """The tokens that were learnt from, for each source."""
        found: dict[str, float] = {}
        for entry in self.learnt:
            for source, (_, count) in entry.by_source.items():
                found[source] = found.get(source, 0.0) + count
        return found

    def raises(self, rows_a_step: int) -> list[tuple[int, float]]:
        """Where the share of replay was raised: from which row on, and to what."""
        points = self._points.items()
        return [(number * rows_a_step, point.raised) for number, point in points if point.raised is not None]

    def add(self, step: Entry | Skip) -> None:
        """The next optimizer step."""
        self.steps.append(step)
        self._note(step)
        if step.eval_point:
            self._points[self.done] = step.eval_point

    def go_back(self, before: "Curve", rewind: Rewind) -> None:
        """Undo the steps that an earlier state of the curve has not."""
        vars(self).update(vars(before), rewind=rewind)

    def to_json(self) -> list[dict[str, Any]]:
        """A line for the start and each step."""
        rewound = {"passed_over": [*self.rewind.passed_over], "rewinds": self.rewind.count} if self.rewind.count else {}
        return [{"format": FORMAT, "tokens": 0, **_point(self.start), **rewound}, *map(to_json, self.steps)]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]], at: str) -> "Curve":
        """The curve of such lines. StoreError for those of another format."""
        head, *steps = rows or [{}]
        if head.get("format") != FORMAT:
            what = f"this curve has format {head.get('format', 1)}, and this version of Aurora reads {FORMAT}"
            raise StoreError(what, at=at, hint="run the recipe again, or choose another `--store`")
        rewind = Rewind(tuple(head.get("passed_over", ())), head.get("rewinds", 0))
        return cls(_point_of(head), [*map(from_json, steps)], rewind)

    def write(self, folder: Path) -> None:
        """Write curve.jsonl."""
        write_jsonl(folder / FILE, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> "Curve":
        """Read curve.jsonl. StoreError if it has another format."""
        return cls.from_json(read_jsonl(folder / FILE), str(folder / FILE))


def to_json(step: Entry | Skip) -> dict[str, Any]:
    """One step as a line."""
    point = _point(step.eval_point) if step.eval_point else {}
    if isinstance(step, Skip):
        found = {"found": step.found} if step.found else {}
        return {"tokens": step.tokens, "lr": step.lr, "skipped": step.why, "rows": [*step.rows], **found, **point}
    by_source = {source: [*pair] for source, pair in step.by_source.items()}
    numbers = {"tokens": step.tokens, "loss": step.loss, "lr": step.lr, "norm": step.norm, "by_source": by_source}
    anchor = {"anchor": dict(step.anchor)} if step.anchor else {}
    spike = {"spike": step.spike, "rows": [*step.rows]} if step.rows else {}
    return {**numbers, **anchor, **spike, **point}


def from_json(row: Mapping[str, Any]) -> Entry | Skip:
    """The step of a line; keys that are not the curve's are left out."""
    tokens, lr, point = row["tokens"], row["lr"], _point_of(row) if "measure" in row else None
    rows = (row["rows"][0], row["rows"][1]) if "rows" in row else None
    if rows and "skipped" in row:
        return Skip(tokens, lr, row["skipped"], rows, row.get("found", ""), point)
    by_source = {source: (total, count) for source, (total, count) in row["by_source"].items()}
    about = (by_source, row.get("anchor", {}), row.get("spike", ""), rows, point)
    return Entry(tokens, row["loss"], lr, row["norm"], *about)


def _point(point: EvalPoint) -> dict[str, JSON]:
    found: dict[str, Any] = {"measure": point.measure}
    found |= {"old_rise": dict(point.old_rise)} if point.old_rise is not None else {}
    found |= {"over_budget": [*point.over_budget]} if point.over_budget else {}
    return found | ({"raised": point.raised} if point.raised is not None else {})


def _point_of(row: Mapping[str, Any]) -> EvalPoint:
    return EvalPoint(row["measure"], row.get("old_rise"), tuple(row.get("over_budget", ())), row.get("raised"))
