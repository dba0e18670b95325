"""Fixtures of the data room's tests."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from aurora_m.core.files import shard_name
from aurora_m.core.step import Artifact
from aurora_m.core.table import DOCS, write_table


@pytest.fixture
def make_docs(tmp_path: Path) -> Callable[..., Artifact]:
    """Write texts as a docs artifact of some shards, ids `d0`, `d1` and so on."""
    numbers = itertools.count()

    def make(texts: Sequence[str], shards: int = 1, source: str = "web", lang: str = "en") -> Artifact:
        folder = tmp_path / f"docs{next(numbers)}"
        rows = [
            {"id": f"d{i}", "text": text, "source": source, "lang": lang, "meta": "{}"} for i, text in enumerate(texts)
        ]
        for shard in range(shards):
            part = rows[len(rows) * shard // shards : len(rows) * (shard + 1) // shards]
            path = folder / "docs" / shard_name(shard, shards, "parquet")
            write_table(path, pa.Table.from_pylist(part, schema=DOCS))
        return Artifact(folder, "0" * 64, {})

    return make
