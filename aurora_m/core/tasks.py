"""Shard tasks: one function over many shards, here, in a pool of processes, or on Ray; the same results from each."""

import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from aurora_m.core import interrupt
from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.faults import guarded
from aurora_m.core.step import Work

if TYPE_CHECKING:
    from types import ModuleType

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3  # of a task whose process was killed, by the system for want of memory or by a person
AHEAD = 2  # tasks handed out for each worker: results wait in memory until it is their turn

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
    engine = _ray if runtime.engine == "ray" else (_pool if runtime.workers > 1 and len(tasks) > 1 else _here)
    with work.log.bar(what, len(tasks), unit) as bar:
        for done, result in enumerate(engine(work, partial(guarded, fn=fn), tasks), 1):
            bar.update(done)
            yield result


def _here(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    return map(fn, tasks)


def _pool(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    workers = work.runtime.workers
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
                what, hint = f"a worker process was killed {killed} times on the same task", "run with fewer --workers"
                raise StoreError(what, at=f"task {done + 1} of {len(tasks)}", hint=f"{hint}: memory") from error


def _workers(count: int) -> ProcessPoolExecutor:
    """Processes that stay for the next step: each takes seconds to start and to load its kernels."""
    if count not in _pools:
        _start_tracker()
        # Spawned, not forked: a fork in a process with compiled kernels and Arrow's threads can hang.
        _pools[count] = ProcessPoolExecutor(count, get_context("spawn"))
    return _pools[count]


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


def _ray(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """On the cluster that `RAY_ADDRESS` names, or on one of this machine alone; retries are Ray's."""
    ray = _connected(work.runtime.workers)
    remote = ray.remote(_called).options(max_retries=RETRIES)
    given = ray.put(pickle.dumps(fn))
    waiting: list[Any] = []
    limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    for task in tasks:
        waiting.append(remote.remote(given, task))
        if len(waiting) == limit:
            yield _got(ray, waiting.pop(0))
    while waiting:
        yield _got(ray, waiting.pop(0))


def _connected(workers: int) -> "ModuleType":
    try:
        import ray
    except ImportError as error:
        hint = "install it: pip install 'aurora-m[ray]'"
        raise RecipeError("Ray is not installed", at="--engine ray", hint=hint) from error
    if not ray.is_initialized():
        here: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **here)
    module: ModuleType = ray
    return module


def _called(fn: bytes, task: Any) -> Any:
    return pickle.loads(fn)(task)  # noqa: S301  # our own function, from this very process


def _got(ray: Any, waiting: Any) -> Any:
    try:
        return ray.get(waiting)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
