"""What of a model trains: all of it, the weights that are named, blocks that are new, or adapters beside them."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.core.step import Artifact, Work
from aurora_m.core.tasks import shutdown_workers
from aurora_m.core.units import format_count
from aurora_m.model.adapt import adapt, merge
from aurora_m.model.embed import embeddings
from aurora_m.model.expand import expand
from aurora_m.model.load import device_of, load_model, parameters, save_model
from aurora_m.recipe import Training
from aurora_m.tokens.stream import combine_keys, key_of
from aurora_m.train.world import layout

NEW_ROWS = "tokens_added"  # among the facts of a base that just got more tokens


def load_trainable(work: Work, start: Artifact, name: str, training: Training, seed: int) -> PreTrainedModel:
    """Load the model that a training step starts from, on the run's device, with only that open which it trains.

    Rows of new tokens must learn: embeddings and head learn beside adapters and new blocks where a base just got some.

    errors  RecipeError if `train` leaves them out then
    """
    model = load_model(start.path)
    new = expand(model, training.expand) if training.expand else ()
    if lora := training.lora:
        adapt(model, lora.rank, lora.alpha, combine_keys(seed, key_of(name), key_of("lora")))
    elif patterns := training.train or new:
        open_only(model, patterns)
    if NEW_ROWS in start.facts and (new or lora or training.train):
        _open_rows(work, model, name, training)
    start_model(work, model, name)
    if new or lora or training.train:
        work.log.say(f"  {name}: {format_count(learning(model))} of them learn")
    return model


def start_model(work: Work, model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Say what is trained, and put it on the run's device; but a model that will be divided may not fit there whole."""
    shutdown_workers()
    device = device_of(work.runtime)
    work.log.say(f"  {name}: {format_count(parameters(model))} parameters on {device}")
    if layout(work.runtime).size == 1:
        model.to(device)  # type: ignore[arg-type]  # its own annotation names the wrong argument
    return model


def save_trained(work: Work, folder: Path, model: PreTrainedModel, training: Training) -> None:
    """Write the trained model, adapters merged, with the tokenizer of the folder that it was loaded from."""
    if training.lora:
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


def _open_rows(work: Work, model: PreTrainedModel, name: str, training: Training) -> None:
    """Let embeddings and head learn, beside adapters or new blocks; RecipeError where `train` leaves one out."""
    closed = {layer.weight: layer for layer in embeddings(model) if not layer.weight.requires_grad}
    names = [name for name, p in model.named_parameters() if any(p is weight for weight in closed)]
    if names and training.train:
        listed = " and ".join(f'"{each}"' for each in names)
        what = "the rows of the new tokens cannot learn: `train` leaves them out"
        raise RecipeError(what, at=f"{name}: train", hint=f"add {listed} to `train`, or leave [base.extend] out")
    for weight in closed:
        weight.requires_grad_(True)
    if names:
        work.log.say(f"  {name}: {' and '.join(names)} learn too, for the new tokens")


def learning(model: PreTrainedModel) -> int:
    """How many weights of the model learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
