"""Merged models: sums of the weights of models that exist, or of what training changed in them."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_json, replacing
from aurora_m.core.step import Artifact, Work
from aurora_m.model.facts import ModelFacts
from aurora_m.model.tokenizer import copy_tokenizer

FILES = "*.safetensors"
OTHER_FILES = ("config.json", "generation_config.json", "model.safetensors.index.json")

Read = Callable[[str], Tensor]  # a weight by its name, in float32


@dataclass(frozen=True)
class Weights:
    """The weights of a model, on disk until one is asked for."""

    files: Mapping[str, Any]  # by the name of a weight

    @classmethod
    def open(cls, folder: Path) -> "Weights":
        """Those of a Hugging Face folder."""
        files: list[Any] = [safe_open(path, "pt") for path in sorted(folder.glob(FILES))]
        return cls({name: file for file in files for name in file.keys()})  # noqa: SIM118  # a file is no mapping

    def __call__(self, name: str) -> Tensor:
        """One weight, in float32."""
        tensor: Tensor = self.files[name].get_tensor(name)
        return tensor.float()

    def shapes(self) -> dict[str, list[int]]:
        """The shape of each weight."""
        return {name: file.get_slice(name).get_shape() for name, file in self.files.items()}


def merge(
    work: Work,
    *,
    models: dict[str, Artifact],
    weights: Mapping[str, float],
    method: str,
    origin: str = "",
    density: float = 1.0,
    scale: float = 1.0,
) -> ModelFacts:
    """Merge models of one shape, weight by weight; writes a Hugging Face folder like the origin's.

    models   those that have a weight, and the origin; where there is none, the first by name gives config and dtype
    weights  of the models; without an origin they add up to 1, with one they are those of the changes against it
    method   `linear`, the sum of the models or changes, or `ties`, see `elected`: of changes of which all but the
             largest share `density` is left out
    scale    how far the new model is along the way from the origin to what is merged
    errors   DataError if the models' weights are not of one shape
    source   soups: Wortsman et al. 2022 (arXiv 2203.05482), 2021 (arXiv 2109.01903); task arithmetic, which is linear
             with an origin: Ilharco et al. 2022 (arXiv 2212.04089); ties: Yadav et al. 2023 (arXiv 2306.01708)
    """
    opened = {name: Weights.open(models[name].path) for name in sorted(models)}
    like = origin or min(weights)
    check_same(opened, like)
    if method == "ties":
        changes = [(weights[name], partial(_change, opened[origin], opened[name])) for name in sorted(weights)]
        floors = [floor_of(change, [*opened[origin].files], density) for _, change in changes]
        merged = partial(_by_sign, opened[origin], changes, floors, scale)
    else:
        rest = [(1 - scale * sum(weights.values()), opened[origin])] if origin else []
        merged = partial(summed, [*rest, *((scale * weights[name], opened[name]) for name in sorted(weights))])
    _write(work, models[like].path, merged)
    parameters = sum(map(prod, opened[like].shapes().values()))
    return ModelFacts(read_json(models[like].path / "config.json")["model_type"], parameters)


def check_same(models: Mapping[str, Weights], like: str) -> None:
    """DataError unless all models have weights of the same names and shapes."""
    wanted = models[like].shapes()
    for other, weights in models.items():
        shapes = weights.shapes()
        for name in sorted({*wanted, *shapes}):
            if wanted.get(name) != shapes.get(name):
                size, theirs = (" x ".join(map(str, of[name])) if name in of else "absent" for of in (wanted, shapes))
                what = f"`{like}` and `{other}` are of two shapes: `{name}` is {size}, and {theirs}"
                hint = "merge models from one side of the stage that changes the shape, such as one with `expand`"
                raise DataError(what, at="merge", hint=hint)


def summed(parts: Sequence[tuple[float, Read]], name: str) -> Tensor:
    """The sum of one weight. What counts nothing is not read, so that a model alone comes out as it is, bit for bit."""
    return reduce(torch.add, (read(name) * weight for weight, read in parts if weight))


# --- ties


def _by_sign(
    origin: Read, changes: Sequence[tuple[float, Read]], floors: Sequence[float], scale: float, name: str
) -> Tensor:
    """The origin's weight and what is elected of the changes; where that is nothing, the origin's bits."""
    read = [(weight, change(name)) for weight, change in changes]
    kept = [(weight, part.where(part.abs() >= low, 0)) for (weight, part), low in zip(read, floors, strict=True)]
    old, way = origin(name), scale * elected(kept)
    return old.where(way == 0, old + way)


def _change(origin: Read, model: Read, name: str) -> Tensor:
    return model(name) - origin(name)


def floor_of(change: Read, names: Sequence[str], density: float) -> float:
    """The size of the smallest entry among the largest share `density` of a change, over all weights.

    Exact in two passes that hold one weight at a time: sizes of float32 are in the order of their bits.
    """
    wanted = floor = 0
    for shift in (16, 0):
        counts = torch.zeros(2**16, dtype=torch.int64)
        for name in names:
            bits = change(name).abs().flatten().view(torch.int32)
            bits = bits if shift else bits[bits >> 16 == floor >> 16]
            counts += torch.bincount((bits >> shift) & 0xFFFF, minlength=2**16)
        wanted = wanted or max(1, round(density * int(counts.sum())))
        from_top = counts.flip(0).cumsum(0)
        place = int(torch.searchsorted(from_top, wanted))
        wanted -= int(from_top[place - 1]) if place else 0
        floor |= (2**16 - 1 - place) << shift
    return float(torch.tensor(floor, dtype=torch.int32).view(torch.float32))


def elected(changes: Sequence[tuple[float, Tensor]]) -> Tensor:
    """For each entry, the weighted mean of those changes that go the way of the weighted sum of all; else zero."""
    way = reduce(torch.add, (weight * change for weight, change in changes)).sign()
    agreeing = [(weight * (change.sign() == way), change) for weight, change in changes]
    shares = reduce(torch.add, (share for share, _ in agreeing))
    total = reduce(torch.add, (share * change for share, change in agreeing))
    return total.div(shares).where(shares > 0, 0)


# --- files


def _write(work: Work, like: Path, merged: Read) -> None:
    """Write a folder like another one, its weights merged one by one."""
    for name in OTHER_FILES:
        if (like / name).exists():
            shutil.copyfile(like / name, work.out / name)
    copy_tokenizer(like, work.out)
    heads = {path: _header(path) for path in sorted(like.glob(FILES))}
    done = 0
    with work.log.bar("merge", sum(len(order) for _, order in heads.values()), "weights") as bar:
        for path, (head, order) in heads.items():
            with safe_open(path, "pt") as file, replacing(work.out / path.name) as out:
                out.write(head)
                for name in order:
                    new = merged(name).to(file.get_tensor(name).dtype).contiguous()
                    out.write(new.flatten().view(torch.uint8).numpy().data)
                    done += 1
                    bar.update(done)


def _header(path: Path) -> tuple[bytes, list[str]]:
    """What a safetensors file begins with, and the weights that follow, in their order."""
    with path.open("rb") as file:
        length = file.read(8)
        text = file.read(int.from_bytes(length, "little"))
    about = json.loads(text)
    about.pop("__metadata__", None)
    return length + text, sorted(about, key=lambda name: about[name]["data_offsets"])
