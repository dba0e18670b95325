"""The optimizers: every weight is in one, Muon has the matrices between the embeddings, and the rate is the loop's."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import EXPERTS, KINDS, tiny_experts, tiny_model

from aurora_m.core.errors import TrainError
from aurora_m.train.muon import Muon
from aurora_m.train.optim import STATE, keep_state, optimizers, reuse_state, set_lr, shares, update

OPTIMIZERS = ("adamw", "muon")
INNER = re.compile(r"\.(layers|h)\.\d+\.(self_attn|attn|mlp)\.\w+\.weight")


def held(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_matrices_decay(kind: str, optimizer: str) -> None:
    model = tiny_model(kind)
    adamw, *muon = optimizers(model, optimizer, 0.3, 0.9)
    matrices, vectors = adamw.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in matrices["params"])
    assert all(p.ndim == 1 for p in vectors["params"])
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("norm" in names[id(p)] or "ln_" in names[id(p)] or "bias" in names[id(p)] for p in vectors["params"])
    assert [group["weight_decay"] for made in muon for group in made.param_groups] == [0.3] * len(muon)


@pytest.mark.parametrize("kind", EXPERTS)
def test_muon_has_every_expert(kind: str) -> None:
    model = tiny_experts(kind)
    made = optimizers(model, "muon", 0.1, 0.95)
    stacked = {id(p): p for p in model.parameters() if p.ndim == 3}
    assert stacked
    assert set(stacked) <= {id(p) for p in held(made[1])}
    before = {key: p.detach().clone() for key, p in stacked.items()}
    model(input_ids=torch.arange(40)[None] % 50, labels=torch.arange(40)[None] % 50).loss.backward()
    grads = {key: p.grad for key, p in stacked.items()}
    update(made, 0.1, "here")
    for key, p in stacked.items():
        alone = [torch.nn.Parameter(matrix) for matrix in before[key]]
        for matrix, grad in zip(alone, grads[key], strict=True):
            matrix.grad = grad
        other = Muon(alone, 0.1)
        set_lr([other], 0.1)
        other.step()
        torch.testing.assert_close(p.detach(), torch.stack([m.detach() for m in alone]), atol=1e-5, rtol=1e-5)


def test_the_shares_of_the_optimizers_are_said() -> None:
    model = tiny_model("llama")
    inner = sum(p.numel() for name, p in model.named_parameters() if INNER.search(name))
    share = inner / sum(p.numel() for p in model.parameters())
    wanted = f"; of the weights that learn Muon updates {share:.1%}, AdamW updates {1 - share:.1%}"
    assert shares(optimizers(model, "muon", 0.1, 0.95)) == wanted
    assert shares(optimizers(model, "adamw", 0.1, 0.95)) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_weight_is_in_one(kind: str, optimizer: str) -> None:
    model = tiny_model(kind)
    ids = [id(p) for made in optimizers(model, optimizer, 0.1, 0.95) for p in held(made)]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_muon_has_the_matrices_between_the_embeddings(kind: str) -> None:
    model = tiny_model(kind)
    adamw, muon = optimizers(model, "muon", 0.1, 0.95)
    assert (type(adamw), type(muon)) == (torch.optim.AdamW, Muon)
    inner = {name for name, p in model.named_parameters() if any(p is q for q in held(muon))}
    assert inner == {name for name, _ in model.named_parameters() if INNER.search(name)}
    assert len(inner) == 2 * {"llama": 7, "bigcode": 4}[kind]
    outer = {id(p) for p in held(adamw)}
    tied = kind == "bigcode"
    assert {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)} <= outer
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_weights_are_left_out(kind: str, optimizer: str) -> None:
    model = tiny_model(kind)
    names = [name for name, _ in model.named_parameters()]
    frozen = {names[0], next(name for name in names if INNER.search(name))}
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    ids = {id(p) for made in optimizers(model, optimizer, 0.1, 0.95) for p in held(made)}
    assert ids == {id(p) for name, p in model.named_parameters() if name not in frozen}


def test_muon_with_nothing_to_update_is_an_error_not_another_optimizer() -> None:
    model = tiny_model("llama")
    for name, p in model.named_parameters():
        p.requires_grad_(not INNER.search(name))
    with pytest.raises(TrainError, match="Muon finds no linear layer to train") as caught:
        optimizers(model, "muon", 0.1, 0.95)
    assert (caught.value.at, caught.value.hint) == ("llama", 'write optimizer = "adamw"')


def one_update(weight: float, grad: float, lr: float, decay: float) -> tuple[float, float]:
    layer: Any = torch.nn.Linear(1, 1)
    for p in layer.parameters():
        torch.nn.init.constant_(p, weight)
        p.grad = torch.full_like(p, grad)
    (optimizer,) = optimizers(layer, "adamw", decay, 0.95)
    optimizer.step()
    assert float(layer.weight.detach()) == weight  # until the loop sets a rate, nothing moves
    (optimizer,) = optimizers(layer, "adamw", decay, 0.95)
    set_lr([optimizer], lr)
    optimizer.step()
    return float(layer.weight.detach()), float(layer.bias.detach())


def test_an_update_by_hand() -> None:
    weight, bias = one_update(2.0, 0.5, lr=0.1, decay=0.3)
    assert weight == pytest.approx(2.0 * (1 - 0.1 * 0.3) - 0.1, abs=1e-6)  # Adam's first update is lr * sign
    assert bias == pytest.approx(2.0 - 0.1, abs=1e-6)


def test_settings() -> None:
    adamw, muon = made = optimizers(tiny_model("llama"), "muon", 0.1, 0.97)
    set_lr(made, 0.25)
    for group in adamw.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.25, (0.9, 0.97), 1e-8)
    for group in muon.param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.25, 0.95, 0.1)


def with_gradients(kind: str, optimizer: str) -> tuple[Any, Any]:
    model = tiny_model(kind)
    model(torch.tensor([[1, 2, 3, 4]])).logits.logsumexp(-1).sum().backward()
    return model, optimizers(model, optimizer, 0.1, 0.95)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_update_uses_the_planned_rate(optimizer: str) -> None:
    _, made = with_gradients("llama", optimizer)
    update(made, 0.25, "here")
    assert {group["lr"] for each in made for group in each.param_groups} == {0.25}


@pytest.mark.parametrize("kind", [torch.optim.AdamW, Muon])
def test_a_rate_that_something_else_sets_is_an_error(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an optimizer does that goes on with the rate it was saved with."""
    step = kind.step

    def stale(self: Any, *given: Any) -> Any:
        self.param_groups[0]["lr"] = 3e-3
        return step(self, *given)

    monkeypatch.setattr(kind, "step", stale)
    _, made = with_gradients("llama", "muon")
    with pytest.raises(TrainError) as caught:
        update(made, 3e-4, "cap, optimizer step 1")
    assert caught.value.what == f"{kind.__name__} uses the learning rate 0.003, and the plan is 0.0003"
    assert caught.value.at == "cap, optimizer step 1"


