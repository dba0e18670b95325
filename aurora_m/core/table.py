"""The document table: Arrow schema, and Parquet shards of it with bounded memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.files import replacing, shard_name

DOCS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("meta", pa.string()),
    ]
)
HEAD = "head"  # a column of text to put before a document, in which the names of special tokens are these tokens
SHARD_BYTES = 16 * 2**20  # of text in one shard, or of the lines that it came in: a second of work, a hundred MB


@dataclass(frozen=True)
class FetchFacts:
    """What the documents of a source are, fetched or written by a model."""

    docs: int
    bytes: int  # of text
    skipped: Mapping[str, int]  # by reason: files of `python:`, records of web archives
    repairs: Mapping[str, int]  # by kind
    cut: int | None = None  # documents that a model wrote and that were not over


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file (zstd) in place of `path`."""
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd")


def shards(folder: Path, kind: str = "docs") -> list[Path]:
    """The shards of one kind in an artifact, in order."""
    return sorted((folder / kind).glob("*.parquet"))


def read_shards(folder: Path, kind: str = "docs", columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read one shard after the other."""
    for path in shards(folder, kind):
        yield pq.read_table(path, columns=columns)


def read_all(folder: Path, kind: str = "docs", columns: list[str] | None = None) -> pa.Table:
    """Read all shards of one kind as one table. ValueError if there is none."""
    return pa.concat_tables(read_shards(folder, kind, columns))


def write_docs(folder: Path, docs: Iterable[dict[str, str]], kind: str = "docs") -> tuple[int, int]:
    """Write documents as shards of about `SHARD_BYTES` of text; returns (documents, bytes of text).

    There is always one shard, if only an empty one.
    """
    tables, size, count, total = 0, 0, 0, 0
    rows: list[dict[str, str]] = []
    paths: list[Path] = []

    def flush() -> None:
        nonlocal rows, size, tables
        path = folder / kind / f"{tables:05d}.part"
        write_table(path, pa.Table.from_pylist(rows, schema=DOCS))
        paths.append(path)
        rows, size, tables = [], 0, tables + 1

    for doc in docs:
        rows.append(doc)
        num_bytes = len(doc["text"].encode())
        size, count, total = size + num_bytes, count + 1, total + num_bytes
        if size >= SHARD_BYTES:
            flush()
    if rows or not paths:
        flush()
    for index, path in enumerate(paths):
        path.rename(folder / kind / shard_name(index, len(paths), "parquet"))
    return count, total
