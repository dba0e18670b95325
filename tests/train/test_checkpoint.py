"""Checkpoints: whole or not at all, and with everything that the next step needs."""

import os
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import KINDS, tiny_model

from aurora_m.core.canon import file_digest
from aurora_m.core.errors import StoreError
from aurora_m.core.files import write_json
from aurora_m.model.shard import gathered, lay_out
from aurora_m.train import pieces
from aurora_m.train.average import averages, moving
from aurora_m.train.checkpoint import Checkpoints
from aurora_m.train.curve import Curve, Entry, EvalPoint
from aurora_m.train.optim import optimizers, set_lr
from aurora_m.train.world import ALONE, ParallelLayout, _mesh

ALONE_FILE = "00000-of-00001.safetensors"
Updates = list[torch.optim.Optimizer]


def curve_of(count: int) -> Curve:
    """A curve of so many steps."""
    point = EvalPoint({"en": 1.5})
    return Curve(point, [Entry(8 * n, 0.1, 1e-3, 1.0, {"a": (0.3, 4.0)}) for n in range(1, count + 1)])


def save(folder: Path, count: int, model: Any, updates: Updates, world: ParallelLayout = ALONE) -> None:
    Checkpoints(folder, model, updates, world).save(curve_of(count))


def resume(folder: Path, model: Any, updates: Updates, world: ParallelLayout = ALONE) -> int:
    """How many steps are done."""
    curve = Checkpoints(folder, model, updates, world).resume()
    assert curve is None or curve == curve_of(curve.done)
    return curve.done if curve else 0


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
    save(tmp_path, 3, model, updates)
    fresh = tiny_model(kind)
    fresh_updates = updates_of(fresh, optimizer)
    assert Checkpoints(tmp_path, fresh, fresh_updates).resume() == curve_of(3)
    updated(model, updates, 2)
    updated(fresh, fresh_updates, 2)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, fresh.state_dict()[name]), name
    tied = fresh.get_input_embeddings().weight is fresh.get_output_embeddings().weight
    assert tied == (kind == "bigcode")


def test_none_is_the_beginning(tmp_path: Path) -> None:
    model = tiny_model("llama")
    assert Checkpoints(tmp_path, model, updates_of(model)).resume() is None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def test_a_save_cut_short_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    save(tmp_path, 1, model, updates)

    def half(text: bytes, pieces: Any) -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pieces, "_blocks", half)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2, model, updates)
    assert names(tmp_path) == ["00000001", "00000002.tmp"]  # as a killed process leaves it
    (tmp_path / "checkpoint/00000002.tmp" / ALONE_FILE).write_bytes(b"half")
    assert resume(tmp_path, model, updates) == 1
    monkeypatch.undo()
    save(tmp_path, 3, model, updates)
    assert names(tmp_path) == ["00000002"]
    assert resume(tmp_path, model, updates) == 3


def test_one_that_was_not_cleared_away_is_not_the_last(tmp_path: Path) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    save(tmp_path, 7, model, updates)
    shutil.copytree(tmp_path / "checkpoint/00000001", tmp_path / "kept")
    save(tmp_path, 3, model, updates)  # after steps were undone
    (tmp_path / "kept").rename(tmp_path / "checkpoint/00000001")  # a kill came between the rename and the clearing
    assert resume(tmp_path, model, updates) == 3


def test_weights_come_back_by_way_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, places, opened = tiny_model("llama"), set(), pieces.safe_open
    updates = updates_of(model)
    save(tmp_path, 1, model, updates)

    def seen(file: Path, framework: str, device: str) -> Any:
        places.add(device)
        return opened(file, framework, device=device)

    monkeypatch.setattr(pieces, "safe_open", seen)
    assert resume(tmp_path, model, updates) == 1
    assert places == {"cpu"}  # a second copy of the weights and states may not fit beside the first on a GPU


def test_a_new_one_takes_the_place_of_the_last(tmp_path: Path) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    for opt_step in (1, 2):
        save(tmp_path, opt_step, model, updates)
    assert names(tmp_path) == ["00000002"]
    assert Checkpoints(tmp_path, model, updates).resume() == curve_of(2)


def test_another_format_is_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    save(tmp_path / "key/scratch", 1, model, updates_of(model))
    path = tmp_path / "key/scratch/checkpoint/00000001/state.json"
    write_json(path, {"format": 1, "parts": [], "curve": []})  # as that version wrote it
    with pytest.raises(StoreError) as caught:
        resume(tmp_path / "key/scratch", model, updates_of(model))
    assert caught.value.what == "this checkpoint has format 1, and this version of Aurora goes on from 3"
    assert caught.value.hint == f"delete the folder {tmp_path / 'key'}; the stage then starts anew"


def test_tied_weights_are_kept_once(tmp_path: Path) -> None:
    model = tiny_model("bigcode")
    save(tmp_path, 1, model, updates_of(model))
    kept = load_file(tmp_path / "checkpoint/00000001" / ALONE_FILE)
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
    save(tmp_path, 2, model, updates, worlds[one])
    fresh = two(kind)
    fresh_updates = [*updates_of(fresh, optimizer), *averages(fresh.parameters(), moving(0.9))]
    assert resume(tmp_path, fresh, fresh_updates, worlds[two]) == 2
    for made in (model, fresh):
        updated(made, updates if made is model else fresh_updates, 1)
    for (name, p), (_, other) in zip(
        gathered(model.named_parameters()), gathered(fresh.named_parameters()), strict=True
    ):
        torch.testing.assert_close(p, other, atol=0 if one is two else 1e-6, rtol=0, msg=name)
    for update, other_update in zip(updates, fresh_updates, strict=True):
        assert [[*state] for state in update.state.values()] == [[*state] for state in other_update.state.values()]


