"""Tensors in files without pickle: each process writes the pieces that it holds, any number of them reads them again.

A file is safetensors; its metadata say under `pieces` where in its whole tensor each one begins, and that one's size.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from aurora_m.core.errors import StoreError
from aurora_m.core.files import replacing

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}  # as safetensors names them
BLOCK_BYTES = 2**24  # written at a time
Place = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """What one process holds of a tensor."""

    value: Tensor  # plain
    first: Place  # where it begins in the whole
    size: Place  # of the whole


def own_pieces(tensors: Mapping[str, Tensor], rank: int, tensor_rank: int) -> dict[str, Piece]:
    """The pieces that this process is to write: of copies only the first process that holds them writes one."""
    found = {}
    for name, value in tensors.items():
        if isinstance(value, DTensor):
            mesh = value.device_mesh
            copies = zip(mesh.get_coordinate() or (), value.placements, strict=True)
            along = "tensor" in (mesh.mesh_dim_names or ())
            if any(at and placement.is_replicate() for at, placement in copies) or (tensor_rank and not along):
                continue
        elif rank:
            continue
        found[name] = _piece(value)
    return found


def _piece(value: Tensor) -> Piece:
    if not isinstance(value, DTensor):
        return Piece(value.detach(), (0,) * value.ndim, tuple(value.shape))
    _, first = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    return Piece(value.to_local().detach(), tuple(first), tuple(value.shape))


def copied(pieces: Mapping[str, Piece]) -> dict[str, Piece]:
    """The pieces as they are now, on the CPU: they can be written while the model goes on."""
    return {name: Piece(p.value.to("cpu", copy=True), p.first, p.size) for name, p in pieces.items()}


def write_pieces(path: Path, pieces: Mapping[str, Piece]) -> str:
    """Write one file, without a second copy of it in memory; returns its SHA-256 in hex."""
    about = {name: {"first": piece.first, "size": piece.size} for name, piece in pieces.items()}
    header: dict[str, object] = {"__metadata__": {"pieces": json.dumps(about)}}
    end = 0
    for name, piece in pieces.items():
        start, end = end, end + piece.value.numel() * piece.value.element_size()
        shape = list(piece.value.shape)
        header[name] = {"dtype": TYPES[piece.value.dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    sha256 = hashlib.sha256()
    with replacing(path) as file:
        for block in _blocks(text, pieces.values()):
            file.write(block)
            sha256.update(block)
    return sha256.hexdigest()


def _blocks(text: bytes, pieces: Iterable[Piece]) -> Iterator[bytes | memoryview]:
    yield len(text).to_bytes(8, "little") + text
    for piece in pieces:
        flat: Any = piece.value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        content = memoryview(flat)
        yield from (content[start : start + BLOCK_BYTES] for start in range(0, len(content), BLOCK_BYTES))


def sizes(paths: Iterable[Path]) -> dict[str, torch.Size]:
    """The sizes of the whole tensors in some files, by name."""
    return {name: torch.Size(about["size"]) for path in paths for name, about in _about(path).items()}


def read_pieces(paths: Iterable[Path], tensors: Mapping[str, Tensor]) -> None:
    """Fill the part of each tensor that this process holds, by way of the CPU: a second copy may not fit on a GPU.

    errors  StoreError if a part of one is in no file
    """
    wanted = {name: _piece(value) for name, value in tensors.items()}
    left = {name: piece.value.numel() for name, piece in wanted.items()}
    seen: set[tuple[str, Place, Place]] = set()
    paths = list(paths)
    for path in paths:
        about = _about(path)
        with safe_open(path, "pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                first, shape = tuple(about[name]["first"]), tuple(file.get_slice(name).get_shape())
                if name in wanted and (name, first, shape) not in seen:
                    seen.add((name, first, shape))
                    left[name] -= _copy(file, name, first, wanted[name])
    lacking = next((name for name, count in left.items() if count), None)
    if lacking is not None:
        hint = f"delete the folder {paths[0].parent.parent}; the stage then starts anew"
        raise StoreError(f"the checkpoint does not hold all of `{lacking}`", at=str(paths[0].parent), hint=hint)


def _copy(file: Any, name: str, first: Place, wanted: Piece) -> int:
    """Copy what a stored piece and a wanted one share; returns how many values."""
    stored = file.get_slice(name)
    shape = stored.get_shape()
    starts = [max(a, b) for a, b in zip(first, wanted.first, strict=True)]
    ends = [min(a + n, b + m) for a, n, b, m in zip(first, shape, wanted.first, wanted.value.shape, strict=True)]
    if any(start >= end for start, end in zip(starts, ends, strict=True)):
        return 0
    source = tuple(slice(s - a, e - a) for s, e, a in zip(starts, ends, first, strict=True))
    target = tuple(slice(s - a, e - a) for s, e, a in zip(starts, ends, wanted.first, strict=True))
    part = stored[source] if source else file.get_tensor(name)
    into = wanted.value[target] if target else wanted.value
    into.copy_(part)
    count: int = part.numel()
    return count


def _about(path: Path) -> dict[str, dict[str, list[int]]]:
    with safe_open(path, "pt", device="cpu") as file:
        found: dict[str, dict[str, list[int]]] = json.loads(file.metadata()["pieces"])
    return found
