"""The average of weights: that of torch, not moved by what had no update, and back in its place after a look."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aurora_m.train.average import Average, Share, averaged, averages, moving, swap_averages, wsm_weight


def random(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,))]


def moved(params: list[torch.Tensor], seed: int) -> None:
    with torch.no_grad():
        for p, value in zip(params, random(seed), strict=True):
            p.copy_(value)


def test_equal_to_torchs() -> None:
    module = torch.nn.ParameterList(random(0))
    params = list(module.parameters())
    average, theirs = Average(params, moving(0.9)), AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for seed in range(1, 6):
        moved(params, seed)
        average.step()
        theirs.update_parameters(module)
    average.swap()
    for p, other in zip(params, theirs.module.parameters(), strict=True):
        torch.testing.assert_close(p, other, rtol=1e-6, atol=1e-7)


def decayed(gradients: list[torch.Tensor], first: int, last: int) -> torch.Tensor:
    """SGD whose rate decays by 1 - sqrt over the updates after `first`; the gradients do not depend on the weights."""
    weights = torch.zeros_like(gradients[0])
    for number, gradient in enumerate(gradients, 1):
        left = max(number - first, 0) / (last - first + 1)
        weights -= 0.1 * (1 - left**0.5) * gradient
    return weights


def constant(gradients: list[torch.Tensor], share: Share) -> torch.Tensor:
    """SGD at a constant rate, and the average of its weights."""
    weights = torch.zeros_like(gradients[0])
    average = Average([weights], share)
    for gradient in gradients:
        weights -= 0.1 * gradient
        average.step()
    average.swap()
    return weights


@pytest.mark.parametrize(("updates", "first"), [(1, 1), (2, 1), (10, 7), (40, 30), (40, 39)])
def test_a_merge_is_a_decay_where_gradients_are_frozen(updates: int, first: int) -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(updates)]
    wanted = decayed(gradients, first, updates)
    torch.testing.assert_close(constant(gradients, wsm_weight(first)), wanted, rtol=0, atol=1e-9)
    plain = constant(gradients, lambda before: 1 / max(before + 2 - first, 1))
    assert torch.allclose(plain, wanted, atol=1e-3) == (updates == first)  # a mean of all is another decay


def test_by_hand_and_back() -> None:
    params = [p.requires_grad_() for p in random(0)]
    frozen = torch.ones(2)
    (average,) = made = averages([*params, frozen], moving(0.75))
    with averaged(made):
        assert all(torch.equal(p, q) for p, q in zip(params, random(0), strict=True))  # there is no average yet
    moved(params, 1)
    average.step()
    moved(params, 2)
    average.step()
    with averaged(made):
        for p, one, two in zip(params, random(1), random(2), strict=True):
            torch.testing.assert_close(p.detach(), 0.75 * one + 0.25 * two)
    assert all(torch.equal(p, q) for p, q in zip(params, random(2), strict=True))
    swap_averages(made)
    assert not torch.equal(params[0], random(2)[0])
    assert torch.equal(frozen, torch.ones(2))


def test_a_look_that_fails_puts_the_weights_back() -> None:
    params = [p.requires_grad_() for p in random(0)]
    made = averages(params, moving(0.5))
    for seed in (1, 2):
        moved(params, seed)
        made[0].step()
    with pytest.raises(KeyError), averaged(made):
        raise KeyError
    assert all(torch.equal(p, q) for p, q in zip(params, random(2), strict=True))


def test_none_unless_asked_for() -> None:
    assert averages(random(0), None) == []
    with averaged([torch.optim.SGD([torch.ones(1, requires_grad=True)])]):
        pass
