"""Packed documents do not see each other, exactly, and logits are states times head; and the tests can fail."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import POSITIONS, VOCAB
from transformers import GraniteConfig, GraniteForCausalLM

from aurora_m.core.errors import TrainError
from aurora_m.model.selftest import check_head, check_isolation, leak


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
    assert leak(model, length) == 0.0
    assert check_isolation(model) == 0.0


@pytest.mark.parametrize("how", ["no positions", "a mask of ones"])
def test_a_model_that_leaks_is_refused(model: Any, how: str) -> None:
    leaking: Any = Leaking(model, how)
    found = leak(leaking)
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
