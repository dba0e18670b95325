"""Shard tasks: the same results in the same order here and in a pool; what is killed is done again."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from aurora_m.core.cluster import RETRIES
from aurora_m.core.errors import AuroraError, DataError, StoreError
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.core.tasks import cpu_seconds, map_shards, shutdown_workers


def work_with(folder: Path, workers: int = 1, engine: str = "local") -> Work:
    return Work(folder, folder, Runtime(folder, workers=workers, engine=engine), Log(quiet=True))


def squared(task: int, folder: Path) -> tuple[int, int]:
    (folder / str(task)).write_text(str(task))
    return task, task * task


def wrong(task: int) -> int:
    if task == 3:
        raise DataError("three is wrong", at="task 3", hint="leave it out")
    return task


def killed(task: int, folder: Path, times: int) -> int:
    tries = len(list(folder.glob(f"{task}.*")))
    (folder / f"{task}.{tries}").touch()
    if task == 2 and tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_results_are_in_order(tmp_path: Path, workers: int) -> None:
    found = list(map_shards(work_with(tmp_path, workers), partial(squared, folder=tmp_path), range(20), "squares"))
    assert found == [(n, n * n) for n in range(20)]
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(20))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_for_people_comes_through(tmp_path: Path, workers: int) -> None:
    done: list[object] = []
    with pytest.raises(AuroraError) as caught:
        done.extend(map_shards(work_with(tmp_path, workers), wrong, range(5), "wrong"))
    assert isinstance(caught.value, DataError)
    assert (caught.value.what, caught.value.at) == ("three is wrong", "task 3")


def test_a_killed_worker_is_no_loss(tmp_path: Path) -> None:
    folder = tmp_path / "tries"
    folder.mkdir()
    found = list(map_shards(work_with(tmp_path, 2), partial(killed, folder=folder, times=2), range(6), "killed"))
    assert found == list(range(6))
    assert len(list(folder.glob("2.*"))) == 3


def test_a_task_that_is_always_killed_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "tries"
    folder.mkdir()
    with pytest.raises(StoreError, match=f"killed {RETRIES + 1} times"):
        list(map_shards(work_with(tmp_path, 2), partial(killed, folder=folder, times=99), range(6), "killed"))


def test_time_of_this_process() -> None:
    before = cpu_seconds()
    held = bytes(2**20)
    while cpu_seconds() - before < 0.02:
        held = held[::-1]


def busy(task: int) -> int:
    end_s = time.process_time() + 0.1
    while time.process_time() < end_s:
        pass
    return os.getpid()


def test_workers_stay_and_their_time_counts(tmp_path: Path) -> None:
    shutdown_workers()
    before_s = cpu_seconds()
    first, second = (set(map_shards(work_with(tmp_path, 2), busy, range(6), "busy")) for _ in range(2))
    assert first == second
    assert os.getpid() not in first
    there_s = cpu_seconds() - before_s
    assert there_s >= 12 * 0.1
    shutdown_workers()
    assert cpu_seconds() - before_s >= there_s  # now the system counts them, and their start
    assert set(map_shards(work_with(tmp_path, 2), busy, range(4), "busy")).isdisjoint(first)
