"""Block expansion: more blocks, which change nothing before they learn."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError, TrainError

OUTPUTS = ("o_proj", "down_proj", "c_proj")  # the layers by which a block adds to what runs through the model
PROBE_TOKENS = 16


def expand(model: PreTrainedModel, count: int) -> tuple[str, ...]:
    """Insert `count` blocks, spread evenly: each a copy of the block before it that adds zero, so no logit changes.

    Returns a pattern for each new block that its weights' names match.
    errors  RecipeError if the model has fewer blocks than `count`; TrainError if a logit did change
    source  Wu et al. 2024, LLaMA Pro (arXiv 2401.02415), section 3
    """
    at, blocks = _blocks(model)
    size = len(blocks)
    if count > size:
        what, hint = f"{count} blocks cannot be spread over {size}", f"write expand = {size} or less"
        raise RecipeError(what, at=f"expand = {count}", hint=hint)
    before = _logits(model)
    copied = [(number + 1) * size // count - 1 for number in range(count)]  # the last of each of `count` groups
    order = sorted([*range(size), *copied])
    made: list[nn.Module] = []
    for number, source in enumerate(order):
        new = number > 0 and order[number - 1] == source
        made.append(_adding_zero(blocks[source]) if new else blocks[source])
        for module in made[-1].modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", number)  # noqa: B010  # which torch's types take for a tensor
    setattr(model.base_model, at, nn.ModuleList(made))
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        model.config.layer_types = [kinds[source] for source in order]
    model.config.num_hidden_layers = len(order)
    if not torch.equal(_logits(model), before):
        hint = "blocks that do not end in " + ", ".join(f"`{name}`" for name in OUTPUTS) + " cannot be inserted"
        raise TrainError("the inserted blocks change the logits", at=model.config.model_type, hint=hint)
    return tuple(f"{model.base_model_prefix}.{at}.{source + 1 + turn}.*" for turn, source in enumerate(copied))


def _blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The list of the model's blocks, and its name in the base model."""
    for name, part in model.base_model.named_children():
        if isinstance(part, nn.ModuleList) and len(part) == model.config.num_hidden_layers:
            return name, part
    raise TrainError("no list of blocks is found", at=model.config.model_type, hint="leave out `expand`")


def _adding_zero(block: nn.Module) -> nn.Module:
    """A copy of a block whose output layers are zero."""
    copy = deepcopy(block)
    for name, module in copy.named_modules():
        if name.rpartition(".")[2] in OUTPUTS:
            for weight in module.parameters():
                nn.init.zeros_(weight)
    return copy


@torch.inference_mode()
def _logits(model: PreTrainedModel) -> Tensor:
    tokens_BT = torch.arange(PROBE_TOKENS, device=model.device)[None] % model.config.vocab_size
    logits_BTV: Tensor = model.eval()(input_ids=tokens_BT, use_cache=False).logits
    return logits_BTV
