"""A little of a source's text, from all over it: what a tokenizer is measured and probed on."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aurora_m.core.table import shards

SAMPLE_BYTES = 2**20  # of text of each source, at least where there is as much
SAMPLE_SHARDS = 8  # that it is taken from


def sample(folder: Path) -> Iterator[str]:
    """The first documents of some shards that are spread over all, up to `SAMPLE_BYTES` of text."""
    for table in sampled(folder, "docs", ["text"]):
        yield from table["text"].to_pylist()


def sampled(folder: Path, kind: str, columns: list[str]) -> Iterator[pa.Table]:
    """The same as columns, of documents of a kind; `text` is one of them."""
    paths = shards(folder, kind)
    spread = paths[:: -(-len(paths) // SAMPLE_SHARDS) or 1]
    for path in spread:
        table = pq.read_table(path, columns=columns)
        ends = pc.cumulative_sum(pc.binary_length(table["text"]).cast(pa.int64()))
        kept = pc.less(pc.subtract(ends, pc.binary_length(table["text"])), SAMPLE_BYTES // len(spread))
        yield table.filter(kept)
