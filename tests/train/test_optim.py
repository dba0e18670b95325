"""AdamW's groups: matrices decay, vectors do not, every weight is in one group, and the rate is the loop's."""

from typing import Any

import pytest
import torch
from tiny import KINDS, tiny_model

from aurora_m.train.optim import adamw, set_lr


@pytest.mark.parametrize("kind", KINDS)
def test_only_matrices_decay(kind: str) -> None:
    model = tiny_model(kind)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    optimizer = adamw(model, 0.3, 0.9)
    matrices, vectors = optimizer.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in matrices["params"])
    assert all(p.ndim == 1 for p in vectors["params"])
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters()} - {id(frozen)}
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("norm" in names[id(p)] or "ln_" in names[id(p)] or "bias" in names[id(p)] for p in vectors["params"])


def one_update(weight: float, grad: float, lr: float, decay: float) -> tuple[float, float]:
    layer: Any = torch.nn.Linear(1, 1)
    for p in layer.parameters():
        torch.nn.init.constant_(p, weight)
        p.grad = torch.full_like(p, grad)
    optimizer = adamw(layer, decay, 0.95)
    optimizer.step()
    assert float(layer.weight.detach()) == weight  # until the loop sets a rate, nothing moves
    optimizer = adamw(layer, decay, 0.95)
    set_lr(optimizer, lr)
    optimizer.step()
    return float(layer.weight.detach()), float(layer.bias.detach())


def test_an_update_by_hand() -> None:
    weight, bias = one_update(2.0, 0.5, lr=0.1, decay=0.3)
    assert weight == pytest.approx(2.0 * (1 - 0.1 * 0.3) - 0.1, abs=1e-6)  # Adam's first update is lr * sign
    assert bias == pytest.approx(2.0 - 0.1, abs=1e-6)


def test_settings() -> None:
    optimizer = adamw(tiny_model("llama"), 0.1, 0.97)
    set_lr(optimizer, 0.25)
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.25, (0.9, 0.97), 1e-8)
