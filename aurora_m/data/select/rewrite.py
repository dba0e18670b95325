"""Rewrite the kept documents: drop boilerplate lines, mask personal data; and hold some out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.canon import hash64
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import DOCS, HEAD, shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.dedup.boilerplate import drop_lines
from aurora_m.data.personal import pii
from aurora_m.data.read.metadata import repo_head
from aurora_m.data.select.edits import Edit, Edits, combined, difference, replaced


@dataclass(frozen=True)
class RewriteFacts:
    """What is for training, and what is held out."""

    docs: int
    bytes: int
    held_docs: int
    held_bytes: int
    emptied: int  # documents of which nothing was left
    edits: Mapping[str, int]  # by kind


def rewrite(  # noqa: PLR0913  # a step
    work: Work,
    *,
    docs: Artifact,
    kept: Artifact,
    signals: Artifact,
    mask: list[str],
    held_out: float,
    source: str,
    seed: int,
    repo_marks: float = 0.0,
    lines: Artifact | None = None,
) -> RewriteFacts:
    """Write the kept documents to `docs/`, those held out to `held/`, a file for each shard, and `samples.jsonl`.

    Edits, in this order, counted each: `line` (boilerplate that `lines` found), and each kind of pii.py in `mask`. A
    document is held out when the hash of seed and id falls below `held_out` (a share); each side gets one document at
    least where there are two. A document of which nothing is left is not written. With `repo_marks`, `docs/` has a
    column `head`: what metadata.py says of a file's repository, each mark with this probability.
    """
    ids = pq.read_table(kept.path / "kept.parquet")["id"].combine_chunks()
    tasks = _tasks(docs, ids, _held_out(ids.to_pylist(), held_out, seed), lines, source)
    shard = partial(_shard, signals=signals.path / "signals", out=work.out, mask=mask, marks=repo_marks)
    parts = list(map_shards(work, shard, tasks, f"rewrite {source}"))
    edits = combined(part for part, _ in parts)
    write_jsonl(work.out / "samples.jsonl", edits.shown())
    sizes = np.array([sizes for _, sizes in parts], np.int64).sum(axis=0)
    num_docs, num_bytes, held_docs, held_bytes, emptied = sizes.tolist()
    return RewriteFacts(num_docs, num_bytes, held_docs, held_bytes, emptied, edits.counted())


class Task(NamedTuple):
    """A shard of docs, the rows of it that are kept, which of these are held out, and which lines each loses."""

    path: Path
    rows: NDArray[np.int64]
    held: NDArray[np.bool_]
    lines: list[list[int]]


def _tasks(docs: Artifact, ids: pa.Array, held: NDArray[np.bool_], lines: Artifact | None, source: str) -> list[Task]:
    tasks: list[Task] = []
    at = 0
    for path in shards(docs.path):
        names = pq.read_table(path, columns=["id"])["id"].combine_chunks()
        rows = np.flatnonzero(np.asarray(pc.is_in(names, value_set=ids.slice(at, len(names)))))
        assert names.take(pa.array(rows)).equals(ids.slice(at, len(rows))), "the kept ids are not in the docs' order"
        dropped: list[list[int]] = []
        if lines:
            found = pq.read_table(lines.path / "lines" / source / path.name, columns=["lines"])["lines"]
            dropped = found.take(pa.array(rows)).to_pylist()
        tasks.append(Task(path, rows, held[at : at + len(rows)], dropped))
        at += len(rows)
    assert at == len(ids), "a kept id is not among the docs"
    return tasks


def _shard(task: Task, *, signals: Path, out: Path, mask: list[str], marks: float) -> tuple[Edits, list[int]]:
    """Rewrite one shard; returns the edits, and docs, bytes, held docs, held bytes, emptied docs."""
    table = pq.read_table(task.path).take(pa.array(task.rows)).combine_chunks()
    edits = Edits()
    names, langs, texts = table["id"].to_pylist(), table["lang"].to_pylist(), table["text"].combine_chunks()
    texts = _drop(names, texts, task.lines, edits)
    if mask:
        found = pq.read_table(signals / task.path.name, columns=list(pii.COLUMNS)).take(pa.array(task.rows))
        doubtful = np.sum([column.to_numpy() for column in found.columns], axis=0) > 0
        doubtful[[row for row, lines in enumerate(task.lines) if lines]] = True  # has changed since it was measured
        texts = _cover(names, texts, langs, mask, np.flatnonzero(doubtful).tolist(), edits)
    table = table.set_column(table.column_names.index("text"), DOCS.field("text"), texts)
    left = ~np.asarray(pc.or_(pc.utf8_is_space(texts), pc.equal(texts, "")))
    sizes = []
    for kind, wanted in (("docs", left & ~task.held), ("held", left & task.held)):
        part = table.filter(pa.array(wanted))
        if marks and kind == "docs":
            heads = [repo_head(orjson.loads(meta), marks) for meta in part["meta"].to_pylist()]
            part = part.append_column(HEAD, pa.array(heads, pa.large_string()))
        write_table(out / kind / task.path.name, part)
        sizes += [len(part), int(pc.sum(pc.binary_length(part["text"])).as_py() or 0)]
    return edits, [*sizes, int((~left).sum())]


def _drop(names: list[str], texts: pa.Array, lines: list[list[int]], edits: Edits) -> pa.Array:
    """Drop boilerplate lines, `lines` of each text."""
    new: dict[int, str] = {}
    for row, numbers in enumerate(lines):
        if numbers:
            text = texts[row].as_py()
            new[row] = drop_lines(text, numbers)
            edits.count(names[row], text, difference("line", text, new[row]), len(numbers))
    return replaced(texts, new)


def _cover(
    names: list[str], texts: pa.Array, langs: list[str], mask: list[str], rows: list[int], edits: Edits
) -> pa.Array:
    """Mask personal data in the texts of some rows."""
    new: dict[int, str] = {}
    for row in rows:
        text = texts[row].as_py()
        spans = pii.find(text, langs[row], mask)
        for kind, start, end in spans:
            edits.count(names[row], text, Edit(kind, start, end, f"<{kind.upper()}>"))
        new[row] = pii.mask(text, spans)
    return replaced(texts, new)


def _held_out(ids: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of the ids are held out."""
    ranks = np.array([hash64(f"{seed} {name}") for name in ids], np.uint64)
    held = ranks < np.uint64(min(int(share * 2**64), 2**64 - 1))
    if share > 0 and len(ids) >= 2:
        held[ranks.argmin()] = True
        held[ranks.argmax()] = False
    return held
