"""Lines that stand on many pages of one site: menus, headers, footers. Found here, dropped by the rewriting step."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.canon import hash64
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import BOILER, schema
from aurora_m.data.dedup.sketches import batches, key_range, make_once, save
from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import DIGIT, I64, PRIME, SEED, SPACE, U64, decoded, mixed
from aurora_m.data.text.rounding import DIGITS

LINES = schema([BOILER]).insert(1, pa.field("lines", pa.list_(pa.int32())))
PART_LINES = 2**22  # of all distinct lines of shards in one task of the global pass: some hundred MB
BLANK = np.uint64(32)
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#:]+)")


@dataclass(frozen=True)
class Boilerplate:
    """Documents of a source, those with boilerplate, its lines and their bytes."""

    docs: int
    docs_with: int
    lines: int
    bytes: int


@dataclass(frozen=True)
class BoilerplateFacts:
    """How much of each source is boilerplate."""

    sources: Mapping[str, Boilerplate]


def lines(
    work: Work, *, docs: dict[str, Artifact], duplicates: Artifact, min_docs: int, order: list[str]
) -> BoilerplateFacts:
    """Write `lines/<source>/`: for each document, shard by shard, the numbers of its boilerplate lines.

    A line is boilerplate where it stands on `min_docs` pages or more of its site, and has a word. A site is the host
    of `url` in a document's `meta`, without "www.", across all sources; else the source. Lines are the same when their
    characters are, white space at the ends aside and runs of it counted as one space (as CCNet takes paragraphs,
    Wenzek et al. 2020). Pages that repeat an earlier one (`dup_of`) are not counted, or the text of an article that
    was crawled often would be boilerplate; their lines are looked up all the same.

    `lines` are numbers from 0 among all lines of the text, blank ones too; `boiler` is the share of the text's bytes
    that they and their ends take.
    """
    repeats = duplicates.path / "duplicates"
    paths = [(source, path) for source in order for path in shards(docs[source].path)]
    tasks = [(shard, path, source, repeats / source / path.name) for shard, (source, path) in enumerate(paths)]
    counted = work.scratch / "counted"
    found = list(map_shards(work, partial(_counted, folder=counted), tasks, "lines"))
    parts = max(1, -(-sum(found) // PART_LINES))
    count = partial(_boilerplate, parts=parts, shards=len(tasks), min_docs=min_docs, folder=work.scratch)
    keys = [np.load(path) for path in map_shards(work, count, range(parts), "boilerplate", "parts")]
    save(work.scratch / "boilerplate.npy", np.concatenate(keys))
    mark = partial(_marked, folder=work.scratch, out=work.out / "lines")
    totals = {source: np.zeros(len(fields(Boilerplate)), np.int64) for source in order}
    for (source, _), counts in zip(paths, map_shards(work, mark, tasks, "boilerplate lines"), strict=True):
        totals[source] += counts
    return BoilerplateFacts({source: Boilerplate(*counts.tolist()) for source, counts in totals.items()})


def drop_lines(text: str, numbers: Sequence[int]) -> str:
    """The text without some of its lines, each with the line feed that ends it (the last, with the one before)."""
    dropped = set(numbers)
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in dropped)


Task = tuple[int, Path, str, Path]  # number and path of a shard, its source, and where its duplicates are told


def _counted(task: Task, *, folder: Path) -> int:
    """Hash and count the lines of one shard; returns how many distinct ones there are.

    Files: `keys`, `numbers` and `sizes` in bytes of all lines with a word, and their `bounds` by document; `docs`, the
    documents' bytes; `counts` [2, distinct]: keys, sorted, and on how many pages each stands.
    """
    shard, path, source, repeats = task
    place = folder / f"{shard:05d}"
    make_once(place, lambda _: _measured(path, source, repeats))
    return int(np.load(place / "counts.npy", mmap_mode="r").shape[1])


def _measured(path: Path, source: str, repeats: Path) -> dict[str, NDArray[Any]]:
    found = [(np.zeros(0, np.uint64), *np.zeros((2, 0), np.int32), *np.zeros((2, 0), np.int64))]
    for batch in batches(path, "meta"):
        sites = np.array([_site(meta, source) for meta in batch["meta"].to_pylist()], np.uint64)
        data, offsets = kernels.text_buffers(batch["text"])
        keys, numbers, sizes, bounds = split(data, offsets, kernels.classes(), sites)
        found.append((keys, numbers, sizes, np.diff(bounds), np.diff(offsets)))
    keys, numbers, sizes, counts, docs = (np.concatenate(column) for column in zip(*found, strict=True))
    pages = np.repeat(np.arange(len(docs)), counts)
    fresh = pc.is_null(pq.read_table(repeats, columns=["dup_of"])["dup_of"]).to_numpy()[pages]
    arrays = {"keys": keys, "numbers": numbers, "sizes": sizes, "docs": docs}
    return {**arrays, "bounds": np.append(0, np.cumsum(counts)), "counts": _pages(keys[fresh], pages[fresh])}


def _pages(keys: U64, pages: I64) -> U64:
    """[2, distinct]: the keys, sorted, and on how many pages each stands."""
    order = np.argsort(keys, kind="stable")
    keys, pages = keys[order], pages[order]
    fresh, new_page = np.ones(len(keys), np.bool_), np.ones(len(keys), np.bool_)
    fresh[1:] = keys[1:] != keys[:-1]
    new_page[1:] = fresh[1:] | (pages[1:] != pages[:-1])
    ends = np.append(np.flatnonzero(fresh), len(keys))
    before = np.concatenate([[0], np.cumsum(new_page)])
    return np.stack([keys[fresh], np.diff(before[ends]).astype(np.uint64)])


def _site(meta: str, source: str) -> int:
    """The hash of a document's site."""
    url = orjson.loads(meta).get("url") if '"url"' in meta else None
    found = _HOST.match(url) if isinstance(url, str) else None
    return _named(f"host {found[1].lower().removeprefix('www.')}" if found else f"source {source}")


