"""Overlap: documents that hold an evaluation item's question and answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import OVERLAP, schema
from aurora_m.data.dedup.minhash import nfc
from aurora_m.data.text import kernels
from aurora_m.data.text.kernels import Patterns

GRAM_WORDS = 13  # as GPT-3 (Brown et al. 2020, appendix C)
MIN_WORDS = 5  # fewer words stand anywhere by chance


@dataclass(frozen=True)
class OverlapFacts:
    """Evaluation items, those of too few words to be looked for, and those that stand in some document."""

    items: int
    items_too_short: int
    items_found: int
    docs: Mapping[str, int]  # with an item, by source


def overlap(work: Work, *, docs: dict[str, Artifact], items: Artifact) -> OverlapFacts:
    """Write `overlap/<source>/`: for each document, shard by shard, how many items it holds, and their ids ("a;b").

    `items` has `overlap.jsonl`, rows {id, text}. A document holds an item when it shares 13 words in a row with it,
    or all words of an item of 5 to 12; case and punctuation between words do not count (words: kernels.py). Shorter
    items are not looked for.
    """
    ids, _, _, too_short = _wanted(items.path)
    tasks = [(source, path) for source in docs for path in shards(docs[source].path)]
    found: set[str] = set()
    counts = dict.fromkeys(docs, 0)
    shard = partial(_shard, items=items.path, out=work.out / "overlap")
    for (source, _), (count, names) in zip(tasks, map_shards(work, shard, tasks, "overlap"), strict=True):
        counts[source] += count
        found |= names
    return OverlapFacts(len(ids), too_short, len(found), counts)


@lru_cache(maxsize=1)
def _wanted(items: Path) -> tuple[list[str], Patterns, list[list[str]], int]:
    """The items' ids, the patterns to look for, the items that hold each, and how many items are too short.

    Once in each process.
    """
    rows = sorted(read_jsonl(items / "overlap.jsonl"), key=lambda row: str(row["id"]))
    ids = [row["id"] for row in rows]
    words, _, bounds = kernels.words(nfc(pa.array([row["text"] for row in rows], pa.large_string())))
    spans: dict[int, tuple[int, int]] = {}
    owners: dict[int, list[str]] = {}
    too_short = 0
    for item, (first, last) in enumerate(pairwise(bounds.tolist())):
        size = min(last - first, GRAM_WORDS)
        if size < MIN_WORDS:
            too_short += 1
            continue
        for at, gram in enumerate(kernels.grams(words, first, last, size).tolist(), first):
            spans.setdefault(gram, (at, size))
            owners.setdefault(gram, []).append(ids[item])
    firsts, sizes = (np.array([span[i] for span in spans.values()], np.int64) for i in (0, 1))
    return ids, kernels.patterns(words, firsts, sizes), list(owners.values()), too_short


def _shard(task: tuple[str, Path], *, items: Path, out: Path) -> tuple[int, set[str]]:
    """Write the overlap of one shard; returns how many documents hold an item, and the items that they hold."""
    source, path = task
    table = pq.read_table(path, columns=["id", "text"])
    _, patterns, owners, _ = _wanted(items)
    words, _, bounds = kernels.words(table["text"])
    starts, places = kernels.matches(words, bounds, patterns).T
    items_of: list[set[str]] = [set() for _ in range(len(table))]
    for text, place in zip(np.searchsorted(bounds, starts, "right") - 1, places, strict=True):
        items_of[text].update(owners[place])
    columns = [table["id"], [len(names) for names in items_of], [";".join(sorted(names)) for names in items_of]]
    write_table(out / source / path.name, pa.table(columns, schema=schema(OVERLAP)))
    return sum(map(bool, items_of)), set().union(*items_of)
