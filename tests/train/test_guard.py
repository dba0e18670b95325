"""Nothing that is not finite reaches the weights."""

from math import inf, nan

import pytest

from aurora_m.core.errors import TrainError
from aurora_m.train.guard import check_finite


@pytest.mark.parametrize(("loss", "norm"), [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (-inf, nan)])
def test_the_rows_are_named(loss: float, norm: float) -> None:
    with pytest.raises(TrainError) as caught:
        check_finite(loss, norm, "cap", 7, range(24, 28))
    assert str(caught.value) == (
        f"error: the loss is {loss:g} and the gradient norm {norm:g}\n"
        "  at: cap, optimizer step 7, rows 24 to 27\n\n"
        "hint: lower `peak_lr` or lengthen `warmup`; the weights were not updated with this batch"
    )


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 0.0), (1e300, 1e300), (-1.0, 0.0)])
def test_finite_numbers_pass(loss: float, norm: float) -> None:
    check_finite(loss, norm, "cap", 1, range(1))
