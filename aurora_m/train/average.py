"""A moving average of the weights, kept like momentum: a checkpoint has it because it is one of the updates."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from aurora_m.recipe import Training

Share = Callable[[int], float]  # of the new weights in the average, by the number of updates before


def moving(decay: float) -> Share:
    """An exponential moving average, which keeps so much of itself in each update."""
    return lambda before: 1 - decay


def wsm_weight(first: int) -> Share:
    """The merge that stands for a decay of the learning rate by 1 - sqrt, from the weights after `first` updates on.

    WSM (Tian et al. 2025, arXiv 2507.17634): with shares c_0, c_1, ... of these weights in the mean, update k is taken
    with the factor c_k + c_(k+1) + ...; factors 1 - sqrt(k / n) of n updates make c_k = sqrt((k+1) / n) - sqrt(k / n),
    so that the newest has the share 1 - sqrt(k / (k+1)) of the mean up to itself, whatever n is.
    """
    return lambda before: 1 - math.sqrt(max(before + 1 - first, 0) / max(before + 2 - first, 1))


class Average(torch.optim.Optimizer):
    """An average of weights. Its step comes after those that change them; it changes none.

    The first average is the weights after the first update; an update that was skipped does not count.
    """

    def __init__(self, params: Iterable[torch.Tensor], share: Share) -> None:
        """Average what is trained."""
        super().__init__(params, {"lr": 0.0})
        self.share = share

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take the weights of now into the average."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if state:
                    state["average"].lerp_(p, self.share(int(state["step"])))
                else:
                    state.update(average=p.clone(), step=torch.zeros(()))
                state["step"] += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average where the weights are, and the weights where the average is."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if self.state[p]):
                weights = p.clone()
                p.copy_(self.state[p]["average"])
                self.state[p]["average"].copy_(weights)


def share_of(training: Training, opt_steps: int) -> Share | None:
    """How the weights of a training step are averaged, if they are."""
    if training.wsm:
        return wsm_weight(round(opt_steps * (1 - training.wsm)))
    return moving(training.ema) if training.ema else None


def averages(params: Iterable[torch.Tensor], share: Share | None) -> list[Average]:
    """The average of a stage, if it has one."""
    return [Average([p for p in params if p.requires_grad], share)] if share else []


@contextmanager
def averaged(updates: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """The model as it would be released: with its averages, if it has some, as its weights."""
    swap_averages(updates)
    try:
        yield
    finally:
        swap_averages(updates)


def swap_averages(updates: Sequence[torch.optim.Optimizer]) -> None:
    """Let weights and averages change places."""
    for average in updates:
        if isinstance(average, Average):
            average.swap()
