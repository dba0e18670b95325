"""What experts are, among the parameters of three axes."""

import pytest
import torch
from families import FAMILIES, SMALL
from tiny import EXPERTS, tiny_experts
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from aurora_m.model.experts import expert_weights


@pytest.mark.parametrize("kind", EXPERTS)
def test_every_parameter_of_three_axes_of_a_mixture_of_experts(kind: str) -> None:
    model = tiny_experts(kind)
    assert [*dict(expert_weights(model))] == [name for name, p in model.named_parameters() if p.ndim == 3] != []


@pytest.mark.parametrize("family", ["mamba", "recurrent_gemma"])
def test_gates_and_convolutions_are_no_experts(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]}))
    assert [p for p in model.parameters() if p.ndim == 3]
    assert [*expert_weights(model)] == []


def test_positions_and_mixes_are_no_experts() -> None:
    module = nn.Module()
    module.mix, module.positions = (nn.Parameter(torch.zeros(1, size, 8)) for size in (1, 4))
    assert [*expert_weights(module)] == []
    module.num_experts = 4
    module.weight = nn.Parameter(torch.zeros(4, 8, 8))
    assert [name for name, _ in expert_weights(module)] == ["weight"]
    module.num_experts = 1
    assert [*expert_weights(module)] == []
