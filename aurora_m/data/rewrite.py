"""Rewrite the kept documents: drop boilerplate, repair, compose (NFC), mask personal data; and hold some out."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import re2
from ftfy.badness import is_bad
from numpy.typing import NDArray

from aurora_m.core.canon import JSON, hash64
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import DOCS, read_rows, shards, write_table
from aurora_m.core.tasks import each
from aurora_m.data import pii
from aurora_m.data.lines import drop_lines

SAMPLES = 5  # of each kind of edit
AROUND_CHARS = 80
SAMPLE_CHARS = 4 * AROUND_CHARS  # where one edit spans a document
# the first two bytes of a utf-8 character, read as Latin-1 or Windows-1252; ftfy's own test does 1.5 MB/s
_MISREAD = re2.compile("[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")


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

    mask: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[JSON]] = field(default_factory=dict)

    def repair(self, name: str, text: str) -> str:
        """Mend misread bytes and compose; counts both once a document."""
        for kind, change in (("encoding", _repaired), ("nfc", _composed)):
            new = change(text)
            if new != text:
                self._count(name, text, [_difference(kind, text, new)])
                text = new
        return text

    def drop(self, name: str, text: str, numbers: Sequence[int]) -> str:
        """Drop boilerplate lines; counts each line."""
        new = drop_lines(text, numbers)
        self._count(name, text, [_difference("line", text, new)])
        self.counts["line"] += len(numbers) - 1
        return new

    def cover(self, name: str, text: str, lang: str) -> str:
        """Mask personal data; counts each piece."""
        spans = pii.find(text, lang, self.mask)
        self._count(name, text, [Edit(kind, start, end, f"<{kind.upper()}>") for kind, start, end in spans])
        return pii.mask(text, spans)

    def add(self, other: "Edits") -> None:
        """Add what another shard's documents needed."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            samples = self.samples.setdefault(kind, [])
            samples += other.samples[kind][: SAMPLES - len(samples)]

    def _count(self, name: str, before: str, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self.counts[edit.kind] = self.counts.get(edit.kind, 0) + 1
            samples = self.samples.setdefault(edit.kind, [])
            if len(samples) < SAMPLES:
                start, end = max(edit.start - AROUND_CHARS, 0), edit.end + AROUND_CHARS
                after = before[start : edit.start] + edit.text + before[edit.end : end]
                samples.append(
                    {
                        "kind": edit.kind,
                        "id": name,
                        "before": before[start:end][:SAMPLE_CHARS],
                        "after": after[:SAMPLE_CHARS],
                    }
                )


def rewrite(
    work: Work,
    *,
    docs: Artifact,
    kept: Artifact,
    mask: list[str],
    held_out: float,
    source: str,
    seed: int,
    lines: Artifact | None = None,
) -> Facts:
    """Write the kept documents to `docs/`, those held out to `held/`, a file for each shard, and `samples.jsonl`.

    Edits, in this order: `line` (boilerplate that `lines` found, counted each), `encoding` (utf-8 that was read as
    Latin-1, repaired by ftfy where its own test finds it), `nfc` (both counted once a document), and each kind of
    pii.py in `mask` (counted each). A document is held out when the hash of seed and id falls below `held_out` (a
    share); each side gets one document at least where there are two. A document of which nothing is left is not
    written. Facts: docs, bytes, held_docs, held_bytes, edits, emptied.
    """
    ids = pq.read_table(kept.path / "kept.parquet")["id"].combine_chunks()
    tasks = _tasks(docs, ids, _held(ids.to_pylist(), held_out, seed), lines, source)
    edits, totals = Edits(mask), np.zeros(5, np.int64)
    for part, sizes in each(work, partial(_shard, out=work.out, mask=mask), tasks, f"rewrite {source}"):
        edits.add(part)
        totals += sizes
    samples = [sample for kind in sorted(edits.samples) for sample in edits.samples[kind]]
    write_jsonl(work.out / "samples.jsonl", samples)
    counts: dict[str, JSON] = {kind: edits.counts[kind] for kind in sorted(edits.counts)}
    names = ("docs", "bytes", "held_docs", "held_bytes", "emptied")
    return {**dict(zip(names, totals.tolist(), strict=True)), "edits": counts}


class Task(NamedTuple):
    """A shard of docs, the rows of it that are kept, which of these are held out, and which lines each loses."""

    path: Path
    rows: NDArray[np.int64]
    held: NDArray[np.bool_]
    lines: list[list[int]]


def _tasks(docs: Artifact, ids: pa.Array, held: NDArray[np.bool_], lines: Artifact | None, source: str) -> list[Task]:
    tasks: list[Task] = []
    first = at = 0
    for path in shards(docs.path):
        names = pq.read_table(path, columns=["id"])["id"].combine_chunks()
        rows = np.flatnonzero(np.asarray(pc.is_in(names, value_set=ids.slice(at, len(names)))))
        assert names.take(pa.array(rows)).equals(ids.slice(at, len(rows))), "the kept ids are not in the docs' order"
        dropped: list[list[int]] = []
        if lines:
            found = lines.path / "lines" / f"{source}.parquet"
            dropped = read_rows(found, first, first + len(names), ["lines"])["lines"].take(pa.array(rows)).to_pylist()
        tasks.append(Task(path, rows, held[at : at + len(rows)], dropped))
        first, at = first + len(names), at + len(rows)
    assert at == len(ids), "a kept id is not among the docs"
    return tasks


def _shard(task: Task, *, out: Path, mask: list[str]) -> tuple[Edits, list[int]]:
    """Rewrite one shard; returns the edits, and docs, bytes, held docs, held bytes, emptied docs."""
    table = pq.read_table(task.path).take(pa.array(task.rows)).combine_chunks()
    edits = Edits(mask)
    names, langs, texts = table["id"].to_pylist(), table["lang"].to_pylist(), table["text"].to_pylist()
    for number, lost in enumerate(task.lines):
        if lost:
            texts[number] = edits.drop(names[number], texts[number], lost)
    texts = [edits.repair(name, text) for name, text in zip(names, texts, strict=True)]
    if mask:
        column = pa.array(texts, pa.large_string())
        found = pii.counts(column, langs)  # of a whole column at once: most texts need no second look
        for row in np.flatnonzero(np.sum(list(found.values()), axis=0)).tolist():
            texts[row] = edits.cover(names[row], texts[row], langs[row])
    table = table.set_column(table.column_names.index("text"), DOCS.field("text"), pa.array(texts, pa.large_string()))
    left = np.array([bool(text.strip()) for text in texts], np.bool_)
    sizes = []
    for kind, wanted in (("docs", left & ~task.held), ("held", left & task.held)):
        part = table.filter(pa.array(wanted))
        write_table(out / kind / task.path.name, part)
        sizes += [len(part), int(pc.sum(pc.binary_length(part["text"])).as_py() or 0)]
    return edits, [*sizes, int((~left).sum())]


def _held(ids: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of the ids are held out."""
    ranks = np.array([hash64(f"{seed} {name}") for name in ids], np.uint64)
    held = ranks < np.uint64(min(int(share * 2**64), 2**64 - 1))
    if share > 0 and len(ids) >= 2:
        held[ranks.argmin()] = True
        held[ranks.argmax()] = False
    return held


def _repaired(text: str) -> str:
    return ftfy.fix_encoding(text) if _MISREAD.search(text) and is_bad(text) else text


def _composed(text: str) -> str:
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _difference(kind: str, before: str, after: str) -> Edit:
    start, same = shared_ends(before, after)
    return Edit(kind, start, len(before) - same, after[start : len(after) - same])


def shared_ends(before: str, after: str) -> tuple[int, int]:
    """How many characters two texts share at their start, and then at their end."""
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    same = 0
    while same < shorter - start and before[-1 - same] == after[-1 - same]:
        same += 1
    return start, same
