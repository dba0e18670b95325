"""Low-rank adapters: beside every linear layer but the head, and every expert; merged into the weights when trained."""

import torch
from torch import nn
from transformers import Conv1D, PreTrainedModel

from aurora_m.core.errors import RecipeError
from aurora_m.model.experts import expert_weights


def adapt(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> None:
    """Put adapters into a model, in place; nothing but they can be trained then, and no logit changes.

    Each expert of a mixture of experts has its own; what routes to them has none, and stays.

    alpha   an adapter's product is scaled by alpha / rank
    errors  RecipeError if peft is not installed
    source  Hu et al. 2021 (arXiv 2106.09685)
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        hint = "run: pip install 'aurora-m[lora]'"
        raise RecipeError("adapters need peft, which is not installed", at="lora", hint=hint) from error
    torch.manual_seed(seed)
    # peft rewrites what is asked for where it knows the architecture, and misses dense layers beside experts: it gets
    # the model in a module that says nothing of itself.
    inside = nn.ModuleDict({"model": model})
    head = model.get_output_embeddings()
    linear = [
        name for name, part in inside.named_modules() if isinstance(part, nn.Linear | Conv1D) and part is not head
    ]
    stacked = [name for name, _ in expert_weights(inside)]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear, target_parameters=stacked or None)
    inject_adapter_in_model(config, inside)


def merge(model: PreTrainedModel) -> None:
    """Add the adapters to the weights that they stand beside, and take them out: the model is an ordinary one again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    for name, layer in reversed(layers):  # one that stands in another, as the experts' do, first
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    for weight in model.parameters():
        weight.requires_grad_(True)
