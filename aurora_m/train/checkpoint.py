"""Checkpoints of a running stage: everything the next step needs, written whole or not at all.

scratch/checkpoint/00000012/   the twelfth: state.json, and weights and optimizer states by name, in whole.pt if one
                               process holds them whole, else in torch's distributed format
scratch/checkpoint/*.tmp       one that is being written, or that a killed run left

A checkpoint does not know how many processes wrote it: any number of them goes on from it.
"""

import json
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as save_parts
from transformers import PreTrainedModel

from aurora_m.core.errors import StoreError
from aurora_m.core.files import read_json, replacing, sync_folder
from aurora_m.model.shard import part_of
from aurora_m.train.curve import Curve, Rewind
from aurora_m.train.world import ALONE, ParallelLayout

FOLDER, STATE, WHOLE = "checkpoint", "state.json", "whole.pt"

FORMAT = 2
SAVING_SHARE = 0.02  # of the time, at most, goes into checkpoints

Updates = Sequence[torch.optim.Optimizer]

_writing: dict[Path, Future[None]] = {}  # in the background, by where it will be


@dataclass
class Checkpoints:
    """The checkpoints of a training step: when one is due, and the way back to the last."""

    folder: Path
    model: PreTrainedModel
    updates: Updates
    world: ParallelLayout = ALONE
    every_s: float = 0.0  # at least
    pause_s: float = 0.0  # before the next one, beside that
    saved_s: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time for the next one; in the first process, whose clock decides."""
        return time.monotonic() - self.saved_s > max(self.every_s, self.pause_s)

    def save(self, curve: Curve) -> None:
        """Write a checkpoint, which takes the place of the last one when it is whole.

        One process writes at once. Several copy their parts of the states and write them while they train on.
        """
        started_s = time.monotonic()
        self.write(curve)
        self.saved_s = time.monotonic()
        self.pause_s = (self.saved_s - started_s) / SAVING_SHARE

    def write(self, curve: Curve) -> None:
        """Write one, whatever it costs."""
        wait_for_write(self.folder)
        last = getattr(_last(self.folder), "name", 0)
        there = self.folder / FOLDER / self.world.broadcast(f"{int(last) + 1:08}")
        temporary = there.with_suffix(".tmp")
        tensors, parts = _weights(self.model), []
        for number, optimizer in enumerate(self.updates):
            parts.append([*next(iter(optimizer.state.values()), {})])
            for name, p in _learning(self.model, optimizer):
                tensors |= {f"{number}.{name}.{part}": value for part, value in optimizer.state.get(p, {}).items()}
        if self.world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            with replacing(temporary / STATE) as file:
                file.write(json.dumps({"format": FORMAT, "parts": parts, "curve": curve.to_json()}).encode())
        if self.world.mesh is None:
            with replacing(temporary / WHOLE) as file:
                torch.save(tensors, file)
            _land(there)
        else:
            _write_parts(tensors, there, self.world)

    def resume(self) -> Curve | None:
        """Load the last checkpoint, if there is one, and return its curve. StoreError if it has another format."""
        wait_for_write(self.folder)
        last = self.world.broadcast(_last(self.folder))
        if last is None:
            return None
        state = read_json(last / STATE)
        if state.get("format") != FORMAT:
            what = (
                f"this checkpoint has format {state.get('format', 1)}, and this version of Aurora goes on from {FORMAT}"
            )
            hint = f"delete the folder {self.folder.parent}; the stage then starts anew"
            raise StoreError(what, at=str(last), hint=hint)
        sizes, tensors = _sizes(last), _weights(self.model)
        for number, (optimizer, parts) in enumerate(zip(self.updates, state["parts"], strict=True)):
            optimizer.state.clear()
            for name, p in _learning(self.model, optimizer):
                for part in (part for part in parts if f"{number}.{name}.{part}" in sizes):
                    size = sizes[f"{number}.{name}.{part}"]
                    value = torch.zeros_like(p.detach()) if size == p.shape else torch.zeros(size, device=p.device)
                    tensors[f"{number}.{name}.{part}"] = optimizer.state[p][part] = value
        _read(tensors, last, self.world)
        return Curve.from_json(state["curve"], str(last))

    def rewind(self, curve: Curve, rewind: Rewind) -> None:
        """Go back to the last checkpoint, which from now on says what to pass over."""
        before = self.resume()
        assert before is not None, "a guard that rewinds has one from the start"
        curve.go_back(before, rewind)
        self.write(curve)


def wait_for_write(folder: Path) -> None:
    """Wait until the checkpoint that is being written in the background, if there is one, has landed."""
    for there in [there for there in _writing if there.is_relative_to(folder)]:
        with _plain_errors():
            _writing.pop(there).result()


def _write_parts(tensors: dict[str, Tensor], there: Path, world: ParallelLayout) -> None:
    temporary = there.with_suffix(".tmp")
    with _plain_errors():
        if world.size == 1:
            save_parts(tensors, checkpoint_id=temporary, no_dist=True)
            _land(there)
            return
        # Its collectives have a group of their own: in that of training they would meet those of the next step.
        saving = async_save(tensors, checkpoint_id=temporary, process_group=_group())
        assert isinstance(saving, Future)
        _writing[there] = Future()
        saving.add_done_callback(partial(_end, there, _writing[there], world))


def _sizes(last: Path) -> dict[str, torch.Size]:
    if (last / WHOLE).exists():
        return {name: value.shape for name, value in _whole(last).items()}
    known = FileSystemReader(last).read_metadata().state_dict_metadata
    return {name: about.size for name, about in known.items() if isinstance(about, TensorStorageMetadata)}


def _read(tensors: dict[str, Tensor], last: Path, world: ParallelLayout) -> None:
    """Fill tensors, by way of the CPU: a second copy may not fit beside the first on a GPU."""
    if (last / WHOLE).exists():
        found = _whole(last)
        for name, value in tensors.items():
            value.copy_(part_of(found[name].to(value.device), value))
        return
    with _plain_errors():
        load(tensors, checkpoint_id=last, no_dist=world.size == 1)


def _whole(last: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(last / WHOLE, map_location="cpu", weights_only=True, mmap=True)
    return found


def _last(folder: Path) -> Path | None:
    return max((path for path in (folder / FOLDER).glob("*") if not path.suffix), default=None)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights and kept buffers of a model by name; tied ones once."""
    named = dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - {*named}
    return {f"model.{name}": value.detach() for name, value in model.state_dict().items() if name not in tied}


def _learning(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """What an optimizer updates, in its order, with names."""
    names = {id(p): name for name, p in model.named_parameters()}
    yield from ((names[id(p)], p) for group in optimizer.param_groups for p in group["params"])


def _land(there: Path) -> None:
    """Let a whole checkpoint take the place of all others."""
    temporary = there.with_suffix(".tmp")
    sync_folder(temporary)
    temporary.rename(there)
    sync_folder(there.parent)
    for other in there.parent.iterdir():
        if other != there:
            shutil.rmtree(other, ignore_errors=True)


def _end(there: Path, landed: "Future[None]", world: ParallelLayout, saving: "Future[Any]") -> None:
    try:
        saving.result()
        if world.rank == 0:
            _land(there)
        landed.set_result(None)
    except BaseException as error:
        landed.set_exception(error)


@cache
def _group() -> Any:
    return dist.new_group(backend="gloo")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise what went wrong itself, a full disk above all, and not a report of it; keep quiet otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one process alone saves, is meant
            yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error
