"""Muon: updates of known singular values, equal to the same written with a singular value decomposition."""

from io import BytesIO

import pytest
import torch

from aurora_m.train.muon import ITERATIONS, QUINTIC, Muon, orthogonal

SHAPES = [(3, 16, 40), (3, 40, 16), (2, 24, 24), (1, 1, 8)]  # wide, tall, square, a row


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def matrices(shape: tuple[int, ...]) -> torch.Tensor:
    """Matrices of large and small singular values, each of another size."""
    left, values, right = torch.linalg.svd(random(*shape), full_matrices=False)
    values = torch.linspace(1, 0.05, values.shape[-1]) * torch.tensor([1e-4, 1.0, 1e4])[: shape[0], None]
    return left @ torch.diag_embed(values) @ right


def by_decomposition(matrix: torch.Tensor) -> torch.Tensor:
    """What the iteration does to a matrix, done to its singular values, in float64."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize("shape", SHAPES)
def test_all_singular_values_come_near_1(shape: tuple[int, ...]) -> None:
    values = torch.linalg.svdvals(orthogonal(matrices(shape)))
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_keeps_its_directions_in_any_company(shape: tuple[int, ...]) -> None:
    given = matrices(shape)
    together = orthogonal(given)
    assert together.shape == shape
    for one, matrix in zip(together, given, strict=True):
        torch.testing.assert_close(one, orthogonal(matrix[None])[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(one.double(), by_decomposition(matrix), atol=1e-3, rtol=0)


def test_a_matrix_of_zeros_stays_so_and_harms_no_other() -> None:
    given = torch.stack([torch.zeros(6, 9), random(6, 9)])
    zeros, other = orthogonal(given)
    assert zeros.abs().max() == 0
    torch.testing.assert_close(other.double(), by_decomposition(given[1]), atol=1e-3, rtol=0)


LRS, DECAY, MOMENTUM = (0.1, 0.03, 0.02), 0.3, 0.9


def parameters() -> list[torch.Tensor]:
    """Two of one shape and one of another between them."""
    return [random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate([(8, 20), (12, 6), (8, 20)])]


def gradients(step: int) -> list[torch.Tensor]:
    return [random(*p.shape, seed=10 * step + number) for number, p in enumerate(parameters(), 1)]


def updated(params: list[torch.Tensor], optimizer: torch.optim.Optimizer, steps: range) -> list[torch.Tensor]:
    for step in steps:
        for p, grad in zip(params, gradients(step), strict=True):
            p.grad = grad.clone()
        optimizer.param_groups[0]["lr"] = LRS[step]
        optimizer.step()
    return [p.detach() for p in params]


def test_updates_by_hand() -> None:
    params = parameters()
    updated(params, Muon(params, DECAY, MOMENTUM), range(len(LRS)))
    for number, p in enumerate(params):
        weight = parameters()[number].detach().double()
        velocity = torch.zeros_like(weight)
        for step, lr in enumerate(LRS):
            grad = gradients(step)[number].double()
            velocity = MOMENTUM * velocity + grad  # as in the paper; ours is smaller, which the iteration undoes
            update = by_decomposition(grad + MOMENTUM * velocity)
            weight = weight - lr * DECAY * weight - lr * 0.2 * max(weight.shape) ** 0.5 * update
        torch.testing.assert_close(p.detach().double(), weight, atol=1e-4, rtol=0)


def test_updates_equal_those_of_torch() -> None:
    params, others = parameters(), parameters()
    about = {"weight_decay": DECAY, "momentum": MOMENTUM}
    found = updated(params, Muon(params, **about), range(len(LRS)))
    torchs = torch.optim.Muon(others, **about, adjust_lr_fn="match_rms_adamw")
    expected = updated(others, torchs, range(len(LRS)))
    for one, two, start in zip(found, expected, parameters(), strict=True):
        assert (one - two).norm() < 0.02 * (two - start).norm()  # torch computes in bfloat16


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32)])
def test_an_update_is_as_large_as_one_of_adamw(shape: tuple[int, int]) -> None:
    p = torch.zeros(shape, requires_grad=True)
    p.grad = 1e-3 * random(*shape)
    optimizer = Muon([p], 0.0)
    optimizer.step()
    assert p.abs().max() == 0  # until the loop sets a rate, nothing moves
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert float(p.detach().square().mean().sqrt()) == pytest.approx(0.5 * 0.2, rel=0.25)


def test_what_has_no_gradient_does_not_move() -> None:
    params = parameters()
    optimizer = Muon(params, DECAY)
    params[1].grad, params[2].grad = gradients(0)[1:]
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert [torch.equal(p, before) for p, before in zip(params, parameters(), strict=True)] == [True, False, False]
    assert set(optimizer.state) == set(params[1:])


def test_a_state_comes_back_bit_for_bit() -> None:
    params = parameters()
    whole = updated(params, Muon(params, DECAY), range(3))
    params = parameters()
    first = Muon(params, DECAY)
    updated(params, first, range(2))
    file = BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Muon(params, 0.0)  # its settings come back, too
    second.load_state_dict(torch.load(file, weights_only=True))
    for one, two in zip(updated(params, second, range(2, 3)), whole, strict=True):
        assert torch.equal(one, two)