def test_a_rate_that_cannot_be_set_is_an_error_before_the_update() -> None:
    class Deaf(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            pass

    model, made = with_gradients("llama", "adamw")
    before = {name: p.clone() for name, p in model.named_parameters()}
    made[0].param_groups[1] = Deaf(made[0].param_groups[1])
    with pytest.raises(TrainError, match=r"AdamW uses the learning rate 0, and the plan is 0\.1"):
        update(made, 0.1, "here")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_is_carried_over_and_the_settings_are_not(tmp_path: Path, kind: str, optimizer: str) -> None:
    _, made = with_gradients(kind, optimizer)
    update(made, 1e-2, "here")
    keep_state(made, tmp_path)
    first = (tmp_path / STATE).read_bytes()
    keep_state(made, tmp_path)
    assert (tmp_path / STATE).read_bytes() == first
    other = tiny_model(kind)
    fresh = optimizers(other, optimizer, 0.3, 0.9)
    reuse_state(fresh, tmp_path)
    for one, two in zip(made, fresh, strict=True):
        for p, q in zip(held(one), held(two), strict=True):
            assert {*one.state[p]} == {*two.state[q]} != set()
            assert all(torch.equal(value, two.state[q][key]) for key, value in one.state[p].items())
        assert [group["lr"] for group in two.param_groups] == [0.0] * len(two.param_groups)
        assert max(group["weight_decay"] for group in two.param_groups) == 0.3
    assert fresh[0].param_groups[0]["betas"] == (0.9, 0.9)


def test_a_state_of_other_weights_is_an_error(tmp_path: Path) -> None:
    _, made = with_gradients("llama", "adamw")
    update(made, 1e-2, "here")
    keep_state(made, tmp_path)
    for other in (optimizers(tiny_model("bigcode"), "adamw", 0.1, 0.95), with_gradients("llama", "muon")[1]):
        with pytest.raises(TrainError, match="optimizer state is of other weights"):
            reuse_state(other, tmp_path)
