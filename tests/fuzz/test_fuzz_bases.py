"""Folders of bases that are almost right: an error of ours, or the weights and ids that their files hold."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file
from tiny import tiny_base, tiny_tokenizer
from tokenizers import Tokenizer

from aurora_m.model.base import Lengths, json_of
from aurora_m.model.folder import check_files
from aurora_m.model.shape import shape_of
from aurora_m.model.weights import load_base
from aurora_m.tokens.tokenizer import open_tokenizer
from tests.fuzz.mutations import SEEDS, examples, exchanged, flipped, tried

WHOLE = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama."""
    folder = tmp_path_factory.mktemp("whole")
    made: Path = tiny_base(folder, tiny_tokenizer(folder), "llama").path
    return made


@pytest.fixture(scope="module")
def base(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, of which one file at a time is damaged."""
    return shutil.copytree(whole, tmp_path_factory.mktemp("base") / "base")


def taken(base: Path) -> Any:
    scratch = base.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    said: list[str] = []
    return tried(lambda: load_base(base, scratch, "file:base", said.append))


def readable(base: Path) -> bool:
    """Whether its configs and its tokenizer are."""

    def checked() -> bool:
        check_files(base, "file:base")
        return True

    return bool(tried(checked))


def spoiled(whole: Path, name: str, seed: int) -> bytes:
    content = (whole / name).read_bytes()
    return flipped(content, seed) if seed % 2 else exchanged(json.loads(content), seed).encode("utf-8", "surrogatepass")


@examples(80)
@given(SEEDS)
def test_configs(whole: Path, base: Path, seed: int) -> None:
    (base / "config.json").write_bytes(spoiled(whole, "config.json", seed))
    try:
        tried(lambda: Lengths({"stage.row_tokens": 8}, {}).check(base))
        tried(lambda: shape_of(json_of(base / "config.json", "file:base")))
        if readable(base) and (model := taken(base)) is not None:
            weights = load_file(whole / WHOLE)
            for name, value in model.named_parameters():
                assert torch.equal(weights[name], value), name
    finally:
        shutil.copyfile(whole / "config.json", base / "config.json")


@examples(150)
@given(SEEDS)
def test_tokenizers(whole: Path, base: Path, seed: int) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes(spoiled(whole, name, seed))
    try:
        if readable(base):
            tokenizer = open_tokenizer(base)
            ids = tokenizer.encode("the cat sat, 2024").ids
            assert ids == plain_ids(base)
            tokenizer.decode(ids)
    finally:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(whole / name, base / name)


def plain_ids(base: Path) -> list[int]:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return list(tokenizer.encode("the cat sat, 2024").ids)


@examples(80)
@given(SEEDS)
def test_safetensors(whole: Path, base: Path, seed: int) -> None:
    content = (whole / WHOLE).read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + size]
    match seed % 3:
        case 0:  # the header says something else
            text = exchanged(json.loads(header), seed).encode("utf-8", "surrogatepass")
            content = struct.pack("<Q", len(text)) + text + content[8 + size :]
        case 1:  # its bytes are others, or its length is
            content = flipped(content[: 8 + size], seed) + content[8 + size :]
        case _:
            content = flipped(content, seed)
    (base / WHOLE).write_bytes(content)
    try:
        if (model := taken(base)) is not None:
            weights = model.state_dict()
            for name, value in by_hand(content).items():
                assert torch.equal(weights[name], value), name
    finally:
        shutil.copyfile(whole / WHOLE, base / WHOLE)


def by_hand(content: bytes) -> dict[str, torch.Tensor]:
    """The float32 weights of a file, by its specification alone."""
    size = struct.unpack("<Q", content[:8])[0]
    found = {}
    for name, about in json.loads(content[8 : 8 + size]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            first, last = (8 + size + offset for offset in about["data_offsets"])
            values = np.frombuffer(content[first:last], "<f4").reshape(about["shape"])
            found[name] = torch.from_numpy(values.copy())
    return found
