"""Rewrite the kept documents: drop boilerplate, repair, compose (NFC), mask personal data; and hold some out."""

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ftfy
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ftfy.badness import BADNESS_RE
from numpy.typing import NDArray

from aurora_m.core.canon import JSON, hash64
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import DOCS, HEAD, read_rows, shards, write_table
from aurora_m.core.tasks import each
from aurora_m.data import pii
from aurora_m.data.lines import drop_lines
from aurora_m.data.metadata import repo_head
from aurora_m.data.minhash import nfc

SAMPLES = 5  # of each kind of edit
AROUND_CHARS = 80
SAMPLE_CHARS = 4 * AROUND_CHARS  # where one edit spans a document
# the first two bytes of a utf-8 character, read as Latin-1 or Windows-1252
_MISREAD = "[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
# ftfy's own test, which does 3 MB/s, as RE2 takes it: no verbose form, and no classes of Unicode in \s and \w
_BAD = (
    re.sub(r"(\[[^]]*\])|#.*|\s+", r"\1", BADNESS_RE.pattern)
    .replace(r"\s", r"[\s\pZ\x0b\x1c-\x1f\x85]")
    .replace(r"\w", r"(?:_|[^\s\pZ\pP\pS])")
)


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

    def drop(self, names: list[str], texts: pa.Array, lines: list[list[int]]) -> pa.Array:
        """Drop boilerplate lines, `lines` of each text; counts each."""
        new: dict[int, str] = {}
        for row, numbers in enumerate(lines):
            if numbers:
                text = texts[row].as_py()
                new[row] = drop_lines(text, numbers)
                self._count(names[row], text, _difference("line", text, new[row]), len(numbers))
        return _replaced(texts, new)

    def repair(self, names: list[str], texts: pa.Array) -> pa.Array:
        """Mend misread bytes and compose; counts both once a document."""
        rows = np.flatnonzero(pc.match_substring_regex(texts, _MISREAD))
        rows = rows[np.asarray(pc.match_substring_regex(texts.take(pa.array(rows)), _BAD))]
        mended = _replaced(texts, {row: ftfy.fix_encoding(texts[row].as_py()) for row in rows.tolist()})
        composed = nfc(mended)
        for kind, before, after in (("encoding", texts, mended), ("nfc", mended, composed)):
            for row in np.flatnonzero(pc.not_equal(before, after)).tolist():
                text = before[row].as_py()
                self._count(names[row], text, _difference(kind, text, after[row].as_py()))
        return composed

    def cover(self, names: list[str], texts: pa.Array, langs: list[str]) -> pa.Array:
        """Mask personal data; counts each piece."""
        new: dict[int, str] = {}
        found = pii.counts(texts, langs)  # of a whole column at once: most texts need no second look
        for row in np.flatnonzero(np.sum(list(found.values()), axis=0)).tolist():
            text = texts[row].as_py()
            spans = pii.find(text, langs[row], self.mask)
            for kind, start, end in spans:
                self._count(names[row], text, Edit(kind, start, end, f"<{kind.upper()}>"))
            new[row] = pii.mask(text, spans)
        return _replaced(texts, new)

    def add(self, other: "Edits") -> None:
        """Add what another shard's documents needed."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            samples = self.samples.setdefault(kind, [])
            samples += other.samples[kind][: SAMPLES - len(samples)]

    def _count(self, name: str, before: str, edit: Edit, times: int = 1) -> None:
        self.counts[edit.kind] = self.counts.get(edit.kind, 0) + times
        samples = self.samples.setdefault(edit.kind, [])
        if len(samples) == SAMPLES:
            return
        start, end = max(edit.start - AROUND_CHARS, 0), edit.end + AROUND_CHARS
        after = before[start : edit.start] + edit.text + before[edit.end : end]
        shown = {"before": before[start:end][:SAMPLE_CHARS], "after": after[:SAMPLE_CHARS]}
        samples.append({"kind": edit.kind, "id": name, **shown})


def rewrite(
    work: Work,
    *,
    docs: Artifact,
    kept: Artifact,
    mask: list[str],
    held_out: float,
    source: str,
    seed: int,
    repo_marks: float = 0.0,
    lines: Artifact | None = None,
) -> Facts:
    """Write the kept documents to `docs/`, those held out to `held/`, a file for each shard, and `samples.jsonl`.

    Edits, in this order: `line` (boilerplate that `lines` found, counted each), `encoding` (utf-8 that was read as
    Latin-1, repaired by ftfy where its own test finds it), `nfc` (both counted once a document), and each kind of
    pii.py in `mask` (counted each). A document is held out when the hash of seed and id falls below `held_out` (a
    share); each side gets one document at least where there are two. A document of which nothing is left is not
    written. With `repo_marks`, `docs/` has a column `head`: what metadata.py says of a file's repository, each mark
    with this probability. Facts: docs, bytes, held_docs, held_bytes, edits, emptied.
    """
    ids = pq.read_table(kept.path / "kept.parquet")["id"].combine_chunks()
    tasks = _tasks(docs, ids, _held(ids.to_pylist(), held_out, seed), lines, source)
    edits, totals = Edits(mask), np.zeros(5, np.int64)
    shard = partial(_shard, out=work.out, mask=mask, marks=repo_marks)
    for part, sizes in each(work, shard, tasks, f"rewrite {source}"):
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


def _shard(task: Task, *, out: Path, mask: list[str], marks: float) -> tuple[Edits, list[int]]:
    """Rewrite one shard; returns the edits, and docs, bytes, held docs, held bytes, emptied docs."""
    table = pq.read_table(task.path).take(pa.array(task.rows)).combine_chunks()
    edits = Edits(mask)
    names, langs, texts = table["id"].to_pylist(), table["lang"].to_pylist(), table["text"].combine_chunks()
    texts = edits.repair(names, edits.drop(names, texts, task.lines))
    if mask:
        texts = edits.cover(names, texts, langs)
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


def _held(ids: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of the ids are held out."""
    ranks = np.array([hash64(f"{seed} {name}") for name in ids], np.uint64)
    held = ranks < np.uint64(min(int(share * 2**64), 2**64 - 1))
    if share > 0 and len(ids) >= 2:
        held[ranks.argmin()] = True
        held[ranks.argmax()] = False
    return held


def _replaced(texts: pa.Array, new: dict[int, str]) -> pa.Array:
    """The column with new texts in some rows, which are in order."""
    if not new:
        return texts
    rows = np.zeros(len(texts), np.bool_)
    rows[list(new)] = True
    return pc.replace_with_mask(texts, pa.array(rows), pa.array(new.values(), texts.type))


def _difference(kind: str, before: str, after: str) -> Edit:
    start, same = shared_ends(before, after)
    return Edit(kind, start, len(before) - same, after[start : len(after) - same])


def shared_ends(before: str, after: str) -> tuple[int, int]:
    """How many characters two texts share at their start, and then at their end."""
    a, b, shorter = len(before), len(after), min(len(before), len(after))
    start = bisect_left(range(shorter), True, key=lambda n: before[: n + 1] != after[: n + 1])
    return start, bisect_left(range(shorter - start), True, key=lambda n: before[a - n - 1 :] != after[b - n - 1 :])
