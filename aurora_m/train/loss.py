"""The loss: sums and counts, never means, so that any split into micro-batches adds up; and little memory."""

from typing import Any

import torch
from torch import Tensor

# N targets, D width, V vocabulary, C targets of one chunk

LOGITS_BYTES = {"cpu": 2**24, "cuda": 2**29}  # of one chunk: what a cache holds; what keeps a GPU busy


def head_loss(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every target in nats, times its weight: their differentiable sum, and each, float32[N].

    The logits are `hidden @ head.T`, made a chunk at a time and turned into gradients on the spot, so that memory does
    not grow with targets times vocabulary. Targets of weight 0 cost nothing.

    source  Wijmans et al. 2024 (arXiv 2411.09009), section 4, without its kernels
    """
    losses_N = torch.zeros_like(weights_N, dtype=torch.float32)
    kept_K = weights_N.nonzero()[:, 0]
    if len(kept_K) == len(weights_N):
        return _HeadLoss.apply(hidden_ND, head_VD, targets_N, weights_N)  # type: ignore[no-any-return,no-untyped-call]
    total, losses_K = _HeadLoss.apply(hidden_ND[kept_K], head_VD, targets_N[kept_K], weights_N[kept_K])  # type: ignore[no-untyped-call]
    return total, losses_N.index_copy_(0, kept_K, losses_K)


def add_product(total_VD: Tensor, a_VC: Tensor, b_CD: Tensor) -> None:
    """Add a product to a float32 total, whatever it is computed in."""
    if a_VC.dtype == total_VD.dtype:
        total_VD.addmm_(a_VC, b_CD)
    else:
        total_VD.add_(a_VC @ b_CD)


class _HeadLoss(torch.autograd.Function):
    """The sum of weighted losses, with the gradients of hidden states and head taken in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32)  # a sum over chunks, which bfloat16 would round
        losses_N = torch.empty(len(hidden_ND), device=hidden_ND.device)
        rows = max(1, LOGITS_BYTES[hidden_ND.device.type] // (4 * len(head_VD)))
        for first in range(0, len(hidden_ND), rows):
            chunk = slice(first, first + rows)
            hidden_CD, targets_C1, weights_C1 = hidden_ND[chunk], targets_N[chunk, None], weights_N[chunk, None]
            logits_CV = (hidden_CD @ head_VD.T).float()
            norms_C1 = logits_CV.logsumexp(-1, keepdim=True)
            losses_N[chunk] = ((norms_C1 - logits_CV.gather(1, targets_C1)) * weights_C1)[:, 0]
            grads_CV = logits_CV.sub_(norms_C1).exp_()  # the probabilities
            grads_CV.scatter_add_(1, targets_C1, torch.full_like(norms_C1, -1.0))
            grads = grads_CV.mul_(weights_C1).to(head_VD.dtype)
            torch.mm(grads, head_VD, out=grad_hidden_ND[chunk])
            add_product(grad_head_VD, grads.T, hidden_CD)
            del logits_CV, grads_CV, grads  # else they are there while the next ones are made
        ctx.save_for_backward(grad_hidden_ND, grad_head_VD.to(head_VD.dtype))
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum(), losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden_ND, grad_head_VD = ctx.saved_tensors
        return grad_hidden_ND * grads[0], grad_head_VD * grads[0], None, None
