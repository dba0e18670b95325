"""Bases from scratch: the same bytes for the same seed, tied, and of the size one counts by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, POSITIONS, new_work, tiny_tokenizer

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.model.init import init
from aurora_m.model.load import load_model, parameters, positions

VOCAB, W, LAYERS, HEADS = 280, 64, 2, 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small tokenizer."""
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def made(folder: Path, tokenizer: Artifact, arch: str, seed: int = 1) -> tuple[Path, Any]:
    shape = {"layers": LAYERS, "width": W, "heads": HEADS, "kv_heads": 1, "positions": POSITIONS}
    work = new_work(folder)
    return work.out, init(work, tokenizer=tokenizer, arch=arch, seed=seed, **shape)


def sums(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in folder_files(folder)}


@pytest.mark.parametrize("arch", ARCHS)
def test_a_seed_decides_every_byte(tmp_path: Path, tokenizer: Artifact, arch: str) -> None:
    one, two, other = (made(tmp_path / str(n), tokenizer, arch, seed)[0] for n, seed in enumerate((1, 1, 2)))
    assert sums(one) == sums(two)
    assert {name for name in sums(one) if sums(one)[name] != sums(other)[name]} == {"model.safetensors"}
    assert set(sums(one)) >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_parameters_by_hand(tmp_path: Path, tokenizer: Artifact) -> None:
    mlp, head = 192, W // HEADS  # 64 * 8 / 3 = 170.7, in whole 32s
    llama = VOCAB * W + LAYERS * (2 * W * W + 2 * W * head + 3 * W * mlp + 2 * W) + W
    bigcode = (VOCAB + POSITIONS) * W + 2 * W + LAYERS * (
        4 * W + (W + 1) * (W + 2 * head) + (W + 1) * W + (W + 1) * 4 * W + (4 * W + 1) * W
    )  # fmt: skip
    for arch, expected in zip(ARCHS, (llama, bigcode), strict=True):
        out, facts = made(tmp_path / arch, tokenizer, arch)
        assert to_json(facts) == {"architecture": arch, "parameters": expected}
        assert parameters(load_model(out)) == expected


@pytest.mark.parametrize("arch", ARCHS)
def test_what_a_base_is(tmp_path: Path, tokenizer: Artifact, arch: str) -> None:
    model = load_model(made(tmp_path, tokenizer, arch)[0])
    assert model.config.model_type == arch
    assert (positions(model), model.config.eos_token_id, model.config.vocab_size) == (POSITIONS, 0, VOCAB)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert float(model.get_input_embeddings().weight.detach().std()) == pytest.approx(1 / W**0.5, rel=0.05)
    model.train()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(ids).logits, model(ids).logits)  # no dropout


@pytest.mark.parametrize("arch", ARCHS)
def test_no_library_version_in_the_files(tmp_path: Path, tokenizer: Artifact, arch: str) -> None:
    out, _ = made(tmp_path, tokenizer, arch)
    for name in ("config.json", "generation_config.json"):
        assert "transformers_version" not in json.loads((out / name).read_text())
