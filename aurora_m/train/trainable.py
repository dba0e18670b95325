"""What of a model trains: all of it, the weights that are named, blocks that are new, or adapters beside them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.core.step import Work
from aurora_m.core.units import format_count
from aurora_m.model.adapt import adapt, merge
from aurora_m.model.expand import expand
from aurora_m.model.load import load_model, save_model
from aurora_m.tokens.stream import combine_keys, key_of
from aurora_m.train.loop import start_model


def ready(work: Work, folder: Path, name: str, how: Mapping[str, Any]) -> PreTrainedModel:
    """Load the model that a training step starts from, on the run's device, with only that open which it trains.

    how  the settings of `recipe.Training`, and a seed
    """
    model = load_model(folder)
    new = expand(model, how["expand"]) if how.get("expand") else ()
    if lora := how.get("lora"):
        adapt(model, lora["rank"], lora["alpha"], combine_keys(how["seed"], key_of(name), key_of("lora")))
    elif patterns := how.get("train") or new:
        open_only(model, patterns)
    start_model(work, model, name)
    if new or lora or how.get("train"):
        work.log.say(f"  {name}: {format_count(learning(model))} of them learn")
    return model


def finish(work: Work, folder: Path, model: PreTrainedModel, how: Mapping[str, Any]) -> None:
    """Write the trained model, adapters merged, with the tokenizer of the folder that it was loaded from."""
    if how.get("lora"):
        merge(model)
    save_model(model, work.out, folder)


def open_only(model: PreTrainedModel, patterns: Sequence[str]) -> None:
    """Let only those weights learn whose names match one of the patterns, as file names match `*`, `?` and `[...]`.

    errors  RecipeError if a pattern matches none
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names, f"names are such as `{names[0]}` and `{names[-1]}`")
            raise RecipeError(f"no weight is named `{pattern}`", at="train", hint=hint)
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))


def learning(model: PreTrainedModel) -> int:
    """How many weights of the model learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
