"""Muon: momentum whose update is made orthogonal, for the matrices between the embeddings, those of experts each."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from aurora_m.model.shard import part_of

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: pushes every singular value to between 0.7 and 1.2
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled to the size of an AdamW update: one learning rate serves both.

    Matrices of one shape are updated together. torch's own Muon takes them one by one and in bfloat16 only, which
    processors without it emulate, ten times slower.

    source  Liu et al. 2025 (arXiv 2502.16982), equations 1 to 4
    """

    def __init__(self, params: Iterable[torch.Tensor], weight_decay: float, momentum: float = 0.95) -> None:
        """Every parameter is a matrix, or a stack of them. The learning rate is set before each step."""
        super().__init__(params, {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for p in group["params"]:
                if isinstance(p.grad, DTensor):
                    self._step_in_parts(p, p.grad, group)
                elif p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                grads = [p.grad for p in params if p.grad is not None]
                states = [self._momentum(p) for p in params]
                torch._foreach_lerp_(states, grads, 1 - group["momentum"])
                ahead = torch._foreach_lerp(grads, states, group["momentum"])
                stacked = torch.stack(tuple(ahead))
                updates = orthogonal(stacked.view(-1, *shape[-2:])).view_as(stacked)
                lr, size = group["lr"], 0.2 * max(shape[-2:]) ** 0.5
                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
                torch._foreach_add_(params, updates.to(params[0].dtype).unbind(), alpha=-lr * size)

    def _step_in_parts(self, p: torch.Tensor, grad: DTensor, group: dict[str, Any]) -> None:
        """Update a matrix of which each process holds a part: gathered for the iteration, one matrix at a time."""
        momentum = self._momentum(p)
        momentum.lerp_(grad, 1 - group["momentum"])
        ahead = grad.lerp(momentum, group["momentum"])
        assert isinstance(ahead, DTensor)
        whole = ahead.full_tensor()
        update = orthogonal(whole.view(-1, *whole.shape[-2:])).view_as(whole).to(p.dtype)
        size = 0.2 * max(p.shape[-2:]) ** 0.5
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(part_of(update, p), alpha=-group["lr"] * size)

    def _momentum(self, p: torch.Tensor) -> torch.Tensor:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        momentum: torch.Tensor = state["momentum"]
        return momentum


def orthogonal(matrices_NIO: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with all singular values near 1, by Newton and Schulz's iteration; N at a time.

    In bfloat16 on a GPU, where it is exact enough and twice as fast; float32 elsewhere.
    """
    a, b, c = QUINTIC
    x = matrices_NIO.bfloat16() if matrices_NIO.is_cuda else matrices_NIO.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
