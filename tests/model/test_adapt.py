"""Adapters: nothing changes before they learn, only they can learn, and merging gives an ordinary model back."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import EXPERTS, VOCAB, tiny_experts, tiny_model
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


@pytest.mark.parametrize("kind", EXPERTS)
def test_experts_and_dense_layers_beside_them_have_one_each(kind: str, tmp_path: Path) -> None:
    model = tiny_experts(kind)
    before, start = {name: p.clone() for name, p in model.named_parameters()}, logits(model)
    head = model.get_output_embeddings()
    linear = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    stacked = {name for name, p in before.items() if p.ndim == 3}
    assert len(stacked) == (2 if kind in ("qwen3", "deepseek") else 4)
    adapt(model, RANK, 32, 1)
    assert torch.equal(logits(model), start)
    torch.manual_seed(2)
    for p in adapters(model).values():
        nn.init.normal_(p, std=0.1)
    trained = logits(model)
    merge(model)
    torch.testing.assert_close(logits(model), trained, atol=1e-3, rtol=1e-3)
    after = dict(model.named_parameters())
    assert set(after) == set(before)
    assert {name for name in before if not torch.equal(after[name], before[name])} == linear | stacked
    for name in stacked:
        values = torch.linalg.svdvals((after[name] - before[name]).double())
        assert bool((values[:, 0] > 1e-2).all())  # each expert
        assert bool((values[:, RANK] < 1e-3 * values[:, 0]).all())
    save_model(model, tmp_path / "saved", tmp_path)
    torch.testing.assert_close(logits(load_model(tmp_path / "saved")), logits(model), atol=1e-5, rtol=1e-5)


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError) as caught:
        adapt(tiny_model("llama"), RANK, 32, 1)
    assert caught.value.what == "adapters need peft, which is not installed"
    assert caught.value.hint == "run: pip install 'aurora-m[lora]'"
