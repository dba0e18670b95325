"""Reads the rows of the next batch, in a thread, while this one is trained on; the order stays what it was."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aurora_m.tokens.rows import Rows
from aurora_m.train.world import ParallelLayout

T = TypeVar("T")


@dataclass
class Prefetch(Generic[T]):
    """A reader of batches, of each the rows that are this process's."""

    pool: ThreadPoolExecutor
    world: ParallelLayout
    limit: int  # no row from here on is read
    waited_s: float = 0.0  # for the rows of the last batch
    coming: tuple[Rows[T], range, "Future[list[T]]"] | None = None

    def take(self, rows: Rows[T], indices: range) -> list[T]:
        """The rows of a batch; those of the batch after it are read from now on."""
        started_s = time.monotonic()
        if self.coming is None or self.coming[0] != rows or self.coming[1] != indices:
            self.coming = self._read(rows, indices)
        batch = self.coming[2].result()
        self.waited_s = time.monotonic() - started_s
        following = range(indices.stop, indices.stop + len(indices))
        self.coming = self._read(rows, following) if following.stop <= self.limit else None
        return batch

    def _read(self, rows: Rows[T], indices: range) -> tuple[Rows[T], range, "Future[list[T]]"]:
        own = self.world.own_rows(indices)
        return rows, indices, self.pool.submit(lambda: [rows[index] for index in own])


@contextmanager
def prefetching(world: ParallelLayout, limit: int) -> Iterator[Prefetch[Any]]:
    """A reader, whose thread ends with it."""
    with ThreadPoolExecutor(1, "rows") as pool:
        yield Prefetch(pool, world, limit)
