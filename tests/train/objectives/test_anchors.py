"""Anchors: nothing where the model is the base, the gradients of plain autograd elsewhere, and less forgetting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tiny import KINDS, VOCAB, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from aurora_m.core.files import read_json
from aurora_m.model.forward import forward_hidden
from aurora_m.model.load import parameters
from aurora_m.tokens.rows import Row
from aurora_m.train.loss import head_loss
from aurora_m.train.objectives import anchors
from aurora_m.train.objectives.anchors import Distance, Divergence, head_kl

T, SIZE = 10, 7
WIDTH, WORDS = 4, 11


class Old:
    """Rows made from their index: two documents each, some targets without weight."""

    row_tokens = T

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Row:
        random = np.random.default_rng(index)
        weights = random.integers(0, 3, T).astype(np.float32) / 2
        start = 2 + index % 5
        positions = np.array([*range(start), *range(T - start)])
        return Row(random.integers(0, VOCAB, T + 1), positions, weights, "old", 0)


def divergence(base: Any, rows_a_step: int = 3, weight: float = 1.0, micro: int = 3, rows: Any = None) -> Divergence:
    return Divergence(base.requires_grad_(False), rows or Old(), rows_a_step, weight, micro)


def moved(kind: str) -> Any:
    """A tiny model a little away from the usual one."""
    model = tiny_model(kind)
    torch.manual_seed(11)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def made(count: int, seed: int) -> list[torch.Tensor]:
    """Hidden states and heads of a model and its base."""
    random = torch.Generator().manual_seed(seed)
    sizes = [(count, WIDTH), (WORDS, WIDTH)] * 2
    return [torch.randn(*size, generator=random).requires_grad_(at < 2) for at, size in enumerate(sizes)]


def plain_kl(ours: torch.Tensor, theirs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The same by torch's own functions."""
    each = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return (each * weights).sum()


# --- the divergence


@given(
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.5]), min_size=1, max_size=12),
    st.sampled_from([0, 1, 2, 5, 100]),
    st.integers(0, 1000),
)
def test_equal_to_plain_autograd(weights: list[float], rows: int, seed: int) -> None:
    hidden, head, base, base_head = made(len(weights), seed)
    weights_N = torch.tensor(weights)
    wanted = plain_kl(hidden @ head.T, base @ base_head.T, weights_N)
    grads = torch.autograd.grad(3 * wanted, (hidden, head))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(anchors.LOGITS_BYTES, "cpu", 8 * WORDS * rows + 3)
        total = head_kl(hidden, head, base, base_head, weights_N)
    torch.testing.assert_close(total, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(3 * total, (hidden, head)), grads, atol=1e-5, rtol=1e-5)


def test_by_hand() -> None:
    hidden = torch.tensor([[0.0]], requires_grad=True)
    base = torch.tensor([[np.log(3.0)]], dtype=torch.float32)
    head = torch.tensor([[1.0], [0.0]])
    total = head_kl(hidden, head, base, head, torch.ones(1))
    assert float(total.detach()) == pytest.approx(0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5))
    total.backward()
    assert hidden.grad is not None
    assert float(hidden.grad) == pytest.approx(0.5 - 0.75)


