"""Decide which documents stay: one expression over columns; each that leaves is counted under the clause it fails."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.canon import JSON, hash64
from aurora_m.core.errors import DataError
from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import schema
from aurora_m.data.select import expression
from aurora_m.data.select.expression import column_names

KEPT = schema(())
SAMPLES = 5  # of the documents that each clause removed, for people to read
SAMPLE_CHARS = 300
ROW = "#"  # the number of a row in its shard: no column of a recipe can be named so


@dataclass
class Reason:
    """What one clause removed."""

    clause: str
    docs: int = 0
    num_bytes: int = 0
    samples: list[tuple[int, dict[str, JSON]]] = field(default_factory=list)  # those whose ids have the least hashes

    def add(self, other: "Reason") -> None:
        """Add what the clause removed elsewhere."""
        self.docs += other.docs
        self.num_bytes += other.num_bytes
        self.samples = heapq.nsmallest(SAMPLES, [*self.samples, *other.samples], key=itemgetter(0))

    def as_json(self) -> JSON:
        """Clause, counts and samples, the smallest hash first."""
        samples: list[JSON] = [sample for _, sample in self.samples]
        return {"clause": self.clause, "docs": self.docs, "bytes": self.num_bytes, "samples": samples}


@dataclass(frozen=True)
class DecideFacts:
    """What came and what stays."""

    docs_in: int
    docs_kept: int
    bytes_in: int
    bytes_kept: int
    reasons: Mapping[str, int]  # documents that each clause removed


def decide(work: Work, *, docs: Artifact, columns: dict[str, Artifact], source: str, keep: str) -> DecideFacts:
    """Write `kept.parquet` (the ids that stay, in order) and `reasons.json` (what each clause removed, with samples).

    `columns` are artifacts with a folder of their name (up to a dot), in which each shard of docs has a file, below
    the name of the source where the artifact is of many. `keep` is SQL over these columns, checked by `check_keep`;
    its top-level AND clauses are tried in order, and a document counts under the first that is not true.
    DataError if the columns are not those of docs.
    """
    clauses = list(dict.fromkeys(expression.clauses(keep)))
    folders = [_folder(given.path / name.partition(".")[0], source) for name, given in columns.items()]
    one = partial(_decided, folders=folders, wanted={"num_bytes", *column_names(keep)}, clauses=clauses, source=source)
    kept: list[pa.Array] = []
    sizes = np.zeros(4, np.int64)
    reasons = [Reason(clause) for clause in clauses]
    for ids, counts, removed in map_shards(work, one, shards(docs.path), f"decide {source}"):
        kept.append(ids)
        sizes += counts
        for reason, other in zip(reasons, removed, strict=True):
            reason.add(other)
    write_table(work.out / "kept.parquet", pa.table([pa.chunked_array(kept, pa.string())], schema=KEPT))
    write_json(work.out / "reasons.json", [reason.as_json() for reason in reasons])
    docs_in, docs_kept, bytes_in, bytes_kept = sizes.tolist()
    by_clause = {reason.clause: reason.docs for reason in reasons}
    return DecideFacts(docs_in, docs_kept, bytes_in, bytes_kept, by_clause)


def _folder(folder: Path, source: str) -> Path:
    return folder / source if (folder / source).is_dir() else folder


def _decided(
    path: Path, *, folders: list[Path], wanted: set[str], clauses: list[str], source: str
) -> tuple[pa.Array, tuple[int, int, int, int], list[Reason]]:
    """Decide one shard; returns the ids that stay, docs in and kept, bytes in and kept, what each clause removed."""
    frame = whole = _frame(path, folders, wanted, source)
    reasons = []
    for clause in clauses:
        passed = frame.select(pl.repeat(True, pl.len()) & pl.sql_expr(clause).fill_null(False)).to_series()
        reasons.append(_removed(clause, frame.filter(~passed)))
        frame = frame.filter(passed)
    _show(reasons, path)
    num_bytes, kept_bytes = (int(part["num_bytes"].sum()) for part in (whole, frame))
    return frame["id"].to_arrow().cast(pa.string()), (whole.height, frame.height, num_bytes, kept_bytes), reasons


def _removed(clause: str, gone: pl.DataFrame) -> Reason:
    """What a clause removed from one shard; of the samples not yet the text, but the number of the row."""
    ranks = heapq.nsmallest(SAMPLES, ((hash64(name), at) for at, name in enumerate(gone["id"])))
    samples: list[tuple[int, dict[str, JSON]]] = []
    for rank, at in ranks:
        row = gone.row(at, named=True)
        values: JSON = {name: row[name] for name in sorted(column_names(clause))}
        samples.append((rank, {"id": row["id"], "text": row[ROW], "values": values}))
    return Reason(clause, gone.height, int(gone["num_bytes"].sum()), samples)


def _show(reasons: list[Reason], path: Path) -> None:
    """Put the texts of samples where the numbers of their rows are."""
    samples = [sample for reason in reasons for _, sample in reason.samples]
    rows = pa.array([sample["text"] for sample in samples], pa.int64())
    texts = pq.read_table(path, columns=["text"])["text"].take(rows) if samples else ()
    for sample, text in zip(samples, texts, strict=True):
        sample["text"] = text.as_py()[:SAMPLE_CHARS]


def _frame(path: Path, folders: list[Path], wanted: set[str], source: str) -> pl.DataFrame:
    """One shard of docs with the wanted columns and the number of each row; of two of one name, the first given."""
    table = pq.read_table(path, columns=["id", "lang"])
    for file in (folder / path.name for folder in folders):
        other = pq.read_table(file, columns=_known(file, wanted)) if file.exists() else None
        if other is None or not other["id"].equals(table["id"]):
            raise DataError(
                "the columns are not those of these docs",
                at=f"source `{source}`, shard `{path.name}`",
                hint="run again with `--store` set to an empty folder",
            )
        for name in other.column_names:
            if name not in table.column_names:
                table = table.append_column(name, other[name])
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_row_index(ROW)


def _known(path: Path, wanted: set[str]) -> list[str]:
    """The id and those of the wanted columns that a file has."""
    return [name for name in pq.read_schema(path).names if name in {"id", *wanted}]
