"""Fixtures of the data room's tests."""

import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.fixture(scope="session")
def write_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small fastText model of random vectors, as fastText would."""

    def write(**changes: Any) -> Path:
        path = tmp_path_factory.mktemp("model") / "some.ftz"
        path.write_bytes(model_bytes(**changes))
        return path

    return write


def model_bytes(
    words: Sequence[str] = ("</s>", "one", "two", "sää", "漢字"),
    labels: Sequence[str] = ("__label__en", "__label__fi", "__label__ja", "__label__hi", "__label__vi"),
    dim: int = 5,
    buckets: int = 300,
    loss: int = 1,
    kind: int = 3,
    word_grams: int = 1,
    lengths: tuple[int, int] = (2, 4),
    pruned: int = -1,
    quantised: bool = False,
    norms: bool = False,
    outputs_too: bool = False,
    seed: int = 0,
) -> bytes:
    """The file: arguments, words and labels with counts, n-grams kept (`pruned` of them), and two matrices."""
    random = np.random.default_rng(seed)
    grams = buckets if pruned < 0 else pruned
    kept = np.stack([random.permutation(buckets)[:grams], random.permutation(grams)], 1)
    counts = sorted(random.integers(1, 1000, len(labels)).tolist(), reverse=True)
    entries = [(word, 9, 0) for word in words] + [(name, n, 1) for name, n in zip(labels, counts, strict=True)]

    def quantiser(size: int, part: int) -> bytes:
        shape = struct.pack("<4i", size, -(-size // part), part, (size - 1) % part + 1)
        return shape + random.normal(size=size * 256).astype("<f4").tobytes()

    def matrix(rows: int, quantised: bool) -> bytes:
        if not quantised:
            return struct.pack("<2q", rows, dim) + random.normal(size=rows * dim).astype("<f4").tobytes()
        parts = -(-dim // 2)
        head = struct.pack("<?2qi", norms, rows, dim, rows * parts)
        codes = head + random.bytes(rows * parts) + quantiser(dim, 2)
        return codes + (random.bytes(rows) + quantiser(1, 1) if norms else b"")

    return b"".join(
        [
            struct.pack("<2i", 793712314, 12),
            struct.pack("<12id", dim, 5, 5, 1, 5, word_grams, loss, kind, buckets, *lengths, 100, 1e-4),
            struct.pack("<3i2q", len(entries), len(words), len(labels), 1000, pruned),
            *(word.encode() + struct.pack("<xqb", count, mark) for word, count, mark in entries),
            kept.astype("<i4").tobytes() if pruned >= 0 else b"",
            struct.pack("<?", quantised) + matrix(len(words) + grams, quantised),
            struct.pack("<?", outputs_too) + matrix(len(labels), quantised and outputs_too),
        ]
    )
