"""Block expansion: more blocks, which change nothing before they learn."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.faults import words_of

OUTPUTS = ("o_proj", "down_proj", "c_proj")  # the layers by which a block adds to what runs through the model
PROBE_TOKENS = 16
# What configs say of blocks by their numbers, and of how many come first; lists as long as there are blocks aside.
NUMBERS = ("mlp_only_layers", "moe_layers", "full_attn_idxs", "hybrid_layer_ids")
FIRST = ("first_k_dense_replace", "num_dense_layers", "max_window_layers")
PLAIN = (bool, int, float, str, tuple, type(None))


def expand(model: PreTrainedModel, count: int) -> tuple[str, ...]:
    """Insert `count` blocks, spread evenly: each a copy of the block before it that adds zero, so no logit changes.

    Returns a pattern for each new block that its weights' names match.
    errors  RecipeError if the model has fewer blocks than `count`; TrainError if a logit did change, or if what the
            config says of single blocks cannot be spread over more
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
    _spread(model.config, size, order)
    _check_config(model)
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
    for name, weight in copy.named_parameters():
        if not {*name.split(".")[-2:]}.isdisjoint(OUTPUTS):  # a layer's weight, or one of experts
            nn.init.zeros_(weight)
    return copy


def _spread(config: Any, size: int, order: Sequence[int]) -> None:
    """Let a config of `size` blocks describe those of `order`, each named by the block that it is a copy of."""
    for key, value in config.to_dict().items():
        if key in NUMBERS and value:
            setattr(config, key, [number for number, source in enumerate(order) if source in value])
        elif key in FIRST and isinstance(value, int):
            setattr(config, key, sum(source < value for source in order))
        elif (
            isinstance(value, list | tuple) and len(value) == size and not key.endswith(("_token_id", "architectures"))
        ):
            setattr(config, key, [value[source] for source in order])
    config.num_hidden_layers = len(order)


def _check_config(model: PreTrainedModel) -> None:
    """TrainError unless the model's config, written and read again, describes this model, block for block."""
    try:
        config = type(model.config).from_dict(model.config.to_dict())
        config._attn_implementation = model.config._attn_implementation
        with torch.device("meta"):
            described = type(model)(config)
        wrong = _difference(model, described)
    except Exception as error:  # each architecture has its own
        wrong = words_of(error)
    if wrong:
        what = f"its config cannot say what {model.config.num_hidden_layers} blocks are: {wrong}"
        raise TrainError(what, at=model.config.model_type, hint="leave out `expand`: this architecture cannot grow")


def _difference(model: nn.Module, other: nn.Module) -> str:
    """The first part in which two models are built differently; weights' values aside."""
    parts, others = dict(model.named_modules()), dict(other.named_modules())
    for name in sorted({*parts} ^ {*others}):
        return f"`{name}` is in one of two"
    for name, part in parts.items():
        ours, theirs = _plain(part), _plain(others[name])
        for key in ours:
            if ours[key] != theirs.get(key):
                return f"`{name}.{key}` is {ours[key]}, and would be {theirs.get(key)}"
    return ""


def _plain(part: nn.Module) -> dict[str, Any]:
    """What a module was built with: its kind, plain values, and the shapes of its weights."""
    kept = {key: value for key, value in vars(part).items() if isinstance(value, PLAIN) and key[0] != "_"}
    shapes = {key: tuple(p.shape) for key, p in part.named_parameters(recurse=False)}
    return {**kept, **shapes, "kind": type(part).__name__, "training": None}


@torch.inference_mode()
def _logits(model: PreTrainedModel) -> Tensor:
    tokens_BT = torch.arange(PROBE_TOKENS, device=model.device)[None] % model.config.vocab_size
    logits_BTV: Tensor = model.eval()(input_ids=tokens_BT, use_cache=False).logits
    return logits_BTV
