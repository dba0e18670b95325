"""Low-rank adapters: beside every linear layer but the head, and merged into its weights when trained."""

import torch
from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError


def adapt(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> None:
    """Put adapters into a model, in place; nothing but they can be trained then, and no logit changes.

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
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    inject_adapter_in_model(config, model)


def merge(model: PreTrainedModel) -> None:
    """Add the adapters to the weights that they stand beside, and take them out: the model is an ordinary one again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
    for weight in model.parameters():
        weight.requires_grad_(True)
