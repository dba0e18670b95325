"""Checkpoints of a running stage: everything the next step needs, written whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save(folder: Path, opt_step: int, model: nn.Module, optimizer: torch.optim.Optimizer, curve: list[Any]) -> None:
    """Write a checkpoint beside the last one, then let it take its place."""
    fresh, last = folder / "checkpoint.tmp", folder / "checkpoint"
    torch.save(
        {"opt_step": opt_step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "curve": curve}, fresh
    )
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(fresh, last)


def resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, curve: list[Any]) -> int:
    """Load the last checkpoint, if there is one; returns how many optimizer steps are done."""
    last = folder / "checkpoint"
    if not last.exists():
        return 0
    state = torch.load(last, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    curve[:] = state["curve"]
    return int(state["opt_step"])


def clear(folder: Path) -> None:
    """Delete all checkpoints of a finished stage."""
    shutil.rmtree(folder)
    folder.mkdir()
