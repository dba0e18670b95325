"""Anchors: terms of the loss that hold a model near the one that it starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from aurora_m.core.step import Runtime
from aurora_m.model.forward import forward_hidden
from aurora_m.model.load import device_of, load_model, parameters
from aurora_m.model.shard import call_unsharded, part_of, reduce_over_replicas
from aurora_m.recipe import Anchor as Settings
from aurora_m.tokens.rows import Row
from aurora_m.tokens.stream import Stream
from aurora_m.train.loss import LOGITS_BYTES, add_product
from aurora_m.train.objectives.objective import Anchor, Objective, Sums
from aurora_m.train.precision import precision
from aurora_m.train.world import ALONE, ParallelLayout, layout

# N targets, D width, V vocabulary, C targets of one chunk, K targets that count


T = TypeVar("T")


def anchors(
    settings: Settings | None, model: PreTrainedModel, base: Path, rows: Stream | None, runtime: Runtime
) -> list[Anchor]:
    """The anchors that a table [stage.anchor] asks for, for a model as it starts.

    base  the folder that it was loaded from
    rows  what both read, if `kl` is asked for
    """
    made: list[Anchor] = []
    if settings and rows is not None:
        frozen, computed = load_model(base).requires_grad_(False), precision(runtime)
        for p in frozen.parameters():  # in what the model computes in, or the two would differ by rounding alone
            p.data = p.data.to(device_of(runtime), torch.float32 if computed == "fp32" else torch.bfloat16)
        frozen.to(device_of(runtime))  # type: ignore[arg-type]  # its own annotation names the wrong argument
        rows_a_step = settings.batch_tokens // rows.row_tokens
        made.append(Divergence(frozen, rows, rows_a_step, settings.kl, runtime.micro_batch or rows_a_step))
    if settings and settings.l2:
        alone = layout(runtime).size == 1  # or dividing leaves the weights that it divides as they are
        learning = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        start = {name: p.clone() if alone else p for name, p in learning.items()}
        made.append(Distance(start, settings.l2))
    return made


@dataclass(frozen=True)
class Anchored(Generic[T]):
    """An objective with anchors beside it."""

    objective: Objective[T]
    anchors: Sequence[Anchor]

    def backward(self, model: PreTrainedModel, batch: Sequence[T], opt_step: int, world: ParallelLayout) -> Sums:
        """Add the gradients of the objective, then those of the anchors."""
        sums = self.objective.backward(model, batch, opt_step, world)
        return replace(sums, anchor={anchor.name: anchor.backward(model, opt_step, world) for anchor in self.anchors})


@dataclass(frozen=True)
class Divergence:
    """KL(base || model), in nats a token, on rows of text like that which the base learned from."""

    base: PreTrainedModel
    rows: Stream
    rows_a_step: int
    weight: float
    micro: int
    name: ClassVar[str] = "kl"

    @property
    def batch_tokens(self) -> int:
        """Tokens an optimizer step."""
        return self.rows_a_step * self.rows.row_tokens

    @property
    def reads(self) -> int:
        """Weights of the base, which reads every row, too."""
        return parameters(self.base)

    def rows_of(self, opt_step: int) -> list[Row]:
        """The rows that an optimizer step reads; the first step is 1. When all are read, they are read again."""
        first = (opt_step - 1) * self.rows_a_step
        return [self.rows[index % len(self.rows)] for index in range(first, first + self.rows_a_step)]

    def backward(self, model: PreTrainedModel, opt_step: int, world: ParallelLayout = ALONE) -> float:
        """Add the gradient of weight * KL to the model's; returns this process's part of the KL."""
        rows = self.rows_of(opt_step)
        world.check(len(rows), "anchor.batch_tokens")
        batch = [rows[index] for index in world.own_rows(range(len(rows)))]
        count = float(sum(row.weights.sum() for row in rows))
        found = []
        for start in range(0, len(batch), self.micro):
            reduce_over_replicas(model, start + self.micro >= len(batch))
            total = call_unsharded(model, partial(self._total, model, batch[start : start + self.micro]))
            (total * (self.weight / count)).backward()
            found.append(total.detach())
        return world.counted * float(sum(torch.stack(found).tolist())) / count

    def _total(self, model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
        hidden_ND, _, weights_N = forward_hidden(model, rows)
        with torch.no_grad():
            base_ND, _, _ = forward_hidden(self.base, rows)
        heads = [each.get_output_embeddings().weight for each in (model, self.base)]
        return head_kl(hidden_ND, heads[0], base_ND, heads[1], weights_N)


@dataclass(frozen=True)
class Distance:
    """Half the squared distance of the weights that learn from where they started.

    source  L2-SP: Li et al. 2018 (arXiv 1802.01483), equation 2
    """

    start: dict[str, Tensor]  # whole, until the first step leaves of each what this process trains
    weight: float
    name: ClassVar[str] = "l2"
    batch_tokens: ClassVar[int] = 0
    reads: ClassVar[int] = 0

    @torch.no_grad()
    def backward(self, model: PreTrainedModel, opt_step: int, world: ParallelLayout = ALONE) -> float:
        """Add weight * (weights - start) to the gradients; returns this process's part of half the squared distance."""
        named = dict(model.named_parameters())
        squares = []
        for name, start in self.start.items():
            p = named[name]
            self.start[name] = part_of(start, p)
            moved = p - self.start[name]
            own = moved.to_local() if isinstance(moved, DTensor) else moved
            squares.append(own.square().sum() * world.share(p))
            p.grad = moved.mul_(self.weight) if p.grad is None else p.grad.add_(moved, alpha=self.weight)
        return float(torch.stack(squares).sum()) / 2


