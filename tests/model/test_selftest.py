"""What a model proves before it trains: packed documents are apart, logits are right, and it learns; all can fail."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import POSITIONS, VOCAB, tiny_model
from transformers import GraniteConfig, GraniteForCausalLM

from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.model.selftest import (
    check_head,
    check_isolation,
    check_learns,
    check_positions,
    check_reference,
    packing_leak,
)


class Leaking(torch.nn.Module):
    """A model that ignores restarting positions, in one of two ways."""

    def __init__(self, model: Any, how: str) -> None:
        super().__init__()
        self.model, self.how = model, how
        self.config = SimpleNamespace(vocab_size=VOCAB, model_type="leaky", _attn_implementation="sdpa")

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, use_cache: bool) -> Any:
        if self.how == "no positions":
            return self.model(input_ids=input_ids, use_cache=use_cache)
        mask = torch.ones_like(input_ids)
        return self.model(input_ids=input_ids, position_ids=position_ids, attention_mask=mask, use_cache=use_cache)


@pytest.mark.parametrize("length", [2, 33, 64])
def test_the_leak_is_exactly_0(model: Any, length: int) -> None:
    assert packing_leak(model, length) == 0.0
    assert check_isolation(model) == 0.0


@pytest.mark.parametrize("how", ["no positions", "a mask of ones"])
def test_a_model_that_leaks_is_refused(model: Any, how: str) -> None:
    leaking: Any = Leaking(model, how)
    found = packing_leak(leaking)
    assert found > 0.01
    with pytest.raises(TrainError) as caught:
        check_isolation(leaking)
    assert str(caught.value) == (
        f"error: packed documents see each other: the second one's logits move by {found:.3g}\n"
        "  at: leaky with sdpa attention\n\n"
        "hint: this architecture ignores restarting position ids; train it on rows of one document each"
    )


def test_weights_that_are_no_numbers_are_refused(model: Any) -> None:
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainError, match="move by nan"):
        check_isolation(model)


@torch.inference_mode()
def test_a_document_reads_alone_as_it_reads_packed(model: Any) -> None:
    lengths = [5, 1, 17, 9]
    tokens = torch.randint(0, VOCAB, (3, sum(lengths)), generator=torch.Generator().manual_seed(2))
    positions = torch.cat([torch.arange(length) for length in lengths]).repeat(3, 1)
    packed = model(input_ids=tokens, position_ids=positions, use_cache=False).logits.split(lengths, 1)
    for ids, logits in zip(tokens.split(lengths, 1), packed, strict=True):
        alone = model(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, POSITIONS])
def test_logits_are_the_last_states_times_the_head(model: Any, length: int) -> None:
    model.train()  # dropout, which `bigcode` has, is none of the model's logits
    check_head(model, length)


CHANGES: dict[str, Any] = {
    "scaled": lambda logits: logits / 2,
    "capped": lambda logits: 5 * torch.tanh(logits / 5),
    "shifted": lambda logits: logits + torch.linspace(-1, 1, VOCAB),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_model_that_changes_its_logits_is_refused(model: Any, how: str) -> None:
    seen: list[torch.Tensor] = []

    def change(head: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        seen.append(CHANGES[how](logits) - logits)
        return logits + seen[-1]

    model.get_output_embeddings().register_forward_hook(change)
    with pytest.raises(TrainError) as caught:
        check_head(model)
    assert str(caught.value) == (
        f"error: the logits are not the last states times the head: they differ by {float(seen[0].abs().max()):.3g}\n"
        f"  at: {model.config.model_type}\n\n"
        "hint: architectures that scale, cap or shift their logits are not supported"
    )


def test_an_architecture_that_scales_its_logits_is_refused() -> None:
    config = GraniteConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, initializer_range=0.3, logits_scaling=8.0,
    )  # fmt: skip
    with pytest.raises(TrainError, match="are not the last states times the head") as caught:
        check_head(GraniteForCausalLM(config))
    assert caught.value.at == "granite"


# --- the kernel's logits are the plain ones


@pytest.mark.parametrize("length", [1, 32, 4 * POSITIONS])
def test_the_kernel_is_the_plain_attention(model: Any, length: int) -> None:
    model.train()
    assert (check_reference(model, length) > 0.01) == (length > 1)
    assert model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("fault", ["scale", "keys"])
def test_a_kernel_that_computes_something_else_is_refused(
    model: Any, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.scaled_dot_product_attention

    def wrong(query: Any, key: Any, value: Any, **how: Any) -> Any:
        if fault == "scale":
            return right(query, key, value, **{**how, "scale": 1.0})  # as if the config's scale were not read
        return right(query, key.roll(1, dims=-1), value, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    with pytest.raises(TrainError, match="the logits of `sdpa` attention differ from the plain ones by ") as caught:
        check_reference(model)
    assert caught.value.at == model.config.model_type
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_a_fault_shows_however_small_all_logits_are(model: Any, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith(("model.norm", "transformer.ln_f")):
                p.mul_(size)
    assert check_reference(model) > 0
    right = torch.nn.functional.scaled_dot_product_attention
    wrong = lambda query, key, value, **how: right(query, key, value, **{**how, "scale": 1.0})  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    with pytest.raises(TrainError, match="the logits of `sdpa` attention differ"):
        check_reference(model)


@pytest.mark.parametrize("how", ["constant logits", "no attention"])
def test_a_check_that_can_see_nothing_says_so(model: Any, how: str) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            if how == "no attention" and name.split(".")[-2] in ("o_proj", "c_proj"):
                p.zero_()
        if how == "constant logits":
            model.get_output_embeddings().weight.zero_()
    assert check_reference(model) == 0.0


def test_logits_that_are_no_numbers_are_no_proof(model: Any) -> None:
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainError, match="differ from the plain ones by nan"):
        check_reference(model)


# --- rows fit


def test_rows_as_long_as_the_positions_fit_and_no_longer(model: Any) -> None:
    check_positions(model, POSITIONS, "stage[0] `cap`.row_tokens")
    with pytest.raises(RecipeError) as caught:
        check_positions(model, POSITIONS + 1, "stage[0] `cap`.row_tokens")
    assert caught.value.what == "rows of 65 tokens do not fit the base's 64 positions"
    assert caught.value.at == "stage[0] `cap`.row_tokens"
    with torch.no_grad(), pytest.raises(IndexError):  # what a model of learned positions says otherwise
        tiny_model("bigcode")(torch.zeros((1, POSITIONS + 1), dtype=torch.long))


# --- it learns


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: w.clone() for name, w in model.state_dict().items()}


def test_a_step_lowers_the_loss_as_promised_and_leaves_nothing_behind(model: Any) -> None:
    model.train()
    before, random = state(model), torch.get_rng_state()
    weight = next(model.parameters())
    weight.grad = torch.ones_like(weight)
    assert check_learns(model) == pytest.approx(1, abs=0.1)
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert [p.grad is None for p in model.parameters()].count(False) == 1
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_of_which_a_part_learns(model: Any) -> None:
    for name, weight in model.named_parameters():
        weight.requires_grad_("mlp" in name)
    before = state(model)
    assert check_learns(model) == pytest.approx(1, abs=0.1)
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())


class Backwards(torch.autograd.Function):
    """A layer whose gradient is not its own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return slopes[0] * ctx.factor, None


@pytest.mark.parametrize(("factor", "found"), [(-1.0, -1.0), (0.0, 0.0), (float("nan"), 0.0), (5.0, 0.2)])
def test_a_gradient_that_is_not_the_losss_is_refused(model: Any, factor: float, found: float) -> None:
    before = state(model)
    hook: Any = lambda head, args, logits: Backwards.apply(logits, factor)  # noqa: E731
    model.get_output_embeddings().register_forward_hook(hook)
    with pytest.raises(TrainError, match="a step along the gradient lowers the loss by ") as caught:
        check_learns(model)
    said = caught.value.what.removeprefix("a step along the gradient lowers the loss by ").split()[0]
    assert float(said) == pytest.approx(found, abs=0.05)
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())


@pytest.mark.parametrize("how", ["frozen", "cut off"])
def test_a_model_that_cannot_learn_is_refused(model: Any, how: str) -> None:
    if how == "frozen":
        model.requires_grad_(False)
    else:
        model.get_output_embeddings().register_forward_hook(lambda head, args, logits: logits.detach())
    with pytest.raises(TrainError, match="a step along the gradient lowers the loss by 0 of what it should"):
        check_learns(model)
