"""Duplicates across all sources: the same text exactly, and nearly the same by MinHash with every pair verified.

Out of core: each shard is sketched to files in the scratch folder; these are sorted and merged by key range; what is
held of all documents at once is two numbers each.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import DUPLICATES, schema
from aurora_m.data.dedup import minhash
from aurora_m.data.dedup.sketches import Shingles, Sketches, key_range, save, sketched
from aurora_m.data.text.kernels import I64, U64
from aurora_m.data.text.rounding import DIGITS


@dataclass(frozen=True)
class Repeats:
    """Documents of a source, those that repeat an earlier one, and the bytes of these."""

    docs: int
    exact: int
    near: int
    bytes: int


@dataclass(frozen=True)
class DuplicatesFacts:
    """How much of each source stands earlier."""

    sources: Mapping[str, Repeats]


def duplicates(work: Work, *, docs: dict[str, Artifact], near: float, order: list[str]) -> DuplicatesFacts:
    """Write `duplicates/<source>/`: for each document, shard by shard, which earlier one it repeats, if any.

    Earlier is: in a source that `order` names earlier, or earlier in the source; the first copy is kept. Exact: same
    text with white space collapsed. Near: Jaccard of 5-word shingles >= `near`, for pairs that share one of 16 MinHash
    bands of 7 rows (Broder 1997); components of such pairs are one text. `dup_of` is "source/id" of the component's
    first document and `similarity` the Jaccard with it (6 digits), which may be below `near` where a chain of near
    pairs leads there.
    """
    paths = [(source, path) for source in order for path in shards(docs[source].path)]
    sketches = sketched(work, [path for _, path in paths])
    equal = np.arange(sketches.starts[-1])
    for part in _tasks(work, _same, sketches, "exact duplicates"):
        repeats, firsts = np.load(part)
        equal[repeats] = firsts
    save(work.scratch / "equal.npy", equal)
    for _ in _tasks(work, partial(_groups, equal=work.scratch / "equal.npy"), sketches, "near candidates"):
        pass
    parents = equal.copy()
    for part in _tasks(work, partial(_near, near=near), sketches, "near duplicates"):
        minhash.join(parents, *np.load(part))
    minhash.flatten(parents)
    save(work.scratch / "pairs.npy", _pairs(equal, parents))
    similarity = _tasks(work, partial(_similarity, pairs=work.scratch / "pairs.npy"), sketches, "similarity")
    return _write(work, paths, order, sketches, equal, parents, np.concatenate([np.load(part) for part in similarity]))


def _tasks(work: Work, fn: Any, sketches: Sketches, what: str) -> Iterator[Path]:
    """Run one global pass; yields the file that each of its tasks wrote, now or in an earlier run."""
    folder = work.scratch / what.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    return map_shards(
        work, partial(_done, fn=fn, sketches=sketches, folder=folder), range(sketches.parts), what, "parts"
    )


def _done(part: int, *, fn: Any, sketches: Sketches, folder: Path) -> Path:
    path = folder / f"{part:05d}.npy"
    if not path.exists():
        save(path, fn(part, sketches))
    return path


def _gathered(sketches: Sketches, part: int, name: str, bands: int = 1) -> Iterator[U64]:
    """For each band rows of keys and, last, of documents, from all shards in order: the keys of one part."""
    found: list[list[U64]] = [[] for _ in range(bands)]
    for shard, start, _ in sketches.ranges():  # each file is opened once: there are many, and opening is dear
        whole = sketches.load(shard, name)
        for kept, rows in zip(found, whole if bands > 1 else whole[None], strict=True):
            kept.append(np.array(rows[:, key_range(rows[0], part, sketches.parts)]))
            kept[-1][-1] += np.uint64(start)
    while found:
        kept = found.pop(0)
        yield np.concatenate(kept, axis=1) if kept else np.empty((3, 0), np.uint64)


def _same(part: int, sketches: Sketches) -> I64:
    """[2, repeats]: documents whose text stands earlier, and the first document with it."""
    (high, low, at), *_ = _gathered(sketches, part, "texts")
    order = np.lexsort((at, low, high))
    high, low, at = high[order], low[order], at[order].astype(np.int64)
    fresh = np.ones(len(at), np.bool_)
    fresh[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    firsts = at[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
    return np.stack([at[~fresh], firsts[~fresh]])


def _groups(part: int, sketches: Sketches, *, equal: Path) -> I64:
    """[2, places]: documents that share a band's key, group after group, and the number of places left in the group."""
    same = np.load(equal, mmap_mode="r")
    found = [np.empty((2, 0), np.int64)]
    for keys, numbers in _gathered(sketches, part, "keys", minhash.BANDS) if len(sketches.starts) > 1 else ():
        at = numbers.astype(np.int64)
        first = same[at] == at
        keys, at = keys[first], at[first]
        order = np.argsort(keys, kind="stable")
        keys, at = keys[order], at[order]
        ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]) + 1, len(keys))
        sizes = np.diff(ends, prepend=0)
        left = np.repeat(ends, sizes) - np.arange(len(keys))
        found.append(np.stack([at, left])[:, np.repeat(sizes, sizes) > 1])
    return np.concatenate(found, axis=1)


