"""The forward pass of training: rows in, the states from which the head says the next token out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from aurora_m.tokens.rows import Row


def forward_hidden(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """The last states of all rows, one after another, with their targets and the weights of these: [N, D], [N], [N]."""
    device = next(model.parameters()).device
    tokens_BT = torch.from_numpy(np.stack([row.tokens for row in rows])).to(device)
    positions_BT = torch.from_numpy(np.stack([row.positions for row in rows])).to(device)
    weights_BT = torch.from_numpy(np.stack([row.weights for row in rows])).to(device)
    hidden_BTD = model.base_model(tokens_BT[:, :-1], position_ids=positions_BT, use_cache=False).last_hidden_state
    return hidden_BTD.flatten(0, 1), tokens_BT[:, 1:].flatten(), weights_BT.flatten()
