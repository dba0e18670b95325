"""Shard tasks: one function over many shards, here, in a pool of processes, or on Ray; the same results from each."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.step import Work

if TYPE_CHECKING:
    from types import ModuleType

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3  # of a task whose process was killed, by the system for want of memory or by a person
AHEAD = 2  # tasks handed out for each worker: results wait in memory until it is their turn


def each(
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
        for done, result in enumerate(engine(work, fn, tasks), 1):
            bar.update(done)
            yield result


def _here(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    return map(fn, tasks)


def _pool(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    workers = min(work.runtime.workers, len(tasks))
    killed = 0
    done = 0
    while done < len(tasks):
        try:
            # Spawned, not forked: a fork in a process with compiled kernels and Arrow's threads can hang.
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                for result in _in_order(pool, fn, tasks[done:], AHEAD * workers):
                    done += 1
                    killed = 0
                    yield result
        except BrokenProcessPool as error:
            killed += 1
            if killed > RETRIES:
                what, hint = f"a worker process was killed {killed} times on the same task", "run with fewer --workers"
                raise StoreError(what, at=f"task {done + 1} of {len(tasks)}", hint=f"{hint}: memory") from error


def _in_order(
    pool: ProcessPoolExecutor, fn: Callable[[Task], Result], tasks: Sequence[Task], ahead: int
) -> Iterator[Result]:
    waiting: list[Future[Result]] = []
    try:
        for task in tasks:
            waiting.append(pool.submit(fn, task))
            if len(waiting) == ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def _ray(work: Work, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """On the cluster that `RAY_ADDRESS` names, or on one of this machine alone; retries are Ray's."""
    ray = _connected(work.runtime.workers)
    remote = ray.remote(_called).options(max_retries=RETRIES)
    given = ray.put(pickle.dumps(fn))
    waiting: list[Any] = []
    ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    for task in tasks:
        waiting.append(remote.remote(given, task))
        if len(waiting) == ahead:
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
