"""Edits of texts: what was changed, how often, and samples of it for people to read."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.core.canon import JSON

SAMPLES = 5  # of each kind of edit
AROUND_CHARS = 80
SAMPLE_CHARS = 4 * AROUND_CHARS  # where one edit spans a document


@dataclass(frozen=True)
class Edit:
    """One change: before[start:end] gave way to `text`."""

    kind: str
    start: int
    end: int
    text: str


@dataclass
class Edits:
    """How often each kind of edit was made, and samples of it."""

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[JSON]] = field(default_factory=dict)

    def count(self, name: str, before: str, edit: Edit, times: int = 1) -> None:
        """Count an edit of the document of this name, and show it while samples are wanted."""
        self.counts[edit.kind] = self.counts.get(edit.kind, 0) + times
        samples = self.samples.setdefault(edit.kind, [])
        if len(samples) == SAMPLES:
            return
        start, end = max(edit.start - AROUND_CHARS, 0), edit.end + AROUND_CHARS
        after = before[start : edit.start] + edit.text + before[edit.end : end]
        shown = {"before": before[start:end][:SAMPLE_CHARS], "after": after[:SAMPLE_CHARS]}
        samples.append({"kind": edit.kind, "id": name, **shown})

    def counted(self) -> dict[str, int]:
        """How many of each kind, by kind."""
        return {kind: self.counts[kind] for kind in sorted(self.counts)}

    def shown(self) -> list[JSON]:
        """The samples, by kind."""
        return [sample for kind in sorted(self.samples) for sample in self.samples[kind]]


def combined(parts: Iterable[Edits]) -> Edits:
    """What several shards' documents needed, in their order."""
    whole = Edits()
    for part in parts:
        for kind, count in part.counts.items():
            whole.counts[kind] = whole.counts.get(kind, 0) + count
            samples = whole.samples.setdefault(kind, [])
            samples += part.samples[kind][: SAMPLES - len(samples)]
    return whole


def difference(kind: str, before: str, after: str) -> Edit:
    """The one edit that makes `after` of `before`."""
    start, same = shared_ends(before, after)
    return Edit(kind, start, len(before) - same, after[start : len(after) - same])


def shared_ends(before: str, after: str) -> tuple[int, int]:
    """How many characters two texts share at their start, and then at their end."""
    a, b, shorter = len(before), len(after), min(len(before), len(after))
    start = bisect_left(range(shorter), True, key=lambda n: before[: n + 1] != after[: n + 1])
    return start, bisect_left(range(shorter - start), True, key=lambda n: before[a - n - 1 :] != after[b - n - 1 :])


def replaced(texts: pa.Array, new: dict[int, str]) -> pa.Array:
    """The column with new texts in some rows, which are in order."""
    if not new:
        return texts
    rows = np.zeros(len(texts), np.bool_)
    rows[list(new)] = True
    return pc.replace_with_mask(texts, pa.array(rows), pa.array(new.values(), texts.type))
