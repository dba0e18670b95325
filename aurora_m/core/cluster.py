"""Shard tasks on Ray: on the cluster that `RAY_ADDRESS` names, else on this machine alone, within its loopback."""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from aurora_m.core import interrupt
from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.faults import words_of

if TYPE_CHECKING:
    from types import ModuleType

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3  # of a task whose process was killed, by the system for want of memory or by a person
AHEAD = 2  # tasks handed out for each worker: results wait in memory until it is their turn
ADDRESS = "RAY_ADDRESS"
OPEN = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # without clusters, Ray's own services listen on the loopback only
ANSWER_S = 5.0


def on_ray(workers: int, fn: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """Call `fn` on every task and yield the results in their order; retries are Ray's."""
    ray = _connected(workers)
    remote = ray.remote(_called).options(max_retries=RETRIES)
    given = ray.put(pickle.dumps(fn))
    waiting: list[Any] = []
    limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    done = 0
    for number, task in enumerate(tasks, 1):
        waiting.append(remote.remote(given, task))
        while waiting and (len(waiting) == limit or number == len(tasks)):
            done += 1
            yield _got(ray, waiting.pop(0), done, len(tasks))


def killed_worker(times: int, number: int, count: int) -> StoreError:
    """The error of a task that nobody lives to finish."""
    what = f"a worker process was killed {times} times on the same task"
    return StoreError(what, at=f"task {number} of {count}", hint="run with fewer --workers: memory")


def _connected(workers: int) -> "ModuleType":
    address = os.environ.get(ADDRESS, "")
    if not address:
        os.environ.setdefault(OPEN, "0")
    try:
        import ray
    except ImportError as error:
        hint = "install it: pip install 'aurora-m[ray]'"
        raise RecipeError("Ray is not installed", at="--engine ray", hint=hint) from error
    if not ray.is_initialized():
        here: dict[str, Any] = {} if address else {"num_cpus": workers}
        try:
            _check_answers(address)
            with interrupt.kept():
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **here)
        except (OSError, ValueError, RuntimeError) as error:
            raise _absent(address, error) from error
    module: ModuleType = ray
    return module


def _check_answers(address: str) -> None:
    """OSError if nobody listens there: Ray itself would try for minutes. ValueError if it is no address."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), ANSWER_S).close()


def _absent(address: str, error: Exception) -> RecipeError:
    text = words_of(error)
    if not address:
        hint = "see Ray's logs in /tmp/ray, or run without `--engine ray`"
        return RecipeError(f"Ray does not start: {text}", at="--engine ray", hint=hint)
    hint = f"start one there (`ray start --head`), or unset {ADDRESS} to run on this machine alone"
    return RecipeError(f"no Ray cluster answers: {text}", at=f"{ADDRESS}={address}", hint=hint)


def _called(fn: bytes, task: Any) -> Any:
    return pickle.loads(fn)(task)  # noqa: S301  # our own function, from this very process


def _got(ray: Any, waiting: Any, number: int, count: int) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(waiting)
    except errors.RayTaskError as error:
        raise error.cause from error
    except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
        raise killed_worker(RETRIES + 1, number, count) from error
    except errors.RayError as error:
        text = words_of(error)
        hint = "see that the cluster is well; the same command goes on from here"
        raise StoreError(f"Ray has lost a task: {text}", at=f"task {number} of {count}", hint=hint) from error
