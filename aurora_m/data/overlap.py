"""Overlap: documents that hold an evaluation item's question and answer."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import read_shards, shards, write_table
from aurora_m.data import kernels
from aurora_m.data.kernels import I64, U64

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
    rows = sorted(read_jsonl(items.path / "overlap.jsonl"), key=lambda row: str(row["id"]))
    grams, too_short = _grams([row["id"] for row in rows], pa.array([row["text"] for row in rows], pa.large_string()))
    found: set[str] = set()
    leaks: Facts = {}
    total, done = sum(len(shards(artifact.path)) for artifact in docs.values()), 0
    with work.log.bar("overlap", total, "shards") as bar:
        for source, artifact in docs.items():
            tables = []
            for table in read_shards(artifact.path, columns=["id", "text"]):
                held = _held(table["text"], grams)
                found.update(*held)
                columns = [table["id"], [len(names) for names in held], [";".join(sorted(names)) for names in held]]
                tables.append(pa.table(columns, schema=OVERLAP))
                done += 1
                bar.update(done)
            whole = pa.concat_tables(tables)
            write_table(work.out / "overlap" / f"{source}.parquet", whole.combine_chunks())
            leaks[source] = int(np.count_nonzero(whole["leak"]))
    return {"items": len(rows), "items_too_short": too_short, "items_found": len(found), "docs": leaks}


def _grams(ids: list[str], texts: pa.Array) -> tuple[Grams, int]:
    """What to look for, by number of words; and how many items are too short."""
    words, _, bounds = kernels.words(pc.utf8_normalize(texts, form="NFC"))
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


def _held(texts: pa.ChunkedArray, grams: Grams) -> list[set[str]]:
    """The items that each text holds."""
    words, _, bounds = kernels.words(pc.utf8_normalize(texts, form="NFC"))
    held: list[set[str]] = [set() for _ in range(len(texts))]
    for size, (keys, owners) in grams.items():
        places: I64 = kernels.matches(words, bounds, size, keys)
        hits = np.flatnonzero(places >= 0)
        for text, place in zip(np.searchsorted(bounds, hits, "right") - 1, places[hits], strict=True):
            held[text].update(owners[place])
    return held
