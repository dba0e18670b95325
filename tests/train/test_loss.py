"""The loss and its gradients are those of plain cross-entropy, in chunks of any size and for any split of a batch."""

from math import log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from aurora_m.train import loss
from aurora_m.train.loss import head_loss

VOCAB, WIDTH = 11, 4
WEIGHTS = st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.5]), min_size=1, max_size=12)


def row_bytes(rows: int) -> int:
    """Bytes of the logits of some targets, and a little more."""
    return 4 * VOCAB * rows + 3


def made(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, head and targets."""
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, WIDTH, generator=random).requires_grad_()
    head = torch.randn(VOCAB, WIDTH, generator=random).requires_grad_()
    return hidden, head, torch.randint(0, VOCAB, (count,), generator=random)


def grads(*of: torch.Tensor) -> list[torch.Tensor]:
    """Gradients, taken away."""
    found = [p.grad for p in of if p.grad is not None]
    assert len(found) == len(of)
    for p in of:
        p.grad = None
    return found


def test_by_hand() -> None:
    hidden = torch.tensor([[0.0], [log(3.0)], [5.0]])
    total, losses = head_loss(hidden, torch.tensor([[1.0], [0.0]]), torch.tensor([0, 1, 1]), torch.tensor([1, 0.5, 0]))
    assert losses.tolist() == [pytest.approx(log(2)), pytest.approx(0.5 * log(4)), 0.0]
    assert float(total) == pytest.approx(log(2) + 0.5 * log(4))


@given(WEIGHTS, st.sampled_from([0, 1, 2, 5, 100]), st.integers(0, 1000))
def test_equal_to_cross_entropy(weights: list[float], rows: int, seed: int) -> None:
    hidden, head, targets = made(len(weights), seed)
    weights_N, count = torch.tensor(weights), 7.0
    expected = F.cross_entropy(hidden @ head.T, targets, reduction="none") * weights_N
    (expected.sum() / count).backward()
    wanted = grads(hidden, head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss.LOGITS_BYTES, "cpu", row_bytes(rows))  # of 0 targets: still one at a time
        total, losses = head_loss(hidden, head, targets, weights_N)
    (total / count).backward()
    assert not losses.requires_grad
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(total.detach(), expected.sum().detach())
    for one, two in zip(grads(hidden, head), wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 1000))
def test_any_split_adds_up(parts: list[int], seed: int) -> None:
    hidden, head, targets = made(sum(parts), seed)
    weights = torch.randint(0, 3, (sum(parts),), generator=torch.Generator().manual_seed(seed)) / 2
    count = weights.sum().clamp(min=1)
    results = []
    for split in (parts, [sum(parts)]):
        total, each = 0.0, []
        for h, t, w in zip(hidden.split(split), targets.split(split), weights.split(split), strict=True):
            part, losses = head_loss(h, head, t, w)
            (part / count).backward()
            total += float(part.detach())
            each.append(losses)
        results.append((total, torch.cat(each), grads(hidden, head)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-4)
    torch.testing.assert_close(results[0][1:], results[1][1:], atol=1e-5, rtol=1e-5)


def test_a_head_that_embeds_too_has_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.LOGITS_BYTES, "cpu", row_bytes(2))
    _, tied, tokens = made(9, 5)
    inputs, targets, weights = tokens[:-1], tokens[1:], torch.ones(8)
    F.cross_entropy(F.embedding(inputs, tied).tanh() @ tied.T, targets, reduction="sum").backward()
    (wanted,) = grads(tied)
    head_loss(F.embedding(inputs, tied).tanh(), tied, targets, weights)[0].backward()
    torch.testing.assert_close(grads(tied), [wanted])
    total = head_loss(F.embedding(inputs, tied).tanh(), tied, targets, weights)[0]
    (3 * total + head_loss(F.embedding(inputs, tied).tanh(), tied, targets, weights)[0]).backward()
    torch.testing.assert_close(grads(tied), [4 * wanted])


@pytest.mark.parametrize("frozen", ["hidden", "head"])
def test_one_side_may_be_frozen(frozen: str) -> None:
    sides = dict(zip(("hidden", "head"), made(5, 2)[:2], strict=True))
    targets, weights = made(5, 2)[2], torch.ones(5)
    head_loss(*sides.values(), targets, weights)[0].backward()
    other = sides.pop(frozen)
    (free,) = sides.values()
    other.grad, (wanted,) = None, grads(free)
    other.requires_grad_(False)
    both = (free, other) if frozen == "head" else (other, free)
    head_loss(*both, targets, weights)[0].backward()
    assert other.grad is None
    torch.testing.assert_close(grads(free), [wanted])


def test_targets_of_weight_0_are_not_looked_at() -> None:
    hidden, head, targets = made(6, 3)
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 0.5])
    with torch.no_grad():
        hidden[weights == 0] = float("nan")
    total, losses = head_loss(hidden, head, targets, weights)
    total.backward()
    assert (losses > 0).tolist() == weights.bool().tolist()
    of_hidden, of_head = grads(hidden, head)
    assert (of_hidden.abs().sum(-1) > 0).tolist() == weights.bool().tolist()
    assert of_head.isfinite().all()


def test_all_weights_0() -> None:
    hidden, head, targets = made(6, 3)
    total, losses = head_loss(hidden, head, targets, torch.zeros(6))
    total.backward()
    assert (float(total.detach()), losses.tolist()) == (0.0, [0.0] * 6)
    assert [float(grad.abs().max()) for grad in grads(hidden, head)] == [0.0, 0.0]


class Sizes(TorchDispatchMode):
    """Notes for how many targets any operation makes logits."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.shape[1:] == (VOCAB,) and len(result) != WIDTH:  # not head.T
            self.rows.add(len(result))
        return result


def test_no_more_logits_than_a_chunk_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.LOGITS_BYTES, "cpu", row_bytes(5))
    hidden, head, targets = made(20, 4)
    weights = torch.ones(20)
    weights[3] = weights[17] = 0.0
    with Sizes() as seen:
        head_loss(hidden, head, targets, weights)[0].backward()
    assert seen.rows == {5, 18 % 5}


def test_half_precision_logits_are_summed_in_float32() -> None:
    hidden, head, targets = made(9, 1)
    halves = [p.detach().bfloat16().requires_grad_() for p in (hidden, head)]
    total, losses = head_loss(*halves, targets, torch.ones(9))
    total.backward()
    assert (losses.dtype, total.dtype) == (torch.float32, torch.float32)
    expected = -(halves[0] @ halves[1].T).float().log_softmax(-1)[range(9), targets]
    torch.testing.assert_close(losses, expected.detach())
    F.cross_entropy(hidden @ head.T, targets, reduction="sum").backward()
    for half, whole in zip(grads(*halves), grads(hidden, head), strict=True):
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), whole, atol=0.05, rtol=0.05)


def test_a_head_in_bfloat16_has_gradients_added_up_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.LOGITS_BYTES, "cpu", 1)  # one target at a time, each of which adds a half
    hidden, head = torch.ones(2000, 1, dtype=torch.bfloat16), torch.zeros(2, 1, dtype=torch.bfloat16).requires_grad_()
    total, losses = head_loss(hidden, head, torch.ones(2000, dtype=torch.long), torch.ones(2000))
    total.backward()
    assert losses.dtype == torch.float32
    assert grads(head)[0].tolist() == [[1000.0], [-1000.0]]  # bfloat16 sums of halves end at 128
