"""The optimizers of a model: AdamW, or Muon for the matrices between the embeddings and AdamW for the rest."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from aurora_m.core.errors import TrainError
from aurora_m.model.experts import expert_weights
from aurora_m.model.shard import gathered, part_of
from aurora_m.train.muon import Muon
from aurora_m.train.pieces import own_pieces, write_pieces

STATE = "optimizer.states"  # of a stage for one that reuses it: safetensors, but no weights

Updates = Sequence[torch.optim.Optimizer]


def optimizers(model: PreTrainedModel, kind: str, weight_decay: float, beta2: float) -> list[torch.optim.Optimizer]:
    """The optimizers of a model, each parameter in exactly one; norms, biases and other vectors are not decayed.

    kind    adamw, or muon: the weights of linear layers, the head left out, and of experts by Muon
    source  Muon: Liu et al. 2025 (arXiv 2502.16982), with its scale of updates
    """
    named = [p for p in model.parameters() if p.requires_grad]
    inner = _inner(model) if kind == "muon" else []
    if kind == "muon" and not inner:
        hint = 'write optimizer = "adamw"'
        raise TrainError("Muon finds no linear layer to train", at=str(model.config.model_type), hint=hint)
    rest = [p for p in named if not any(p is matrix for matrix in inner)]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), eps=1e-8, fused=True)]
    if inner:
        made.append(Muon(inner, weight_decay))
    return made


def _inner(model: PreTrainedModel) -> list[torch.Tensor]:
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    stacked = [p for _, p in expert_weights(model)]
    head = model.get_output_embeddings()
    return [p for p in (*linear, *stacked) if p.requires_grad and not (head is not None and p is head.weight)]


def shares(made: Updates) -> str:
    """What share of the weights that learn each of two optimizers updates, in words; of one, none."""
    sizes = {type(each).__name__: sum(p.numel() for g in each.param_groups for p in g["params"]) for each in made}
    words = [f"{name} updates {size / sum(sizes.values()):.1%}" for name, size in reversed(sizes.items())]
    return f"; of the weights that learn {words[0]}, {words[1]}" if len(words) == 2 else ""


def set_lr(made: Updates, lr: float) -> None:
    """Use `lr` in the next update, in every group."""
    for optimizer in made:
        for group in optimizer.param_groups:
            group["lr"] = lr


def update(made: Updates, lr: float, at: str) -> None:
    """Update the weights once, with the planned rate. TrainError if a group has another before or after its update.

    Every group is given the same rate; Muon's scale to the size of an AdamW update is no part of it.
    """
    set_lr(made, lr)
    for optimizer in made:
        _check_lr(optimizer, lr, at)
        optimizer.step()
        _check_lr(optimizer, lr, at)


def _check_lr(optimizer: torch.optim.Optimizer, lr: float, at: str) -> None:
    for group in optimizer.param_groups:
        if float(group["lr"]) != lr:
            what = f"{type(optimizer).__name__} uses the learning rate {float(group['lr']):g}, and the plan is {lr:g}"
            raise TrainError(what, at=at, hint="something else than the schedule sets the rate: take it out")


def keep_state(made: Updates, folder: Path, first: bool = True) -> None:
    """Write the optimizers' states for a later stage, from the first process: the same bytes of the same states."""
    states: dict[str, torch.Tensor] = {}
    for index, optimizer in enumerate(made):
        for number, state in sorted(optimizer.state_dict()["state"].items()):
            states |= {f"{index}.{number}.{part}": value for part, value in gathered(iter(state.items()))}
    if first:
        write_pieces(folder / STATE, own_pieces(states, 0, 0))


def reuse_state(made: Updates, folder: Path) -> None:
    """Take the states that an earlier stage left; the settings, above all the learning rate, stay those of this one.

    TrainError if the states are not those of these weights.
    """
    kept: dict[int, dict[int, dict[str, torch.Tensor]]] = {}  # by optimizer, weight, and part of the state
    for name, value in load_file(folder / STATE).items():
        index, place, part = name.split(".", 2)
        kept.setdefault(int(index), {}).setdefault(int(place), {})[part] = value
    states = [kept[index] for index in sorted(kept)]
    fits = len(states) == len(made) and all(map(_fits, made, states))
    if not fits:
        hint = 'use the same optimizer, and train the same weights, in both stages; or write optimizer_state = "fresh"'
        raise TrainError("the earlier stage's optimizer state is of other weights", at="optimizer_state", hint=hint)
    for optimizer, state in zip(made, states, strict=True):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        for number, found in state.items():  # before they are loaded: a device may not hold them whole
            p = weights[number]
            found |= {name: part_of(value, p) for name, value in found.items() if value.shape == p.shape}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _fits(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, torch.Tensor]]) -> bool:
    shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    kept = [{value.shape for value in state.get(number, {}).values() if value.ndim} for number in range(len(shapes))]
    return len(state) == len(shapes) and all(found <= {shape} for found, shape in zip(kept, shapes, strict=True))
