"""Documents of a source as shards: cut by size, repaired, with ids that stand once."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.core.errors import DataError
from aurora_m.core.files import shard_name, write_jsonl
from aurora_m.core.table import DOCS, FetchFacts, read_shards, write_table
from aurora_m.data.read.readers import Batch
from aurora_m.data.select.edits import Edits, combined
from aurora_m.data.text.repair import repair


class Written(NamedTuple):
    """What one task wrote."""

    paths: tuple[Path, ...]
    docs: tuple[int, ...]  # of each file that it read
    num_bytes: int  # of text
    skipped: Mapping[str, int]  # by reason
    edits: Edits  # repairs


def write_batches(
    files: Iterable[Iterator[Batch]], folder: Path, task: int, source: str, lang: str, shard_bytes: int
) -> Written:
    """Write what some files hold as shards: each ends with the document that brings it to `shard_bytes`.

    Metadata counts too: it may be larger than the text.
    """
    paths: list[Path] = []
    docs: list[int] = []
    skipped: Counter[str] = Counter()
    buffer: list[pa.Table] = []
    edits: list[Edits] = []
    total = size = 0

    def flush() -> None:
        nonlocal buffer, size
        paths.append(folder / f"{task:05d}-{len(paths):05d}.part")
        write_table(paths[-1], pa.concat_tables(buffer))
        buffer, size = [], 0

    for batches in files:
        docs.append(0)
        for batch in batches:
            skipped.update(batch.skipped)
            table, repairs = _with(batch.docs, source, lang)
            edits.append(repairs)
            docs[-1] += len(table)
            text, meta = (pc.binary_length(table[name]).to_numpy().astype(np.int64) for name in ("text", "meta"))
            ends = np.cumsum(text + meta)
            total += int(text.sum())
            start = done = 0
            while start < len(table):
                stop = min(int(np.searchsorted(ends, done + shard_bytes - size)) + 1, len(table))
                buffer.append(table.slice(start, stop - start))
                size += int(ends[stop - 1]) - done
                start, done = stop, int(ends[stop - 1])
                if size >= shard_bytes:
                    flush()
    if buffer:
        flush()
    return Written(tuple(paths), tuple(docs), total, dict(skipped), combined(edits))


def _with(docs: pa.Table, source: str, lang: str) -> tuple[pa.Table, Edits]:
    texts, edits = repair(docs["id"], docs["text"].combine_chunks())
    constants = [pa.repeat(pa.scalar(value, pa.string()), len(docs)) for value in (source, lang)]
    return pa.table([docs["id"], texts, *constants, docs["meta"]], schema=DOCS), edits


def finish(folder: Path, parts: list[Written], where: Callable[[int], str]) -> FetchFacts:
    """Name the shards, once no id stands twice in them; there is always one, if only an empty one."""
    paths = [path for part in parts for path in part.paths]
    for index, path in enumerate(paths):
        path.rename(path.with_name(shard_name(index, len(paths), "parquet")))
    if not paths:
        write_table(folder / "docs" / shard_name(0, 1, "parquet"), DOCS.empty_table())
    _check_ids(folder, where)
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part.skipped)
    edits = combined(part.edits for part in parts)
    write_jsonl(folder / "samples.jsonl", edits.shown())
    docs, num_bytes = sum(sum(part.docs) for part in parts), sum(part.num_bytes for part in parts)
    return FetchFacts(docs, num_bytes, dict(sorted(skipped.items())), edits.counted())


def _check_ids(folder: Path, where: Callable[[int], str]) -> None:
    """DataError if an id stands twice; holds 16 bytes a document."""
    keys = [pl.Series(table["id"]).hash().to_numpy() for table in read_shards(folder, columns=["id"])]
    ordered = np.sort(np.concatenate(keys))
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(again):
        return
    known: set[str] = set()
    before = 0
    for key, table in zip(keys, read_shards(folder, columns=["id"]), strict=True):
        for index in np.flatnonzero(np.isin(key, again)):
            name = table["id"][int(index)].as_py()
            if name in known:
                what = f"the id `{name}` stands twice in the source"
                raise DataError(what, at=where(before + int(index)), hint="make each id unique")
            known.add(name)
        before += len(table)