@lru_cache(2**16)
def _named(site: str) -> int:
    return hash64(site)


@compiled
def split(data: Any, offsets: Any, classes: Any, sites: Any) -> Any:
    """The lines with a word of each text: keys (site and characters), numbers, sizes in bytes; n + 1 bounds."""
    texts = len(offsets) - 1
    most = (offsets[texts] - offsets[0]) // 2 + texts + 1
    keys, numbers, sizes = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    bounds = np.zeros(texts + 1, np.int64)
    count = 0
    for text in range(texts):
        i = start = offsets[text]
        end = offsets[text + 1]
        value, number, begun, worded, gap = SEED ^ sites[text], 0, False, False, False
        while i <= end:
            if i == end or data[i] == 10:
                i += 1
                if worded:
                    keys[count], numbers[count], sizes[count] = mixed(value), number, min(i, end) - start
                    count += 1
                value, begun, worded, gap, start = SEED ^ sites[text], False, False, False, i
                number += 1
                continue
            point, width = np.int64(data[i]), 1
            if point >= 0x80:
                point, width = decoded(data, i)
            kind = classes[point]
            i += width
            if kind == SPACE:
                gap = begun
                continue
            if gap:
                value = (value ^ BLANK) * PRIME
                gap = False
            value = (value ^ np.uint64(point)) * PRIME
            begun, worded = True, worded or kind >= DIGIT
        bounds[text + 1] = count
    return keys[:count].copy(), numbers[:count].copy(), sizes[:count].copy(), bounds


def _boilerplate(part: int, *, parts: int, shards: int, min_docs: int, folder: Path) -> Path:
    """Write the keys, in one range of all, of the lines that stand on enough pages; sorted."""
    path = folder / "boilerplate" / f"{part:05d}.npy"
    if not path.exists():
        found = []
        for shard in range(shards):
            counts = np.load(folder / "counted" / f"{shard:05d}" / "counts.npy", mmap_mode="r")
            found.append(np.array(counts[:, key_range(counts[0], part, parts)]))
        keys, pages = np.concatenate([np.empty((2, 0), np.uint64), *found], axis=1)
        order = np.argsort(keys, kind="stable")
        keys, before = keys[order], np.concatenate([[0], np.cumsum(pages[order].astype(np.int64))])
        ends = np.append(np.flatnonzero(np.diff(keys, prepend=~keys[:1])), len(keys))
        save(path, keys[ends[:-1]][np.diff(before[ends]) >= min_docs])
    return path


def _marked(task: Task, *, folder: Path, out: Path) -> tuple[int, int, int, int]:
    """Write the rows of one shard; returns documents, those with boilerplate lines, these lines and their bytes."""
    shard, path, source, _ = task
    names = ("keys", "numbers", "sizes", "bounds", "docs")
    keys, numbers, sizes, bounds, num_bytes = (
        np.load(folder / "counted" / f"{shard:05d}" / f"{name}.npy") for name in names
    )
    known = np.load(folder / "boilerplate.npy", mmap_mode="r")
    places = np.searchsorted(known, keys)
    hits = np.zeros(len(keys), np.bool_)
    hits[places < len(known)] = known[places[places < len(known)]] == keys[places < len(known)]
    lost = np.concatenate([[0], np.cumsum(np.where(hits, sizes, 0))])
    lost_bytes = np.diff(lost[bounds])
    ends = np.concatenate([[0], np.cumsum(hits)])[bounds]
    columns = {
        "id": pq.read_table(path, columns=["id"])["id"],
        "lines": pa.ListArray.from_arrays(ends.astype(np.int32), numbers[hits]),
        "boiler": np.round(lost_bytes / np.maximum(num_bytes, 1), DIGITS),
    }
    write_table(out / source / path.name, pa.table(columns, schema=LINES))
    return len(num_bytes), int(np.count_nonzero(np.diff(ends))), int(hits.sum()), int(lost_bytes.sum())
