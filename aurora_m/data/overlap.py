"""Overlap: documents that hold an evaluation item's question and answer."""

from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import shards, write_rows
from aurora_m.core.tasks import each
from aurora_m.data import kernels
from aurora_m.data.kernels import I64, U64
from aurora_m.data.minhash import nfc

OVERLAP = pa.schema([("id", pa.string()), ("leak", pa.int64()), ("leak_items", pa.string())])
GRAM_WORDS = 13  # as GPT-3 (Brown et al. 2020, appendix C)
MIN_WORDS = 5  # fewer words stand anywhere by chance

Grams = dict[int, tuple[U64, list[list[str]]]]  # number of words -> hashes, and the items that hold each


def overlap(work: Work, *, docs: dict[str, Artifact], items: Artifact) -> Facts:
    """Write `overlap/<source>.parquet`: for each document the number of items it holds and their ids, joined by ";".

    `items` has `overlap.jsonl`, rows {id, text}. A document holds an item when it shares 13 words in a row with it,
    or all words of an item of 5 to 12; case and punctuation between words do not count (words: kernels.py). Shorter
    items are not looked for. Facts: items, items_too_short, items_found, and for each source the documents that hold
    one.
    """
    ids, _, too_short = _wanted(items.path)
    paths = [(source, path) for source, artifact in docs.items() for path in shards(artifact.path)]
    tables: dict[str, list[pa.Table]] = {source: [] for source in docs}
    found: set[str] = set()
    leaks = each(work, partial(_leaks, items=items.path), [path for _, path in paths], "overlap")
    for (source, _), table in zip(paths, leaks, strict=True):
        tables[source].append(table)
        found.update(*(names.split(";") for names in table["leak_items"].to_pylist() if names))
    held: Facts = {}
    for source, parts in tables.items():
        write_rows(work.out / "overlap" / f"{source}.parquet", parts, OVERLAP)
        held[source] = sum(int(np.count_nonzero(part["leak"])) for part in parts)
    return {"items": len(ids), "items_too_short": too_short, "items_found": len(found), "docs": held}


@lru_cache(maxsize=1)
def _wanted(items: Path) -> tuple[list[str], Grams, int]:
    """The items' ids, what to look for, and how many are too short; once in each process."""
    rows = sorted(read_jsonl(items / "overlap.jsonl"), key=lambda row: str(row["id"]))
    ids = [row["id"] for row in rows]
    return ids, *_grams(ids, pa.array([row["text"] for row in rows], pa.large_string()))


def _leaks(path: Path, *, items: Path) -> pa.Table:
    """The overlap of one shard, as `OVERLAP`."""
    table = pq.read_table(path, columns=["id", "text"])
    held = _held(table["text"].combine_chunks(), _wanted(items)[1])
    columns = [table["id"], [len(names) for names in held], [";".join(sorted(names)) for names in held]]
    return pa.table(columns, schema=OVERLAP)


def _grams(ids: list[str], texts: pa.Array) -> tuple[Grams, int]:
    """What to look for, by number of words; and how many items are too short."""
    words, _, bounds = kernels.words(nfc(texts))
    held: dict[int, dict[int, list[str]]] = {}
    too_short = 0
    for item, (first, last) in enumerate(pairwise(bounds)):
        size = min(int(last - first), GRAM_WORDS)
        if size < MIN_WORDS:
            too_short += 1
            continue
        for gram in np.unique(kernels.grams(words, first, last, size)):
            held.setdefault(size, {}).setdefault(int(gram), []).append(ids[item])
    return {size: (np.array(list(of), np.uint64), list(of.values())) for size, of in sorted(held.items())}, too_short


def _held(texts: pa.Array, grams: Grams) -> list[set[str]]:
    """The items that each text holds."""
    words, _, bounds = kernels.words(nfc(texts))
    held: list[set[str]] = [set() for _ in range(len(texts))]
    for size, (keys, owners) in grams.items():
        places: I64 = kernels.matches(words, bounds, size, keys)
        hits = np.flatnonzero(places >= 0)
        for text, place in zip(np.searchsorted(bounds, hits, "right") - 1, places[hits], strict=True):
            held[text].update(owners[place])
    return held
