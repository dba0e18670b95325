"""The loss adds up over any split of a batch, in values and in gradients."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.train.loss import next_token_loss


def test_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [log(3.0), 0.0], [5.0, -5.0]]])
    losses = next_token_loss(logits, torch.tensor([[0, 1, 1]]), torch.tensor([[1.0, 0.5, 0.0]]))
    assert losses.tolist() == [[pytest.approx(log(2)), pytest.approx(0.5 * log(4)), 0.0]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 1000))
def test_any_split_adds_up(parts: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    rows, length, vocab = sum(parts), 5, 11
    hidden = torch.randn(rows, length, 4, generator=random, dtype=torch.float32)
    targets = torch.randint(0, vocab, (rows, length), generator=random)
    weights = torch.randint(0, 2, (rows, length), generator=random).float()
    count = weights.sum().clamp(min=1)
    results = []
    for split in (parts, [rows]):
        head = torch.ones(4, vocab, requires_grad=True)
        head.data = torch.linspace(-1, 1, 4 * vocab).view(4, vocab)
        total = 0.0
        for h, t, w in zip(hidden.split(split), targets.split(split), weights.split(split), strict=True):
            loss = next_token_loss(h @ head, t, w).sum() / count
            loss.backward()
            total += float(loss.detach())
        assert head.grad is not None
        results.append((total, head.grad))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-6, rtol=1e-5)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    losses = next_token_loss(logits, torch.tensor([[1, 2, 3]]), torch.ones(1, 3))
    assert losses.dtype == torch.float32
    expected = -logits.float().log_softmax(-1)[0, range(3), [1, 2, 3]]
    torch.testing.assert_close(losses[0], expected)


def test_a_target_of_weight_0_has_no_gradient() -> None:
    logits = torch.randn(2, 3, 7, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    next_token_loss(logits, torch.zeros(2, 3, dtype=torch.long), weights).sum().backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).tolist() == weights.bool().tolist()
