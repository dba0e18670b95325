"""The processes of a run: who reads which rows, what they agree on, and what one's failure does to the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import ROWS, Made, plan, start, trained

from aurora_m.core.errors import RecipeError
from aurora_m.core.step import Runtime
from aurora_m.train import world
from aurora_m.train.prefetch import prefetching
from aurora_m.train.world import ParallelLayout, RankCoordinator, layout


class FakeStore:
    """No store."""


def team(size: int, rank: int = 0) -> RankCoordinator:
    return RankCoordinator(FakeStore(), rank, size)  # type: ignore[arg-type]


def test_rows_are_dealt_out_once() -> None:
    worlds = [ParallelLayout(rank, 6, 2) for rank in range(6)]
    dealt = [list(each.own_rows(range(12, 24))) for each in worlds]
    assert dealt[0] == dealt[1] == [12, 15, 18, 21]
    assert sorted(dealt[0] + dealt[2] + dealt[4]) == list(range(12, 24))
    assert [each.salt for each in worlds] == [(), (), (1,), (1,), (2,), (2,)]
    assert ParallelLayout().own_rows(range(3, 7)) == range(3, 7)


def test_what_two_read_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ParallelLayout(rank, 6, 2).counted for rank in range(6)] == [1, 0, 1, 0, 1, 0]
    assert ParallelLayout().counted == 1

    def summed(total: torch.Tensor) -> None:
        assert (total.dtype, total.tolist()) == (torch.float64, [1.0, 4.0])
        total.mul_(6)

    monkeypatch.setattr(world.dist, "all_reduce", summed)
    assert ParallelLayout(2, 6, 2).sum([1, 4]) == [6.0, 24.0]
    assert ParallelLayout().sum((1, 2)) == [1, 2]


def test_a_batch_must_divide() -> None:
    ParallelLayout(0, 4).check(8, "cap")
    with pytest.raises(RecipeError, match="6 rows an optimizer step cannot be divided over 4 processes") as caught:
        ParallelLayout(0, 4).check(6, "cap")
    assert caught.value.at == "cap"
    ParallelLayout(0, 4, tensor=2).check(6, "cap")


@pytest.mark.parametrize(("size", "replicas", "tensor", "good"), [(8, 2, 2, True), (8, 3, 1, False), (2, 1, 4, False)])
def test_processes_must_fit_the_layout(size: int, replicas: int, tensor: int, good: bool) -> None:
    runtime = Runtime(Path(), team=team(size), replicas=replicas, tensor=tensor)
    if good:
        assert layout(runtime) == ParallelLayout(0, size, tensor)
        return
    with pytest.raises(RecipeError, match=f"{size} processes cannot be"):
        layout(runtime)


def test_gradients_are_clipped_as_torch_does() -> None:
    params = [
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(2, 2)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    params[0].grad, params[1].grad = torch.full((3,), 2.0), torch.full((2, 2), -1.0)
    norm, sums = ParallelLayout().clip(params, 1.0, [2.0, 3.0])
    assert norm == pytest.approx(4.0)
    assert sums == [2.0, 3.0]
    assert float(torch.cat([p.grad.flatten() for p in params[:2] if p.grad is not None]).norm()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("follower's error", 1, "error: row 7 is bad\n  at: row 7\n\nhint: mend it\n"),
        ("follower's death", 1, "error: a process of the training step is gone\n"),
        ("leader's error", 2, "error: no such thing\n  at: here\n"),
    ],
)
def test_one_failure_ends_all(tmp_path: Path, how: str, code: int, said: str) -> None:
    started = start(2, tmp_path, how)
    try:
        (_, told), (found, noise) = (process.communicate(timeout=120) for process in started)
    finally:
        for process in started:
            process.kill()
    assert told.startswith(said)
    assert started[0].returncode == code
    assert started[1].returncode == (-9 if how == "follower's death" else 1)
    assert "Traceback" not in told + noise
    if how == "leader's error":  # it was called to the step, and had waited for that at no cost
        spent_s, waited_s = (float(word) for word in found.split(" of "))
        assert waited_s > 2.5
        assert spent_s < 0.2 * waited_s


def test_rows_are_read_ahead_and_in_order() -> None:
    read: list[int] = []

    class Watched(Made):
        def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
            read.append(index)
            return super().__getitem__(index)

    rows = Watched()
    with prefetching(ParallelLayout(), 12) as ahead:
        first = ahead.take(rows, range(0, 4))
        assert [row.tokens.tolist() for row in first] == [Made()[index].tokens.tolist() for index in range(4)]
        ahead.take(rows, range(4, 8))
        other = Watched()
        ahead.take(other, range(4, 8))  # other rows from here on: what was read ahead is not used
        ahead.take(other, range(8, 12))
    assert read == [*range(12), *range(4, 12)]
    assert ahead.waited_s >= 0


def test_an_error_of_the_reader_comes_with_its_batch(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "work", "llama", plan(), Made(2 * ROWS))
    assert [path.name for path in (tmp_path / "work/scratch/checkpoint").iterdir()] == ["00000002"]


def test_the_command_line_asks_torchruns_environment(tmp_path: Path) -> None:
    """A process that is not the first says nothing: the first one does."""
    about = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    code = "import aurora_m.train.world as w\nfrom unittest import mock\nfrom aurora_m.cli import distributed\n"
    code += "w.RankCoordinator.join = mock.Mock(side_effect=RuntimeError('no store'))\n"
    code += "distributed.follow(lambda: None, 'cpu')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **about}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ""