def head_kl(hidden_ND: Tensor, head_VD: Tensor, base_ND: Tensor, base_VD: Tensor, weights_N: Tensor) -> Tensor:
    """KL(base || model) in nats of the next token, times each target's weight, summed; differentiable in the model.

    The logits are made a chunk at a time and turned into gradients on the spot, as in `loss.head_loss`.
    """
    kept_K = weights_N.nonzero()[:, 0]
    of_kept = hidden_ND[kept_K], head_VD, base_ND[kept_K], base_VD, weights_N[kept_K]
    return _HeadKl.apply(*of_kept)  # type: ignore[no-any-return,no-untyped-call]


class _HeadKl(torch.autograd.Function):
    """The sum of weighted divergences, with the gradients of hidden states and head taken in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_KD: Tensor, head_VD: Tensor, base_KD: Tensor, base_VD: Tensor, weights_K: Tensor
    ) -> Tensor:
        grad_hidden_KD = torch.empty_like(hidden_KD)
        grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32)
        total = torch.zeros((), device=hidden_KD.device)
        rows = max(1, LOGITS_BYTES[hidden_KD.device.type] // (8 * len(head_VD)))  # of two models
        for first in range(0, len(hidden_KD), rows):
            chunk = slice(first, first + rows)
            hidden_CD = hidden_KD[chunk]
            ours_CV = (hidden_CD @ head_VD.T).float().log_softmax(-1)
            theirs_CV = (base_KD[chunk] @ base_VD.T).float().log_softmax(-1)
            probs_CV = theirs_CV.exp()
            total += (probs_CV * theirs_CV.sub_(ours_CV)).sum(-1) @ weights_K[chunk]
            grads = ours_CV.exp_().sub_(probs_CV).mul_(weights_K[chunk, None]).to(head_VD.dtype)
            torch.mm(grads, head_VD, out=grad_hidden_KD[chunk])
            add_product(grad_head_VD, grads.T, hidden_CD)
            del ours_CV, theirs_CV, probs_CV, grads
        ctx.save_for_backward(grad_hidden_KD, grad_head_VD.to(head_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden_KD, grad_head_VD = ctx.saved_tensors
        return grad_hidden_KD * grads[0], grad_head_VD * grads[0], None, None, None
