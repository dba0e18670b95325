"""Duplicates across all sources: the same text exactly, and nearly the same by MinHash with every pair verified."""

import hashlib
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.core.canon import JSON
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import read_all, read_shards, shards, write_table
from aurora_m.data import kernels, minhash
from aurora_m.data.kernels import I64, U64

DUPLICATES = pa.schema(
    [("id", pa.string()), ("dup_of", pa.string()), ("dup_kind", pa.string()), ("similarity", pa.float64())]
)
SHINGLE_WORDS = 5
MIN_WORDS = 20  # shorter texts have too few shingles to be near: exact only
BANDS = 14  # of 8 rows: finds a pair with Jaccard 0.8 with probability 0.92, 0.9 with 0.9996


@dataclass(frozen=True)
class Texts:
    """What is kept of all documents, in order of sources and shards."""

    names: pa.ChunkedArray  # source/id
    num_bytes: I64
    equal: I64  # the first document with the same text
    shingles: U64  # sorted and distinct in each document, on disk; none for short and for repeated texts
    bounds: I64
    keys: U64  # [documents, BANDS]


def duplicates(work: Work, *, docs: dict[str, Artifact], near: float, order: list[str]) -> Facts:
    """Write `duplicates/<source>.parquet`: for each document, in order, which earlier one it repeats, if any.

    Earlier is: in a source that `order` names earlier, or earlier in the source; the first copy is kept. Exact: same
    text after NFC and with white space collapsed. Near: Jaccard of 5-word shingles >= `near`, for pairs that share
    one of 14 MinHash bands of 8 rows (Broder 1997); components of such pairs are one text. `dup_of` is "source/id" of
    the component's first document and `similarity` the Jaccard with it, which may be below `near` where a chain of
    near pairs leads there. Facts: for each source docs, exact, near, and the bytes of both.
    """
    docs = {source: docs[source] for source in order}
    texts = _read(work, docs)
    parents = texts.equal.copy()
    with work.log.bar("near duplicates", BANDS, "bands") as bar:
        for band in range(BANDS):
            _link(texts, band, parents, near)
            bar.update(band + 1)
    for text in range(len(parents)):
        parents[text] = minhash.root(parents, text)
    return _write(work, docs, texts, parents)


def _read(work: Work, docs: dict[str, Artifact]) -> Texts:
    """One pass over all texts; shingles go to a scratch file, since they are as large as the texts."""
    names, num_bytes, keys, sizes = [], [], [np.empty((0, BANDS), np.uint64)], [np.zeros(1, np.int64)]
    first: dict[bytes, int] = {}
    equal: list[int] = []
    total, done = sum(len(shards(artifact.path)) for artifact in docs.values()), 0
    path = work.scratch / "shingles.u64"
    with path.open("wb") as file, work.log.bar("shingles", total, "shards") as bar:
        for source, artifact in docs.items():
            for table in read_shards(artifact.path, columns=["id", "text"]):
                names.append(pa.array([f"{source}/{name}" for name in table["id"].to_pylist()], pa.large_string()))
                num_bytes.append(np.diff(kernels.text_buffers(table["text"])[1]))
                start = len(equal)
                for text in table["text"]:
                    equal.append(first.setdefault(_text_key(text.as_py()), len(equal)))
                fresh = np.array(equal[start:], np.int64) == np.arange(start, len(equal))
                shingles, bounds = _shingles(table["text"], fresh)
                keys.append(minhash.bands(shingles, bounds, *_hashes()))
                sizes.append(np.diff(bounds))
                file.write(shingles.tobytes())
                done += 1
                bar.update(done)
    mapped = np.memmap(path, np.uint64, "r") if path.stat().st_size else np.empty(0, np.uint64)
    return Texts(
        pa.chunked_array(names, pa.large_string()), np.concatenate([np.zeros(0, np.int64), *num_bytes]),
        np.array(equal, np.int64), np.asarray(mapped), np.cumsum(np.concatenate(sizes)), np.concatenate(keys),
    )  # fmt: skip


def _text_key(text: str) -> bytes:
    return hashlib.blake2b(" ".join(unicodedata.normalize("NFC", text).split()).encode(), digest_size=16).digest()


def _shingles(texts: pa.ChunkedArray, fresh: Any) -> tuple[U64, I64]:
    """Sorted distinct hashes of each text's 5-word shingles, in a row, and their bounds."""
    words, _, bounds = kernels.words(pc.utf8_normalize(texts, form="NFC"))
    found = [np.zeros(0, np.uint64)]
    sizes = np.zeros(len(texts) + 1, np.int64)
    for text in np.flatnonzero(fresh & (np.diff(bounds) >= MIN_WORDS)):
        found.append(np.unique(kernels.grams(words, bounds[text], bounds[text + 1], kernels.FIVE)))
        sizes[text + 1] = len(found[-1])
    return np.concatenate(found), np.cumsum(sizes)


@cache
def _hashes() -> tuple[U64, U64]:
    """Factors (odd) and terms of the MinHash functions, fixed for ever."""
    names = range(2 * BANDS * minhash.BAND_ROWS)
    drawn = (hashlib.blake2b(f"minhash {name}".encode(), digest_size=8).digest() for name in names)
    numbers = np.array([int.from_bytes(value, "big") for value in drawn], np.uint64)
    half = len(numbers) // 2
    return numbers[:half] | np.uint64(1), numbers[half:].copy()


def _link(texts: Texts, band: int, parents: I64, near: float) -> None:
    """Join the near ones among the documents that share this band's key."""
    keys = np.ascontiguousarray(texts.keys[:, band])
    candidates = np.flatnonzero(np.diff(texts.bounds) > 0)
    order = candidates[np.argsort(keys[candidates], kind="stable")]
    minhash.link(texts.shingles, texts.bounds, order, keys, parents, near)


def _write(work: Work, docs: dict[str, Artifact], texts: Texts, parents: I64) -> Facts:
    facts: Facts = {}
    at = np.arange(len(parents))
    repeats, exact = parents != at, parents == texts.equal
    start = 0
    for source, artifact in docs.items():
        ids = read_all(artifact.path, columns=["id"])["id"]
        part = slice(start, start + len(ids))
        similar = [_similarity(texts, int(parents[i]), i) if repeats[i] else None for i in at[part]]
        columns = {
            "id": ids,
            "dup_of": texts.names.take(pa.array(parents[part], mask=~repeats[part])).cast(pa.string()),
            "dup_kind": pa.array(np.where(exact[part], "exact", "near"), pa.string(), mask=~repeats[part]),
            "similarity": pa.array(similar, pa.float64()),
        }
        write_table(work.out / "duplicates" / f"{source}.parquet", pa.table(columns, schema=DUPLICATES))
        counts: dict[str, JSON] = {
            "docs": len(ids),
            "exact": int((repeats & exact)[part].sum()),
            "near": int((repeats & ~exact)[part].sum()),
            "bytes": int(texts.num_bytes[part][repeats[part]].sum()),
        }
        facts[source] = counts
        start = part.stop
    return facts


def _similarity(texts: Texts, root: int, text: Any) -> float:
    same = int(texts.equal[text])
    return 1.0 if same == root else float(minhash.jaccard(texts.shingles, texts.bounds, root, same))
