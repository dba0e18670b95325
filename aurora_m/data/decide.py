"""Decide which documents stay: one expression over columns; each that leaves is counted under the clause it fails."""

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.canon import JSON, hash64
from aurora_m.core.errors import DataError, RecipeError, did_you_mean
from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import read_rows, shards, write_table
from aurora_m.data.dedup import DUPLICATES
from aurora_m.data.overlap import OVERLAP
from aurora_m.data.signals import SIGNALS

KEPT = pa.schema([("id", pa.string())])
SAMPLES = 5  # of the documents that each clause removed, for people to read
SAMPLE_CHARS = 300
KEYWORDS = {"AND", "OR", "NOT", "IN", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"}
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<operator><=|>=|<>|!=|[-+*/%<>=(),])"
)


COLUMNS = (*SIGNALS, *DUPLICATES, *OVERLAP, pa.field("lang", pa.string()))  # of every source


def known_columns(more: Iterable[pa.Field]) -> pl.DataFrame:
    """An empty frame with the columns that an expression may name: `COLUMNS` and `more`."""
    fields = {field.name: field for field in (*COLUMNS, *more) if field.name != "id"}
    empty = pl.from_arrow(pa.schema(list(fields.values())).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty


@dataclass
class Reason:
    """What one clause removed."""

    clause: str
    columns: list[str]
    docs: int = 0
    num_bytes: int = 0
    samples: list[tuple[int, dict[str, JSON]]] = field(default_factory=list)  # a heap: the largest hash first

    def count(self, row: dict[str, JSON]) -> None:
        """Add a document; keep it as a sample if the hash of its id is among the smallest."""
        self.docs += 1
        self.num_bytes += int(str(row["num_bytes"]))
        rank = -hash64(str(row["id"]))
        if len(self.samples) == SAMPLES and rank < self.samples[0][0]:
            return
        values: JSON = {name: row[name] for name in self.columns}
        sample: dict[str, JSON] = {"id": row["id"], "text": str(row["text"])[:SAMPLE_CHARS], "values": values}
        push = heapq.heappushpop if len(self.samples) == SAMPLES else heapq.heappush
        push(self.samples, (rank, sample))

    def as_json(self) -> JSON:
        """Clause, counts and samples, the smallest hash first."""
        samples: list[JSON] = [sample for _, sample in sorted(self.samples, key=lambda pair: -pair[0])]
        return {"clause": self.clause, "docs": self.docs, "bytes": self.num_bytes, "samples": samples}


def decide(
    work: Work, *, docs: Artifact, by_shard: dict[str, Artifact], by_source: dict[str, Artifact], source: str, keep: str
) -> Facts:
    """Write `kept.parquet` (the ids that stay, in order) and `reasons.json` (what each clause removed, with samples).

    Columns come from `by_shard` (folders of its names up to a dot, a file for each shard of docs) and `by_source` (a
    file for each source). `keep` is SQL over them, checked by `check_keep`; its top-level AND clauses are tried in
    order, and a document counts under the first that is not true. Facts: docs_in, docs_kept, bytes_in, bytes_kept,
    reasons {clause: docs}. DataError if the columns are not those of these docs.
    """
    wanted = {"num_bytes", *names(keep)}
    clauses = list(dict.fromkeys(_clauses(keep)))
    reasons = [Reason(clause, sorted(names(clause))) for clause in clauses]
    tests = [pl.sql_expr(clause).fill_null(False) for clause in clauses]
    kept: list[pa.Array] = []
    totals = dict.fromkeys(("docs_in", "docs_kept", "bytes_in", "bytes_kept"), 0)
    with work.log.bar(f"decide {source}", len(shards(docs.path)), "shards") as bar:
        for done, frame in enumerate(_frames(docs, by_shard, by_source, source, wanted), 1):
            left = _count(frame, tests, reasons)
            kept.append(left["id"].to_arrow().cast(pa.string()))
            for name, part in (("in", frame), ("kept", left)):
                totals[f"docs_{name}"] += part.height
                totals[f"bytes_{name}"] += int(part["num_bytes"].sum())
            bar.update(done)
    write_table(work.out / "kept.parquet", pa.table([pa.chunked_array(kept, pa.string())], schema=KEPT))
    write_json(work.out / "reasons.json", [reason.as_json() for reason in reasons])
    return {**totals, "reasons": {reason.clause: reason.docs for reason in reasons}}


def _count(frame: pl.DataFrame, tests: list[pl.Expr], reasons: list[Reason]) -> pl.DataFrame:
    """Count each row that leaves under its clause; returns the rows that stay."""
    for test, reason in zip(tests, reasons, strict=True):
        passed = frame.select(pl.repeat(True, pl.len()) & test).to_series()
        for row in frame.filter(~passed).iter_rows(named=True):
            reason.count(row)
        frame = frame.filter(passed)
    return frame


def _frames(
    docs: Artifact, by_shard: dict[str, Artifact], by_source: dict[str, Artifact], source: str, wanted: set[str]
) -> Iterator[pl.DataFrame]:
    """Each shard of docs with the wanted columns; of two of one name, the first that is given."""
    whole = [given.path / name / f"{source}.parquet" for name, given in by_source.items()]
    start = 0
    for path in shards(docs.path):
        table = pq.read_table(path, columns=["id", "text", "lang"])
        folders = [given.path / name.partition(".")[0] for name, given in by_shard.items()]
        parts = [pq.read_table(folder / path.name, columns=_known(folder / path.name, wanted)) for folder in folders]
        parts += [read_rows(file, start, start + table.num_rows, _known(file, wanted)) for file in whole]
        for other in parts:
            if not other["id"].equals(table["id"]):
                raise DataError(
                    "the columns are not those of these docs",
                    at=f"source `{source}`, shard `{path.name}`",
                    hint="run again with `--store` set to an empty folder",
                )
            for name in set(other.column_names) - set(table.column_names):
                table = table.append_column(name, other[name])
        start += table.num_rows
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        yield frame


def _known(path: Path, wanted: set[str]) -> list[str]:
    """The id and those of the wanted columns that a file has."""
    return [name for name in pq.read_schema(path).names if name in {"id", *wanted}]


def check_keep(keep: str, more: Iterable[pa.Field]) -> None:
    """RecipeError unless `keep` is a condition of comparisons, AND, OR, NOT, IN, IS NULL, BETWEEN and arithmetic.

    Over `COLUMNS` and `more`: the columns that only some sources have.
    """
    empty = known_columns(more)
    if not keep.strip():
        raise RecipeError("`keep` is empty", at="keep", hint="write a condition: `dup_of IS NULL AND words > 9`")
    for name in names(keep):
        if name not in empty.columns:
            listed = ", ".join(f"`{column}`" for column in empty.columns)
            hint = did_you_mean(name, empty.columns, f"the columns are {listed}")
            raise RecipeError(f"there is no column `{name}`", at=f"keep = `{keep}`", hint=hint)
    for clause in _clauses(keep):
        try:
            kind = empty.select(pl.sql_expr(clause).alias("kept")).schema["kept"]
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n")[0]
            raise RecipeError(f"`{clause}` is no condition", at=f"keep = `{keep}`", hint=reason) from error
        if kind != pl.Boolean:
            raise RecipeError(
                f"`{clause}` is not true or false", at=f"keep = `{keep}`", hint="compare it: `<`, `=`, `IS NULL`"
            )


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """The tokens of an expression, without spaces. RecipeError at what is none, and at a function."""
    at, before = 0, ""
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise RecipeError(
                f"`{text[at:].split()[0]}` cannot stand in a condition",
                at=f"keep = `{text}`",
                hint="write texts in single quotes, comparisons, AND, OR, NOT, IN, IS NULL, BETWEEN and + - * / %",
            )
        if found[0] == "(" and before and before.upper() not in KEYWORDS:
            raise RecipeError(
                f"`{before}` is no function here", at=f"keep = `{text}`", hint="only columns can be compared"
            )
        at = found.end()
        if found.lastgroup != "space":
            before = found[0] if found.lastgroup == "name" else ""
            yield found


def names(text: str) -> set[str]:
    """The columns that an expression names."""
    return {t[0] for t in _tokens(text) if t.lastgroup == "name" and t[0].upper() not in KEYWORDS}


def _clauses(keep: str) -> list[str]:
    """The parts between top-level ANDs; the whole if there is a top-level OR, which binds less."""
    cuts, depth, between = [], 0, 0
    for token in _tokens(keep):
        word = token[0].upper()
        depth += (word == "(") - (word == ")")
        if depth:
            continue
        if word == "OR":
            return [keep.strip()]
        between += word == "BETWEEN"
        if word == "AND" and between:
            between -= 1
        elif word == "AND":
            cuts.append(token.span())
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(keep)]
    return [keep[start:end].strip() for start, end in zip(starts, ends, strict=True)]