class Sizes(TorchDispatchMode):
    """Notes for how many targets any operation makes logits."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.shape[1:] == (WORDS,) and len(result) != WIDTH:  # not head.T
            self.rows.add(len(result))
        return result


def test_no_more_logits_than_a_chunk_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(anchors.LOGITS_BYTES, "cpu", 8 * WORDS * 5)
    weights = torch.ones(20)
    weights[3] = weights[17] = 0.0
    with Sizes() as seen:
        head_kl(*made(20, 4), weights).backward()
    assert seen.rows == {5, 18 % 5}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_where_the_model_is_the_base(kind: str) -> None:
    model = tiny_model(kind)  # without dropout, which would be a difference
    assert divergence(tiny_model(kind)).backward(model, 1) == 0.0
    assert all(float(p.grad.abs().max()) == 0.0 for p in model.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in model.parameters()) > 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("micro", [1, 2, 3])
def test_gradients_are_those_of_whole_logits(kind: str, micro: int) -> None:
    base, model, plain = tiny_model(kind), moved(kind), moved(kind)
    rows = [Old()[index] for index in (3, 4, 5)]
    tokens, positions, weights = (
        torch.from_numpy(np.stack([getattr(row, name) for row in rows])) for name in ("tokens", "positions", "weights")
    )
    logits = [each(input_ids=tokens[:, :-1], position_ids=positions, use_cache=False).logits for each in (plain, base)]
    wanted = plain_kl(logits[0], logits[1].detach(), weights) / weights.sum()
    (0.3 * wanted).backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        p.grad = torch.ones_like(p)  # what the loss left is not lost
        q.grad = torch.ones_like(q) if q.grad is None else q.grad + 1
    found = divergence(base, weight=0.3, micro=micro).backward(model, 2)
    assert found == pytest.approx(float(wanted.detach()), rel=1e-4)
    assert found > 0.01
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=2e-5, rtol=1e-4)
    assert all(p.grad is None for p in base.parameters())


def test_the_rows_follow_from_the_step_alone() -> None:
    held = divergence(tiny_model("llama"))

    def which(opt_step: int) -> list[int]:
        found = [row.tokens.tolist() for row in held.rows_of(opt_step)]
        return [next(n for n in range(SIZE) if Old()[n].tokens.tolist() == tokens) for tokens in found]

    assert [which(opt_step) for opt_step in (3, 1, 2)] == [[6, 0, 1], [0, 1, 2], [3, 4, 5]]
    assert (held.batch_tokens, held.reads) == (3 * T, parameters(tiny_model("llama")))


# --- the distance


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_that_of_all_weights(kind: str) -> None:
    base, model, plain = tiny_model(kind), moved(kind), moved(kind)
    held = Distance({name: p.detach().clone() for name, p in base.named_parameters()}, 0.2)
    pairs = zip(plain.parameters(), base.parameters(), strict=True)
    wanted = torch.stack([(p - q.detach()).square().sum() for p, q in pairs]).sum() / 2
    (0.2 * wanted).backward()
    first = next(iter(model.parameters()))
    first.grad = torch.ones_like(first)
    assert held.backward(model, 1) == pytest.approx(float(wanted.detach()), rel=1e-5)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad - float(p is first), q.grad)
    assert (held.batch_tokens, held.reads) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_distance_at_the_start(kind: str) -> None:
    model = tiny_model(kind)
    held = Distance({name: p.detach().clone() for name, p in model.named_parameters()}, 0.2)
    assert held.backward(model, 1) == 0.0
    assert all(float(p.grad.abs().max()) == 0.0 for p in model.parameters())


def test_two_processes_hold_a_model_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    import anchored
    from processes import start

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    anchored.variants(tmp_path / "one")
    for process in start(2, tmp_path / "two", script=Path(anchored.__file__)):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    for name in ("whole", "adapted"):
        curves = [read_json(tmp_path / folder / f"{name}.json")[1:] for folder in ("one", "two")]
        values = [[list(entry["anchor"].values()) for entry in curve] for curve in curves]
        assert values[0][0] == values[1][0] == [0.0] * len(values[0][0])
        np.testing.assert_allclose(values[0], values[1], rtol=1e-4)
        states = [torch.load(tmp_path / folder / f"{name}.pt") for folder in ("one", "two")]
        for key, weight in states[0].items():
            torch.testing.assert_close(states[1][key], weight, atol=1e-4, rtol=1e-4)


# --- what it is for


def counting(step: int, first: int, rows: int) -> list[Row]:
    """Rows of tokens, each `step` above the one before: of the lower half of the vocabulary, or by 7, the upper."""
    half = VOCAB // 2
    starts = np.random.default_rng(first).integers(0, half, (rows, 1))
    tokens = (starts + step * np.arange(T + 1)) % half + (half if step == 7 else 0)
    return [Row(row, np.arange(T), np.ones(T, np.float32), "s", 0) for row in tokens]


def loss(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    hidden, targets, weights = forward_hidden(model, rows)
    total, _ = head_loss(hidden, model.get_output_embeddings().weight, targets, weights)
    return total / weights.sum()


def learn(model: Any, step: int, held: Any = None) -> None:
    """Learn to count by `step`, whatever came before."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for number in range(1, 31):
        loss(model, counting(step, number, 8)).backward()
        if held:
            held.backward(model, number)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def test_old_text_is_forgotten_without_an_anchor_and_kept_with_one() -> None:
    base = tiny_model("llama")
    learn(base, 1)
    tests = counting(1, 10**6, 32), counting(7, 10**6, 32)

    class Some(Old):
        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> Row:
            return counting(1, 10**5 + index, 1)[0]

    def losses(model: Any) -> tuple[float, ...]:
        with torch.no_grad():
            return tuple(float(loss(model, rows)) for rows in tests)

    start, found = losses(base), {}
    for weight in (0.0, 0.1, 1.0):
        model = tiny_model("llama")
        model.load_state_dict(base.state_dict())
        learn(model, 7, divergence(base, 4, weight, 4, Some()) if weight else None)
        found[weight] = losses(model)
    rises = {weight: old - start[0] for weight, (old, _) in found.items()}
    assert rises[0.0] > 1.0, found
    assert rises[0.1] < 0.5 * rises[0.0], found
    assert rises[1.0] < 0.5 * rises[0.1], found
    assert all(new < 0.1 * start[1] for _, new in found.values()), found