def _near(part: int, sketches: Sketches, *, near: float) -> I64:
    """[2, texts]: texts of components of near ones, and the first of each; of groups whose first text is in this part.

    Groups of one pair mostly begin with the same text, so they meet here, whatever their band and key, and a pair is
    verified once.
    """
    parents: dict[int, int] = {}
    with Shingles(sketches) as shingles:
        for group in _candidates(part, sketches):
            _join(group, parents, shingles, near)
    joined = sorted(text for text, parent in parents.items() if parent != text)
    return np.array([joined, [_root(parents, text) for text in joined]], np.int64).reshape(2, -1)


def _candidates(part: int, sketches: Sketches) -> Iterator[list[int]]:
    folder = sketches.folder.parent / "near-candidates"
    for source in range(sketches.parts):
        texts, left = np.load(folder / f"{source:05d}.npy", mmap_mode="r")
        heads = np.flatnonzero(np.concatenate([[True], left[:-1] == 1])) if len(left) else np.zeros(0, np.int64)
        for head in heads[texts[heads] * sketches.parts // sketches.starts[-1] == part]:
            yield texts[head : head + left[head]].tolist()


def _root(parents: dict[int, int], text: int) -> int:
    above = parents.setdefault(text, text)
    while above != text:
        parents[text] = parents[above]
        text, above = above, parents[above]
    return text


def _join(group: list[int], parents: dict[int, int], shingles: Shingles, near: float) -> None:
    """Join the near ones of a group: every two components that are apart are compared until two of their texts are."""
    apart: dict[int, list[int]] = {}
    for text in group:
        apart.setdefault(_root(parents, text), []).append(text)
    if len(apart) == 1:
        return
    done: list[list[int]] = []
    for texts in apart.values():
        hits = [i for i, other in enumerate(done) if _touch(texts, other, shingles, near)]
        for i in hits:
            one, two = _root(parents, texts[0]), _root(parents, done[i][0])
            parents[max(one, two)] = min(one, two)
        whole = done[hits[0]] if hits else []
        whole += [text for i in hits[1:] for text in done[i]] + texts
        done = [other for i, other in enumerate(done) if i not in hits[1:]] if hits else [*done, whole]


def _touch(texts: Iterable[int], others: Iterable[int], shingles: Shingles, near: float) -> bool:
    return any(shingles.similar(one, two, near) for one in texts for two in others)


def _pairs(equal: I64, parents: I64) -> I64:
    """[2, near repeats]: for each the first document with its text, and the first of its component."""
    near = np.flatnonzero(parents != equal)
    return np.stack([equal[near], parents[near]])


def _similarity(part: int, sketches: Sketches, *, pairs: Path) -> NDArray[np.float64]:
    """The Jaccard of this part of the near repeats with the first of their component."""
    texts = np.load(pairs, mmap_mode="r")
    count, parts = texts.shape[1], sketches.parts
    pairs_here = texts[:, count * part // parts : count * (part + 1) // parts].T.tolist()
    with Shingles(sketches) as shingles:
        found = [round(minhash.jaccard(shingles.of(one), shingles.of(two)), DIGITS) for one, two in pairs_here]
    return np.array(found, np.float64)


def _write(
    work: Work, paths: list[tuple[str, Path]], order: list[str], sketches: Sketches, equal: I64, parents: I64, near: Any
) -> DuplicatesFacts:
    """One file a shard; `near` are the similarities of the near repeats, in order."""
    totals = {source: np.zeros(len(fields(Repeats)), np.int64) for source in order}
    roots = np.unique(parents[parents != np.arange(len(parents))])
    names = _names(paths, sketches, roots)
    similarity = np.ones(len(parents))
    similarity[parents != equal] = near
    for (source, path), (shard, start, stop) in zip(paths, sketches.ranges(), strict=True):
        part = slice(start, stop)
        first = parents[part] == np.arange(start, stop)
        exact = parents[part] == equal[part]
        columns = {
            "id": pq.read_table(path, columns=["id"])["id"],
            "dup_of": names.take(pa.array(np.searchsorted(roots, parents[part]), mask=first)),
            "dup_kind": pa.array(np.where(exact, "exact", "near"), pa.string(), mask=first),
            "similarity": pa.array(similarity[part], mask=first),
        }
        write_table(work.out / "duplicates" / source / path.name, pa.table(columns, schema=schema(DUPLICATES)))
        repeated_bytes = sketches.load(shard, "size")[~first].sum()
        totals[source] += (stop - start, (exact & ~first).sum(), (~exact).sum(), repeated_bytes)
    return DuplicatesFacts({source: Repeats(*counts.tolist()) for source, counts in totals.items()})


def _names(paths: list[tuple[str, Path]], sketches: Sketches, texts: I64) -> pa.Array:
    """The "source/id" of some documents, in order."""
    names = [pa.array([], pa.string())]
    for (source, path), (_, first, last) in zip(paths, sketches.ranges(), strict=True):
        rows = texts[slice(*np.searchsorted(texts, [first, last]))] - first
        if len(rows):
            ids = pq.read_table(path, columns=["id"])["id"].take(pa.array(rows)).combine_chunks()
            names.append(pc.binary_join_element_wise(pa.scalar(source), ids, "/"))
    return pa.concat_arrays(names)
