"""The optimizers of a model: AdamW, or Muon for the matrices between the embeddings and AdamW for the rest."""

import torch
from torch import nn
from transformers import PreTrainedModel

from aurora_m.core.errors import TrainError
from aurora_m.train.muon import Muon


def optimizers(model: PreTrainedModel, kind: str, weight_decay: float, beta2: float) -> list[torch.optim.Optimizer]:
    """The optimizers of a model, each parameter in exactly one; norms, biases and other vectors are not decayed.

    kind    adamw, or muon: the weights of linear layers, the head left out, by Muon
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
    head = model.get_output_embeddings()
    return [p for p in linear if p.requires_grad and not (head is not None and p is head.weight)]


def set_lr(made: list[torch.optim.Optimizer], lr: float) -> None:
    """Use `lr` in the next update, in every group."""
    for optimizer in made:
        for group in optimizer.param_groups:
            group["lr"] = lr
