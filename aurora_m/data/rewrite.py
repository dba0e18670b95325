"""Rewrite the kept documents: repair, compose (NFC), mask personal data; and hold some of them out."""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import ftfy
import numpy as np
import pyarrow.parquet as pq
import re2
from ftfy.badness import is_bad
from numpy.typing import NDArray

from aurora_m.core.canon import JSON
from aurora_m.core.errors import RecipeError
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import read_shards, write_docs
from aurora_m.data import pii

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

    def rewrite(self, name: str, text: str) -> str:
        """Edit one document; counts every change."""
        for kind, change in (("encoding", _repaired), ("nfc", _composed)):
            new = change(text)
            if new != text:
                self._count(name, text, [_difference(kind, text, new)])
                text = new
        spans = pii.find(text, self.mask)
        self._count(name, text, [Edit(kind, start, end, f"<{kind.upper()}>") for start, end, kind in spans])
        return pii.mask(text, spans)

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
    work: Work, *, docs: Artifact, kept: Artifact, mask: list[str], held_out: float, source: str, seed: int
) -> Facts:
    """Write the kept documents to `docs/`, those held out to `held/`, and `samples.jsonl` of the edits.

    Edits: `encoding` (utf-8 that was read as Latin-1, repaired by ftfy where its own test finds it), `nfc` (both
    counted once a document), and each kind of pii.py in `mask` (counted each). A document is held out when the hash
    of seed and id falls below `held_out` (a share); each side gets one document at least where there are two. Facts:
    docs, bytes, held_docs, held_bytes, edits. RecipeError for an unknown kind in `mask`.
    """
    unknown = sorted(set(mask) - set(pii.KINDS))
    if unknown:
        known = ", ".join(f"`{kind}`" for kind in pii.KINDS)
        raise RecipeError(f"`{unknown[0]}` cannot be masked", at=f"`mask` of {source}", hint=f"the kinds are {known}")
    ids = pq.read_table(kept.path / "kept.parquet")["id"].to_pylist()
    held = _held(ids, held_out, seed)
    edits = Edits(mask)
    with work.log.bar(f"rewrite {source}", len(ids), "docs") as bar:
        written, num_bytes = write_docs(work.out, _rewritten(docs, ids, ~held, edits))
        bar.update(written)
        held_docs, held_bytes = write_docs(work.out, _rewritten(docs, ids, held, edits), "held")
        bar.update(written + held_docs)
    samples = [sample for kind in sorted(edits.samples) for sample in edits.samples[kind]]
    write_jsonl(work.out / "samples.jsonl", samples)
    counts: dict[str, JSON] = {kind: edits.counts[kind] for kind in sorted(edits.counts)}
    return {"docs": written, "bytes": num_bytes, "held_docs": held_docs, "held_bytes": held_bytes, "edits": counts}


def _held(ids: list[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of the ids are held out."""
    drawn = [int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "big") for name in ids]
    ranks = np.array(drawn, np.uint64)
    held = ranks < np.uint64(min(int(share * 2**64), 2**64 - 1))
    if share > 0 and len(ids) >= 2:
        held[ranks.argmin()] = True
        held[ranks.argmax()] = False
    return held


def _rewritten(docs: Artifact, ids: list[str], wanted: NDArray[np.bool_], edits: Edits) -> Iterator[dict[str, str]]:
    """The wanted ones of the kept documents, edited; `ids` are in the order of the docs."""
    at = 0
    for table in read_shards(docs.path):
        for row in table.to_pylist() if at < len(ids) else ():
            if at < len(ids) and row["id"] == ids[at]:
                if wanted[at]:
                    yield {**row, "text": edits.rewrite(row["id"], row["text"])}
                at += 1
    assert at == len(ids), "the kept ids are not in the order of the docs"


def _repaired(text: str) -> str:
    return ftfy.fix_encoding(text) if _MISREAD.search(text) and is_bad(text) else text


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _difference(kind: str, before: str, after: str) -> Edit:
    """The change from the first to the last character that differs."""
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    same = 0
    while same < shorter - start and before[-1 - same] == after[-1 - same]:
        same += 1
    return Edit(kind, start, len(before) - same, after[start : len(after) - same])
