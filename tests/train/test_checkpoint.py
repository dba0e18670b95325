"""Checkpoints: whole or not at all, and with everything that the next step needs."""

import shutil
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from tiny import KINDS, tiny_model

from aurora_m.model.shard import gathered, lay_out
from aurora_m.train import checkpoint
from aurora_m.train.average import averages, moving
from aurora_m.train.optim import optimizers, set_lr
from aurora_m.train.world import ParallelLayout, _mesh

Updates = list[torch.optim.Optimizer]


def updates_of(model: Any, optimizer: str = "adamw") -> Updates:
    return optimizers(model, optimizer, 0.1, 0.95)


def updated(model: Any, updates: Updates, steps: int) -> Any:
    for step in range(steps):
        model(torch.tensor([[1, 2, 3 + step]])).logits.logsumexp(-1).sum().backward()
        set_lr(updates, 1e-2)
        for optimizer in updates:
            optimizer.step()
        model.zero_grad()
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_everything_comes_back_bit_for_bit(tmp_path: Path, kind: str, optimizer: str) -> None:
    model = tiny_model(kind)
    updates = updates_of(model, optimizer)
    updated(model, updates, 3)
    entry = {"tokens": 8, "loss": 0.1, "by_source": {"a": [0.3, 4.0]}}
    curve: list[Any] = [{"tokens": 0, "measure": {"en": 1.5}}, entry]
    checkpoint.save(tmp_path, 3, model, updates, curve)
    fresh = tiny_model(kind)
    fresh_updates = updates_of(fresh, optimizer)
    fresh_curve: list[Any] = ["old"]
    assert checkpoint.resume(tmp_path, fresh, fresh_updates, fresh_curve) == 3
    assert fresh_curve == curve
    updated(model, updates, 2)
    updated(fresh, fresh_updates, 2)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, fresh.state_dict()[name]), name
    tied = fresh.get_input_embeddings().weight is fresh.get_output_embeddings().weight
    assert tied == (kind == "bigcode")


def test_none_is_the_beginning(tmp_path: Path) -> None:
    model = tiny_model("llama")
    curve: list[Any] = []
    assert checkpoint.resume(tmp_path, model, updates_of(model), curve) == 0
    assert curve == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def test_a_save_cut_short_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    checkpoint.save(tmp_path, 1, model, updates, [])

    def half(state: Any, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, model, updates, [])
    assert names(tmp_path) == ["00000001", "00000002.tmp"]  # as a killed process leaves it
    (tmp_path / "checkpoint/00000002.tmp/whole.pt").write_bytes(b"half")
    assert checkpoint.resume(tmp_path, model, updates, []) == 1
    monkeypatch.undo()
    assert checkpoint.save(tmp_path, 3, model, updates, []) > 0
    assert names(tmp_path) == ["00000002"]
    assert checkpoint.resume(tmp_path, model, updates, []) == 3


def test_one_that_was_not_cleared_away_is_not_the_last(tmp_path: Path) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    checkpoint.save(tmp_path, 7, model, updates, [])
    shutil.copytree(tmp_path / "checkpoint/00000001", tmp_path / "kept")
    checkpoint.save(tmp_path, 3, model, updates, [])  # after steps were undone
    (tmp_path / "kept").rename(tmp_path / "checkpoint/00000001")  # a kill came between the rename and the clearing
    assert checkpoint.resume(tmp_path, model, updates, []) == 3


def test_weights_come_back_by_way_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, places, load = tiny_model("llama"), set(), torch.load
    updates = updates_of(model)
    checkpoint.save(tmp_path, 1, model, updates, [])

    def seen(file: Path, **given: Any) -> Any:
        places.add(given["map_location"])
        return load(file, **given)

    monkeypatch.setattr(torch, "load", seen)
    assert checkpoint.resume(tmp_path, model, updates, []) == 1
    assert places == {"cpu"}  # a second copy of the weights and states may not fit beside the first on a GPU


def test_a_new_one_takes_the_place_of_the_last(tmp_path: Path) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    for opt_step in (1, 2):
        checkpoint.save(tmp_path, opt_step, model, updates, [{"tokens": opt_step}])
    assert names(tmp_path) == ["00000002"]
    curve: list[Any] = []
    assert checkpoint.resume(tmp_path, model, updates, curve) == 2
    assert curve == [{"tokens": 2}]


def test_tied_weights_are_kept_once(tmp_path: Path) -> None:
    model = tiny_model("bigcode")
    checkpoint.save(tmp_path, 1, model, updates_of(model), [])
    kept = torch.load(tmp_path / "checkpoint/00000001/whole.pt")
    assert {name for name in kept if "wte" in name or "lm_head" in name} == {"model.transformer.wte.weight"}


def laid_out(kind: str) -> Any:
    return lay_out(tiny_model(kind), _mesh("cpu", (1, 1, 1)), torch.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("one", "two"), [(laid_out, tiny_model), (tiny_model, laid_out), (laid_out, laid_out)])
def test_laid_out_weights_and_whole_ones_go_on_from_each_other(
    tmp_path: Path, kind: str, optimizer: str, one: Any, two: Any
) -> None:
    worlds = {laid_out: ParallelLayout(mesh=_mesh("cpu", (1, 1, 1))), tiny_model: ParallelLayout()}
    model = one(kind)
    updates = [*updates_of(model, optimizer), *averages(model.parameters(), moving(0.9))]
    updated(model, updates, 2)
    checkpoint.save(tmp_path, 2, model, updates, [{"tokens": 2}], worlds[one])
    fresh = two(kind)
    fresh_updates = [*updates_of(fresh, optimizer), *averages(fresh.parameters(), moving(0.9))]
    assert checkpoint.resume(tmp_path, fresh, fresh_updates, [], worlds[two]) == 2
    for made in (model, fresh):
        updated(made, updates if made is model else fresh_updates, 1)
    for (name, p), (_, other) in zip(
        gathered(model.named_parameters()), gathered(fresh.named_parameters()), strict=True
    ):
        torch.testing.assert_close(p, other, atol=0 if one is two else 1e-6, rtol=0, msg=name)
    for update, other_update in zip(updates, fresh_updates, strict=True):
        assert [[*state] for state in update.state.values()] == [[*state] for state in other_update.state.values()]


def test_a_full_disk_is_told_as_such_by_the_distributed_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = laid_out("llama")

    def full(*given: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem._write_item", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 1, model, updates_of(model), [], ParallelLayout(mesh=_mesh("cpu", (1, 1, 1))))
    assert names(tmp_path) == ["00000001.tmp"]
    assert checkpoint.resume(tmp_path, model, updates_of(model), [], ParallelLayout()) == 0