def test_a_full_disk_is_told_as_such_where_weights_are_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = laid_out("llama")

    def full(*given: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pieces, "_blocks", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 1, model, updates_of(model), ParallelLayout(mesh=_mesh("cpu", (1, 1, 1))))
    assert names(tmp_path) == ["00000001.tmp"]
    assert resume(tmp_path, model, updates_of(model), ParallelLayout()) == 0


# --- what lies in the folder is not trusted


class Hostile:
    """What a pickle does when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("name", [".metadata", "whole.pt", "__0_0.distcp", "data.pkl", "00001-of-00002.safetensors"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_pickle_in_the_folder_is_never_opened(tmp_path: Path, name: str, alone: bool) -> None:
    model = tiny_model("llama") if alone else laid_out("llama")
    world = ALONE if alone else ParallelLayout(mesh=_mesh("cpu", (1, 1, 1)))
    updates = updates_of(model)
    save(tmp_path, 1, model, updates, world)
    folder = tmp_path / "checkpoint/00000001"
    assert sorted(path.name for path in folder.iterdir()) == [ALONE_FILE, "state.json"]
    (folder / name).write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    assert resume(tmp_path, model, updates, world) == 1
    (folder / ALONE_FILE).write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    with pytest.raises(StoreError, match="a file of a checkpoint is missing or changed"):
        resume(tmp_path, model, updates, world)
    assert not (tmp_path / "executed").exists()


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["state.json", ALONE_FILE])
def test_a_flipped_bit_is_told(tmp_path: Path, name: str) -> None:
    model = tiny_model("llama")
    updates = updates_of(model)
    save(tmp_path / "key/scratch", 2, model, updates)
    path = tmp_path / "key/scratch/checkpoint/00000001" / name
    right = path.read_bytes()
    for number in range(40):
        flip(path, random.Random(number).randrange(len(right)))
        with pytest.raises(StoreError) as caught:
            resume(tmp_path / "key/scratch", model, updates)
        assert caught.value.what == "a file of a checkpoint is missing or changed"
        assert caught.value.at == str(path)
        assert caught.value.hint == f"delete the folder {tmp_path / 'key'}; the stage then starts anew"
        path.write_bytes(right)
    path.unlink()
    with pytest.raises(StoreError, match="a file of a checkpoint is missing or changed"):
        resume(tmp_path / "key/scratch", model, updates)


def test_a_checkpoint_of_another_model_is_told(tmp_path: Path) -> None:
    small = torch.nn.Linear(2, 2)
    pieces.write_pieces(tmp_path / "a/b/x.safetensors", pieces.own_pieces(dict(small.named_parameters()), 0, 0))
    with pytest.raises(StoreError, match="the checkpoint does not hold all of `other`") as caught:
        pieces.read_pieces([tmp_path / "a/b/x.safetensors"], {"other": torch.zeros(2)})
    assert caught.value.hint == f"delete the folder {tmp_path / 'a'}; the stage then starts anew"


@pytest.mark.parametrize("dtype", [*pieces.TYPES])
def test_pieces_of_every_type_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        "matrix": torch.arange(12).reshape(3, 4).to(dtype),
        "across": torch.arange(12).reshape(3, 4).to(dtype).T,
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros(0, 3, dtype=dtype),
    }
    sha256 = pieces.write_pieces(tmp_path / "x.safetensors", pieces.own_pieces(tensors, 0, 0))
    assert sha256 == file_digest(tmp_path / "x.safetensors")
    assert {name: [*value.shape] for name, value in load_file(tmp_path / "x.safetensors").items()} == {
        name: [*value.shape] for name, value in tensors.items()
    }
    into = {name: torch.zeros(value.shape, dtype=dtype) for name, value in tensors.items()}
    assert pieces.sizes([tmp_path / "x.safetensors"]) == {name: value.shape for name, value in tensors.items()}
    pieces.read_pieces([tmp_path / "x.safetensors"], into)
    assert all(torch.equal(into[name], tensors[name]) for name in tensors)


def test_pieces_are_cut_anew_for_whoever_reads(tmp_path: Path) -> None:
    whole = torch.arange(35.0).reshape(7, 5)
    paths = []
    for number, (start, end) in enumerate([(0, 3), (3, 3), (3, 7)]):
        paths.append(tmp_path / f"{number}.safetensors")
        pieces.write_pieces(paths[-1], {"w": pieces.Piece(whole[start:end], (start, 0), (7, 5))})
    into = torch.zeros(7, 5)
    pieces.read_pieces([*paths, *paths], {"w": into})
    assert torch.equal(into, whole)
    with pytest.raises(StoreError, match="does not hold all of `w`"):
        pieces.read_pieces(paths[:2], {"w": into})
