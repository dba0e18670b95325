"""The loss: a sum and a count, never a mean, so that any split into micro-batches adds up."""

import torch
import torch.nn.functional as F

# B rows, T positions, V vocabulary


def next_token_loss(logits_BTV: torch.Tensor, targets_BT: torch.Tensor, weights_BT: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each target in nats, times its weight: float32[B, T]."""
    losses = F.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten(), reduction="none")
    return losses.view_as(weights_BT) * weights_BT
