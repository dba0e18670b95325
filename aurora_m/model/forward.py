"""The forward pass of training: rows in, the states from which the head says the next token out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel


class Row(Protocol):
    """What a model reads of a training row: see tokens/rows.py."""

    @property
    def inputs(self) -> np.ndarray:
        """What the model reads: int64[T]."""

    @property
    def targets(self) -> np.ndarray:
        """What comes next: int64[T]."""

    @property
    def positions(self) -> np.ndarray:
        """Of the inputs in their documents: int64[T]."""

    @property
    def weights(self) -> np.ndarray:
        """Of the targets in the loss: float32[T]."""


def forward_hidden(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """The last states of all rows, one after another, with their targets and the weights of these: [N, D], [N], [N]."""
    device = next(model.parameters()).device
    inputs_BT = torch.from_numpy(np.stack([row.inputs for row in rows])).to(device)
    targets_BT = torch.from_numpy(np.stack([row.targets for row in rows])).to(device)
    positions_BT = torch.from_numpy(np.stack([row.positions for row in rows])).to(device)
    weights_BT = torch.from_numpy(np.stack([row.weights for row in rows])).to(device)
    hidden_BTD = model.base_model(inputs_BT, position_ids=positions_BT, use_cache=False).last_hidden_state
    return hidden_BTD.flatten(0, 1), targets_BT.flatten(), weights_BT.flatten()
