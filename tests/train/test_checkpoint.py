"""Checkpoints: whole or not at all, and with everything that the next step needs."""

from pathlib import Path
from typing import IO, Any

import pytest
import torch
from tiny import KINDS, tiny_model

from aurora_m.train import checkpoint
from aurora_m.train.optim import optimizers, set_lr

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
    (tmp_path / "checkpoint.tmp").write_bytes(b"half")  # as a killed process leaves it
    assert checkpoint.resume(tmp_path, model, updates, []) == 1
    monkeypatch.undo()
    assert checkpoint.save(tmp_path, 3, model, updates, []) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert checkpoint.resume(tmp_path, model, updates, []) == 3


def test_weights_come_back_by_way_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, places, load = tiny_model("llama"), [], torch.load
    updates = updates_of(model)
    checkpoint.save(tmp_path, 1, model, updates, [])

    def seen(file: Path, **given: Any) -> Any:
        places.append(given["map_location"])
        return load(file, **given)

    monkeypatch.setattr(torch, "load", seen)
    assert checkpoint.resume(tmp_path, model, updates, []) == 1
    assert places == ["cpu"]  # a second copy of the weights and states may not fit beside the first on a GPU


def test_a_new_one_takes_the_place_of_the_last(tmp_path: Path) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    for opt_step in (1, 2):
        checkpoint.save(tmp_path, opt_step, model, updates, [{"tokens": opt_step}])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    curve: list[Any] = []
    assert checkpoint.resume(tmp_path, model, updates, curve) == 2
    assert curve == [{"tokens": 2}]
