"""Checkpoints of a running stage: everything the next step needs, written whole or not at all.

scratch/checkpoint/00000012/   the twelfth: weights and optimizer states by name, a file of safetensors from each
                               process (pieces.py), and state.json, which has the digests of these
scratch/checkpoint/*.tmp       one that is being written, or that a killed run left

A checkpoint does not know how many processes wrote it: any number of them goes on from it. Nothing in it can run code.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from aurora_m.core.canon import JSON, file_digests
from aurora_m.core.errors import DataError, StoreError
from aurora_m.core.files import replacing, shard_name, sync_folder
from aurora_m.core.manifest import sealed, unsealed
from aurora_m.train.curve import Curve, Rewind
from aurora_m.train.pieces import Piece, copied, own_pieces, read_pieces, sizes, write_pieces
from aurora_m.train.world import ALONE, ParallelLayout

FOLDER, STATE = "checkpoint", "state.json"

FORMAT = 3
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
        there = self.folder / FOLDER / f"{int(last) + 1:08}"
        if self.world.rank == 0:
            shutil.rmtree(there.with_suffix(".tmp"), ignore_errors=True)
        there = self.world.broadcast(there)
        tensors = _weights(self.model)
        parts: list[JSON] = []
        for number, optimizer in enumerate(self.updates):
            parts.append([*next(iter(optimizer.state.values()), {})])
            for name, p in _learning(self.model, optimizer):
                tensors |= {f"{number}.{name}.{part}": value for part, value in optimizer.state.get(p, {}).items()}
        lines: list[JSON] = [*curve.to_json()]
        state: dict[str, JSON] = {"format": FORMAT, "parts": parts, "curve": lines}
        pieces = own_pieces(tensors, self.world.rank, self.world.rank % self.world.tensor)
        if self.world.size == 1:
            _write(there, state, pieces, self.world)
        else:
            _writing[there] = _writer().submit(_write, there, state, copied(pieces), self.world, _group())

    def resume(self) -> Curve | None:
        """Load the last checkpoint, if there is one, and return its curve. StoreError if it has another format."""
        wait_for_write(self.folder)
        last = self.world.broadcast(_last(self.folder))
        if last is None:
            return None
        state = self._state(last)
        paths = [last / name for name in state["files"]]
        self._check(paths, [*state["files"].values()])
        known, tensors = sizes(paths), _weights(self.model)
        for number, (optimizer, parts) in enumerate(zip(self.updates, state["parts"], strict=True)):
            optimizer.state.clear()
            for name, p in _learning(self.model, optimizer):
                for part in (part for part in parts if f"{number}.{name}.{part}" in known):
                    size = known[f"{number}.{name}.{part}"]
                    value = torch.zeros_like(p.detach()) if size == p.shape else torch.zeros(size, device=p.device)
                    tensors[f"{number}.{name}.{part}"] = optimizer.state[p][part] = value
        read_pieces(paths, tensors)
        return Curve.from_json(state["curve"], str(last))

    def _state(self, last: Path) -> dict[str, Any]:
        try:
            state, whole = unsealed((last / STATE).read_bytes())
        except (OSError, DataError, ValueError):
            raise self._damaged(last / STATE) from None
        number = state.get("format", 1)
        if number != FORMAT and (whole or "checksum" not in state):
            what = f"this checkpoint has format {number}, and this version of Aurora goes on from {FORMAT}"
            raise StoreError(what, at=str(last), hint=self._anew())
        if not whole:
            raise self._damaged(last / STATE)
        return state

    def _check(self, paths: Sequence[Path], digests: Sequence[str]) -> None:
        """StoreError unless the files are as they were written; each process reads some of them."""
        own = slice(self.world.rank, None, self.world.size)
        for path in paths:
            if not path.is_file():
                raise self._damaged(path)
        for path, there, sha256 in zip(paths[own], file_digests(paths[own]), digests[own], strict=True):
            if there != sha256:
                raise self._damaged(path)

    def _damaged(self, path: Path) -> StoreError:
        return StoreError("a file of a checkpoint is missing or changed", at=str(path), hint=self._anew())

    def _anew(self) -> str:
        return f"delete the folder {self.folder.parent}; the stage then starts anew"

    def rewind(self, curve: Curve, rewind: Rewind) -> None:
        """Go back to the last checkpoint, which from now on says what to pass over."""
        before = self.resume()
        assert before is not None, "a guard that rewinds has one from the start"
        curve.go_back(before, rewind)
        self.write(curve)


def wait_for_write(folder: Path) -> None:
    """Wait until the checkpoint that is being written in the background, if there is one, has landed."""
    for there in [there for there in _writing if there.is_relative_to(folder)]:
        _writing.pop(there).result()


def _write(
    there: Path, state: Mapping[str, JSON], pieces: Mapping[str, Piece], world: ParallelLayout, group: Any = None
) -> None:
    """Write the file of this process, and, when all have, let the first process put the checkpoint in its place."""
    temporary = there.with_suffix(".tmp")
    digests: list[Any] = [None] * world.size
    try:
        digests[world.rank] = write_pieces(temporary / _file(world.rank, world.size), pieces)
    except Exception as error:
        digests[world.rank] = error
    if group is not None:
        dist.all_gather_object(digests, digests[world.rank], group=group)
    failed = next((found for found in digests if isinstance(found, Exception)), None)
    if failed is not None:
        raise failed
    if world.rank == 0:
        files = {_file(rank, world.size): sha256 for rank, sha256 in enumerate(digests)}
        with replacing(temporary / STATE) as file:
            file.write(sealed({**state, "files": files}))
        _land(there)


def _file(rank: int, size: int) -> str:
    return shard_name(rank, size, "safetensors")


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


@cache
def _group() -> Any:
    """The processes that write: in the group of training their messages would meet those of the next step."""
    return dist.new_group(backend="gloo")


@cache
def _writer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)
