"""Shard tasks: one function over many shards, here, in a pool of processes, or on Ray; the same results from each."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

from aurora_m.core import interrupt
from aurora_m.core.cluster import AHEAD, RETRIES, killed_worker, on_ray
from aurora_m.core.faults import guarded
from aurora_m.core.step import Work

Task = TypeVar("Task")
Result = TypeVar("Result")


_PR_SET_PDEATHSIG = 1

_pools: dict[int, ProcessPoolExecutor] = {}  # by number of workers
_spent_s: list[float] = []  # processor time of the tasks that these did


def map_shards(
    work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task], what: str, unit: str = "shards"
) -> Iterator[Result]:
    """Call `fn` on every task and yield the results in the order of the tasks, with progress.

    `fn` is a function of a module, or a `functools.partial` of one; it, the tasks and the results can be pickled. It
    must not depend on the order of calls, and may write only files that are its task's alone, since a task whose
    process is killed is done again, `RETRIES` times at most. Its own errors come through unchanged.
    """
    runtime = work.runtime
    engine = on_ray if runtime.engine == "ray" else (_pool if runtime.workers > 1 and len(tasks) > 1 else _here)
    with work.log.bar(what, len(tasks), unit) as bar:
        for done, result in enumerate(engine(runtime.workers, partial(guarded, fn=fn), tasks), 1):
            bar.update(done)
            yield result


def _here(workers: int, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    return map(fn, tasks)


def _pool(workers: int, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    killed = 0
    done = 0
    while done < len(tasks):
        try:
            for result in _in_order(_workers(workers), fn, tasks[done:], AHEAD * workers):
                done += 1
                killed = 0
                yield result
        except BrokenProcessPool as error:
            shutdown_workers()
            killed += 1
            if killed > RETRIES:
                raise killed_worker(killed, done + 1, len(tasks)) from error


def _workers(count: int) -> ProcessPoolExecutor:
    """Processes that stay for the next step: each takes seconds to start and to load its kernels."""
    if count not in _pools:
        _start_tracker()
        # Spawned, not forked: a fork in a process with compiled kernels and Arrow's threads can hang.
        _pools[count] = ProcessPoolExecutor(count, get_context("spawn"), initializer=_follow)
    return _pools[count]


def _follow() -> None:
    """Let this worker end with the process that started it, however that ends: nobody else would end it."""
    parent = parent_process()
    assert parent is not None, "this runs in a worker"
    if sys.platform == "linux":  # at once, whatever the worker does; but the kernel means the thread that started it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait_for([sentinel])  # a pipe of which the parent has the other end
    os._exit(1)


def _start_tracker() -> None:
    """Start multiprocessing's process that clears semaphores up.

    Here, as it would end the block of SIGINT around the first worker; and silent, as after a stop it has work to do.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def shutdown_workers() -> None:
    """End the processes that shard tasks ran in, if there are any: they hold memory, and training needs it."""
    while _pools:
        _pools.popitem()[1].shutdown(cancel_futures=True)
    _spent_s.clear()  # the system counts them now


def cpu_seconds() -> float:
    """Processor time of this process, of its finished children, and of shard tasks in those that are still there."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system + sum(_spent_s)


def _timed(fn: Callable[[Task], Result], task: Task) -> tuple[Result, float]:
    started_s = time.process_time()
    return fn(task), time.process_time() - started_s


def _in_order(
    pool: ProcessPoolExecutor, fn: Callable[[Task], Result], tasks: Sequence[Task], limit: int
) -> Iterator[Result]:
    waiting: list[Future[tuple[Result, float]]] = []
    try:
        for task in tasks:
            with interrupt.blocked():  # this may start a process
                waiting.append(pool.submit(_timed, fn, task))
            if len(waiting) == limit:
                yield _taken(waiting.pop(0))
        while waiting:
            yield _taken(waiting.pop(0))
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)  # what runs still writes


def _taken(future: "Future[tuple[Result, float]]") -> Result:
    result, spent_s = future.result()
    _spent_s.append(spent_s)
    return result
