"""Adapters: nothing changes before they learn, only they can learn, and merging gives an ordinary model back."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import VOCAB, tiny_model
from torch import nn

from aurora_m.core.errors import RecipeError
from aurora_m.model.adapt import adapt, merge
from aurora_m.model.load import load_model, save_model

IDS = torch.arange(2 * 20).view(2, 20) % VOCAB
RANK = 3


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def adapters(model: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_nothing_changes_before_they_learn(model: Any) -> None:
    before = logits(model)
    adapt(model, RANK, 32, 1)
    assert torch.equal(logits(model), before)
    merge(model)
    assert torch.equal(logits(model), before)


def test_every_linear_layer_but_the_head_has_one(model: Any) -> None:
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not model.get_output_embeddings()]
    wanted = sum(RANK * (layer.in_features + layer.out_features) for layer in linear)
    adapt(model, RANK, 32, 1)
    assert sum(p.numel() for p in adapters(model).values()) == wanted
    assert all(".lora_" in name for name in adapters(model))


def test_the_seed_decides(model: Any) -> None:
    found = []
    for seed in (1, 1, 2):
        other = tiny_model("llama" if model.config.model_type == "llama" else "bigcode")
        torch.rand(seed)  # what was drawn before does not matter
        adapt(other, RANK, 32, seed)
        found.append(torch.cat([p.detach().flatten() for p in adapters(other).values()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("alpha", [4, 32])
def test_merged_is_the_product_added(model: Any, alpha: int, tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in model.named_parameters()}
    adapt(model, RANK, alpha, 1)
    torch.manual_seed(2)
    for p in adapters(model).values():
        nn.init.normal_(p, std=0.1)
    parts = adapters(model)
    products = {
        name.replace("lora_A.default.weight", "weight"): alpha / RANK * parts[name.replace("_A.", "_B.")] @ part
        for name, part in parts.items()
        if ".lora_A." in name
    }
    trained = logits(model)
    merge(model)
    torch.testing.assert_close(logits(model), trained, atol=1e-3, rtol=1e-4)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    for name, weight in before.items():
        if name in products:
            torch.testing.assert_close(after[name], weight + products[name], atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(after[name], weight)
    save_model(model, tmp_path / "saved", tmp_path)
    assert torch.equal(logits(load_model(tmp_path / "saved")), logits(model))


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError) as caught:
        adapt(tiny_model("llama"), RANK, 32, 1)
    assert caught.value.what == "adapters need peft, which is not installed"
    assert caught.value.hint == "run: pip install 'aurora-m[lora]'"
