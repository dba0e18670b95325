"""Checkpoints of a running stage: everything the next step needs, written whole or not at all."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aurora_m.core.files import replacing

FILE = "checkpoint"

Updates = Sequence[torch.optim.Optimizer]


def save(folder: Path, opt_step: int, model: nn.Module, updates: Updates, curve: list[Any]) -> float:
    """Write a checkpoint in place of the last one; returns the seconds it took."""
    started_s = time.monotonic()
    optimizers = [optimizer.state_dict() for optimizer in updates]
    state = {"opt_step": opt_step, "model": model.state_dict(), "optimizers": optimizers, "curve": curve}
    with replacing(folder / FILE) as file:
        torch.save(state, file)
    return time.monotonic() - started_s


def resume(folder: Path, model: nn.Module, updates: Updates, curve: list[Any]) -> int:
    """Load the last checkpoint, if there is one; returns how many optimizer steps are done."""
    last = folder / FILE
    if not last.exists():
        return 0
    state = torch.load(last, map_location="cpu", weights_only=True)  # the states go to where the weights are
    model.load_state_dict(state["model"])
    for optimizer, last_state in zip(updates, state["optimizers"], strict=True):
        optimizer.load_state_dict(last_state)
    curve[:] = state["curve"]
    return int(state["opt_step"])
