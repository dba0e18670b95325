"""Reads the rows of the next batch, in a thread, while this one is trained on; the order stays what it was."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from aurora_m.tokens.stream import Row
from aurora_m.train.world import ParallelLayout


class Rows(Protocol):
    """Training rows by index: a pure function."""

    def __getitem__(self, index: int, /) -> Row: ...


@dataclass
class Ahead:
    """A reader of batches, of each the rows that are this process's."""

    pool: ThreadPoolExecutor
    world: ParallelLayout
    limit: int  # no row from here on is read
    waited_s: float = 0.0  # for the rows of the last batch
    coming: tuple[Rows, range, "Future[list[Row]]"] | None = None

    def take(self, rows: Rows, indices: range) -> list[Row]:
        """The rows of a batch; those of the batch after it are read from now on."""
        started_s = time.monotonic()
        if self.coming is None or self.coming[0] is not rows or self.coming[1] != indices:
            self.coming = self._read(rows, indices)
        batch = self.coming[2].result()
        self.waited_s = time.monotonic() - started_s
        following = range(indices.stop, indices.stop + len(indices))
        self.coming = self._read(rows, following) if following.stop <= self.limit else None
        return batch

    def _read(self, rows: Rows, indices: range) -> tuple[Rows, range, "Future[list[Row]]"]:
        mine = self.world.mine(indices)
        return rows, indices, self.pool.submit(lambda: [rows[index] for index in mine])


@contextmanager
def reading_ahead(world: ParallelLayout, limit: int) -> Iterator[Ahead]:
    """A reader, whose thread ends with it."""
    with ThreadPoolExecutor(1, "rows") as pool:
        yield Ahead(pool, world, limit)
