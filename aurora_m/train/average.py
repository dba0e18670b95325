"""A moving average of the weights, kept like momentum: a checkpoint has it because it is one of the updates."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class Average(torch.optim.Optimizer):
    """The exponential moving average of weights. Its step comes after those that change them; it changes none.

    The first average is the weights after the first update; an update that was skipped does not count.
    """

    def __init__(self, params: Iterable[torch.Tensor], decay: float) -> None:
        """Average what is trained; `decay` is what is kept of the average in each update."""
        super().__init__(params, {"lr": 0.0, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take the weights of now into the average."""
        for group in self.param_groups:
            for p in group["params"]:
                if self.state[p]:
                    self.state[p]["average"].lerp_(p, 1 - group["decay"])
                else:
                    self.state[p]["average"] = p.clone()

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average where the weights are, and the weights where the average is."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if self.state[p]):
                weights = p.clone()
                p.copy_(self.state[p]["average"])
                self.state[p]["average"].copy_(weights)


def averages(params: Iterable[torch.Tensor], decay: float) -> list[Average]:
    """The average of a stage, or none where `decay` is 0."""
    return [Average([p for p in params if p.requires_grad], decay)] if decay else []


@contextmanager
def averaged(updates: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """The model as it would be released: with its averages, if it has some, as its weights."""
    settle(updates)
    try:
        yield
    finally:
        settle(updates)


def settle(updates: Sequence[torch.optim.Optimizer]) -> None:
    """Let weights and averages change places."""
    for average in updates:
        if isinstance(average, Average):
            average.swap()
