"""The optimizer: AdamW in two groups, with weight decay on matrices only."""

import torch
from torch import nn


def adamw(model: nn.Module, weight_decay: float, beta2: float) -> torch.optim.AdamW:
    """Fused AdamW; norms, biases and other vectors are not decayed. The loop sets the learning rate."""
    named = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), eps=1e-8, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` in the next update, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
