"""Sketches of texts on disk: each shard's keys, sorted, and its shingles, for passes that need little memory."""

import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.files import replacing
from aurora_m.core.step import Work
from aurora_m.core.tasks import map_shards
from aurora_m.data.dedup import minhash
from aurora_m.data.text import kernels
from aurora_m.data.text.kernels import I64, U64

PART_DOCS = 2**19  # of all documents in one task of the global passes: some hundred MB
PARTS, FEW_DOCS = 8, 2**14  # so many tasks at least, for workers to share, while each has so many documents
PIECE_DOCS, PIECE_BYTES = 1024, 4 * 2**20  # of text that are hashed at a time: little memory, and warm caches
OPEN_FILES = 128


@dataclass(frozen=True)
class Sketches:
    """Where the sketches of all documents lie; documents are numbered in order of sources, shards and rows."""

    folder: Path
    starts: I64  # of each shard, and the number of all documents

    @property
    def parts(self) -> int:
        """How many tasks share a global pass."""
        docs = int(self.starts[-1])
        return max(1, -(-docs // PART_DOCS), min(PARTS, docs // FEW_DOCS))

    def load(self, shard: int, name: str) -> Any:
        """One array of one shard's sketch, on disk."""
        return np.load(self.folder / f"{shard:05d}" / f"{name}.npy", mmap_mode="r")

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """Number, first document and last + 1 of each shard."""
        for shard in range(len(self.starts) - 1):
            yield shard, int(self.starts[shard]), int(self.starts[shard + 1])


def sketched(work: Work, paths: list[Path]) -> Sketches:
    """Sketch every shard below `scratch/sketches`, but those that an earlier run finished."""
    folder = work.scratch / "sketches"
    sizes = map_shards(work, partial(_sketch, folder=folder), list(enumerate(paths)), "shingles")
    return Sketches(folder, np.cumsum([0, *sizes], dtype=np.int64))


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array, whole or not at all."""
    with replacing(path) as file:
        np.save(file, array)


def _sketch(task: tuple[int, Path], *, folder: Path) -> int:
    """Sketch one shard; returns its documents.

    Files: `size` in bytes and `bounds` of the shingles, by document; `texts` [3, docs], keys of the texts (2) and
    documents, sorted; `keys` [BANDS, 2, docs with shingles], keys and documents, sorted in each band; `shingles.u64`.
    """
    shard, path = task
    place = folder / f"{shard:05d}"
    make_once(place, partial(_measured, path))
    return len(np.load(place / "size.npy", mmap_mode="r"))


def make_once(place: Path, arrays: Callable[[Path], dict[str, NDArray[Any]]]) -> None:
    """Fill a folder, whole or not at all, with the arrays that `arrays` returns, unless an earlier run did.

    `arrays` is given the folder while it is being filled, for files of its own.
    """
    if place.exists():
        return
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, array in arrays(part).items():
        np.save(part / f"{name}.npy", array)
    os.replace(part, place)


def _measured(path: Path, folder: Path) -> dict[str, NDArray[Any]]:
    sizes, ends, whole_keys = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)], [np.empty((0, 2), np.uint64)]
    band_keys = [np.empty((0, minhash.BANDS), np.uint64)]
    with (folder / "shingles.u64").open("wb") as file:
        for piece in batches(path):
            whole_keys.append(minhash.text_keys(*kernels.text_buffers(piece["text"]), kernels.classes()))
            words, _, bounds = kernels.words(piece["text"])
            shingles, bounds, bands = minhash.sketch(words, bounds, minhash.MIN_WORDS, *minhash.functions())
            shingles.tofile(file)
            sizes.append(np.diff(kernels.text_buffers(piece["text"])[1]))
            ends.append(bounds[1:] + ends[-1][-1])
            band_keys.append(bands)
    bounds, whole = np.concatenate(ends), np.concatenate(whole_keys)
    long = np.flatnonzero(np.diff(bounds))
    bands = np.concatenate(band_keys)[long].T
    order = np.argsort(bands, axis=1, kind="stable")
    return {
        "size": np.concatenate(sizes),
        "bounds": bounds,
        "texts": np.stack([*whole.T, np.arange(len(whole), dtype=np.uint64)])[:, np.lexsort(whole.T[::-1])],
        "keys": np.stack([np.take_along_axis(bands, order, 1), long[order].astype(np.uint64)], 1),
    }


def batches(path: Path, *columns: str) -> Iterator[pa.RecordBatch]:
    """Read one shard's texts, and other columns, in runs of `PIECE_BYTES` of text or a little more."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PIECE_DOCS, columns=["text", *columns], use_threads=False):
            offsets, first = kernels.text_buffers(batch["text"])[1], 0
            while first < batch.num_rows:
                last = int(np.searchsorted(offsets, offsets[first] + PIECE_BYTES))
                yield batch.slice(first, last - first)
                first = last


def key_range(keys: U64, part: int, parts: int) -> slice:
    """Where the keys of one part of all possible ones stand in a sorted row."""
    first = np.searchsorted(keys, np.uint64(part * 2**64 // parts))
    if part + 1 == parts:
        return slice(int(first), len(keys))
    return slice(int(first), int(np.searchsorted(keys, np.uint64((part + 1) * 2**64 // parts))))


class Shingles:
    """Reads the shingles of single documents; keeps some files open."""

    def __init__(self, sketches: Sketches) -> None:
        self.sketches = sketches
        self.shards: OrderedDict[int, tuple[FileIO, I64]] = OrderedDict()

    def __enter__(self) -> "Shingles":
        return self

    def __exit__(self, *error: object) -> None:
        with ExitStack() as stack:
            for file, _ in self.shards.values():
                stack.callback(file.close)

    def place(self, text: int) -> tuple[FileIO, int, int]:
        """The file, and first shingle and last + 1."""
        shard = int(np.searchsorted(self.sketches.starts, text, "right")) - 1
        if shard not in self.shards:
            if len(self.shards) == OPEN_FILES:
                self.shards.popitem(last=False)[1][0].close()
            file = FileIO(self.sketches.folder / f"{shard:05d}" / "shingles.u64")
            self.shards[shard] = file, np.array(self.sketches.load(shard, "bounds"))
        self.shards.move_to_end(shard)
        file, bounds = self.shards[shard]
        at = text - int(self.sketches.starts[shard])
        return file, int(bounds[at]), int(bounds[at + 1])

    def of(self, text: int) -> U64:
        """Sorted distinct hashes of a text's shingles. Read, not mapped: mapped pages would stay resident."""
        file, first, last = self.place(text)
        return np.frombuffer(os.pread(file.fileno(), 8 * (last - first), 8 * first), np.uint64)

    def similar(self, one: int, two: int, near: float) -> bool:
        """Whether the Jaccard of two texts is `near` or more."""
        sizes = [last - first for _, first, last in (self.place(one), self.place(two))]
        if min(sizes) / max(*sizes, 1) < near:  # the Jaccard is at most this, and divided alike
            return False
        return bool(minhash.jaccard(self.of(one), self.of(two)) >= near)
