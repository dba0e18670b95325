"""Intervals and tests equal values known by hand or from the literature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.evals.interval import holm, mcnemar, middle_95, resample


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (0, 5, 0.0625),
        (6, 0, 0.03125),
        (1, 9, 22 / 1024),
        (4, 4, 1.0),
        (3, 7, 352 / 1024),
    ],
)
def test_mcnemar(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == p


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_a_symmetric_p(lost: int, gained: int) -> None:
    assert 0 <= mcnemar(lost, gained) == mcnemar(gained, lost) <= 1


def test_holm() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([0.02, 0.02]) == [0.04, 0.04]


def test_resampling_has_the_error_of_the_mean() -> None:
    rows_NC = np.arange(200, dtype=np.float64)[:, None]
    means_R = resample(rows_NC, "a name", 4000)[:, 0] / 200
    assert means_R.mean() == pytest.approx(99.5, abs=0.3)
    assert means_R.std() == pytest.approx(rows_NC.std() / 200**0.5, rel=0.05)
    low, high = middle_95(means_R)
    assert high - low == pytest.approx(2 * 1.96 * means_R.std(), rel=0.05)


def test_resampling_is_named_by_its_seed() -> None:
    rows_NC = np.random.default_rng(0).normal(size=(30, 2))
    assert np.array_equal(resample(rows_NC, "a", 50), resample(rows_NC, "a", 50))
    assert not np.array_equal(resample(rows_NC, "a", 50), resample(rows_NC, "b", 50))


def test_columns_are_drawn_together() -> None:
    rows_NC = np.repeat(np.random.default_rng(0).normal(size=(40, 1)), 2, 1)
    sums_RC = resample(rows_NC, "a", 100)
    assert np.allclose(sums_RC[:, 0], sums_RC[:, 1])
