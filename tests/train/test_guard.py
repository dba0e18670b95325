"""The guard: what is bad is found against the last good steps, and leads to what the recipe asks for."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import TrainError
from aurora_m.train.guard import (
    LEAST,
    MANY,
    MOST_SKIPPED,
    NEAR,
    REWINDS,
    WARMING,
    WINDOW,
    Guard,
    bad_steps,
    deviations,
    skipped,
    undone,
)

START: dict[str, Any] = {"tokens": 0, "measure": None}
AT = "cap, optimizer step 7, rows 24 to 27"
BAD = [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (-inf, nan)]


def good(count: int, loss: float = 3.0, norm: float = 1.0) -> list[Any]:
    """A curve whose losses and norms go up and down by a tenth."""
    signs = [(-1) ** n for n in range(1, count + 1)]
    return [START, *({"tokens": n, "loss": loss + 0.1 * s, "norm": norm - 0.1 * s} for n, s in enumerate(signs, 1))]


@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_what_is_not_finite_stops(loss: float, norm: float) -> None:
    with pytest.raises(TrainError) as caught:
        Guard().judge([START], loss, norm, False, AT)
    assert str(caught.value) == (
        f"error: the loss is {loss:g} and the gradient norm {norm:g}\n"
        f"  at: {AT}\n\n"
        "hint: lower `peak_lr` or lengthen `warmup`; the weights were not updated with this batch"
    )


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 0.0), (1e300, 1e300), (-1.0, 0.0)])
def test_finite_numbers_never_stop(loss: float, norm: float) -> None:
    assert Guard().judge(good(WINDOW), loss, norm, False, AT) == ""


@pytest.mark.parametrize("action", ["skip", "rewind"])
@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_what_is_not_finite_has_no_update(action: str, loss: float, norm: float) -> None:
    guard = Guard(action)
    wrong = guard.judge([START], loss, norm, True, AT)
    assert wrong == "not finite"
    assert not guard.updates(wrong)
    entry = guard.noted({"tokens": 8, "lr": 0.1, "loss": loss, "norm": norm, "by_source": {}}, wrong, range(24, 28))
    assert entry == {
        **{"tokens": 8, "lr": 0.1, "skipped": "not finite", "rows": [24, 27]},
        "found": f"loss {loss:g}, gradient norm {norm:g}",
    }


def test_deviations_by_hand() -> None:
    assert deviations(7.0, [1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(4 / 1.4826)
    assert deviations(3.3, [3.0] * 9) == pytest.approx(0.3 / (0.02 * 3.0))
    assert deviations(2.0, [3.0, 3.5, 4.0]) < 0
    assert deviations(1.0, [0.0] * 9) > 1e9


@pytest.mark.parametrize(("loss", "norm", "wrong"), [(3.0, 1.0, ""), (9.0, 1.0, "loss"), (3.0, 9.0, "norm")])
def test_a_spike_is_far_above_the_last_good_steps(loss: float, norm: float, wrong: str) -> None:
    guard = Guard("skip", 8.0)
    assert guard.judge(good(LEAST), loss, norm, False, AT) == wrong
    assert guard.judge(good(LEAST - 1), loss, norm, False, AT) == ""
    assert guard.judge([*good(LEAST), *good(WINDOW, 9.0, 9.0)[1:]], loss, norm, False, AT) == ""
    assert guard.judge(good(LEAST), -loss, -norm, False, AT) == ""  # a fall is none


def test_only_a_huge_spike_is_one_while_the_rate_rises() -> None:
    guard, curve = Guard("skip", 8.0), good(WINDOW)
    spread = 1.4826 * 0.1
    for above, expected in ((7, ("", "")), (9, ("loss", "")), (8 * WARMING + 1, ("loss", "loss"))):
        loss = 3.0 + above * spread + 0.1
        assert tuple(guard.judge(curve, loss, 1.0, warming, AT) for warming in (False, True)) == expected


def test_bad_steps_are_not_what_others_are_measured_against() -> None:
    guard = Guard("rewind", 8.0)
    curve = good(LEAST)
    for _ in range(NEAR):
        curve.append(guard.noted({"tokens": 1, "lr": 0.1, "loss": 9.0, "norm": 1.0}, "loss", range(2)))
        assert curve[-1]["rows"] == [0, 1]
    assert guard.judge(curve, 9.0, 1.0, False, AT) == "loss"


def bad_curve(count: int, apart: int = 1, kind: str = "spike") -> list[Any]:
    curve = good(40)
    for n in range(count):
        curve[40 - n * apart][kind] = "loss"
    return curve


def test_many_bad_steps_within_a_few_lead_back() -> None:
    guard = Guard("rewind")
    assert [guard.rewinds(bad_curve(count)) for count in range(MANY + 1)] == [False] * MANY + [True]
    assert guard.rewinds(bad_curve(MANY, (NEAR - 1) // (MANY - 1)))
    assert not guard.rewinds(bad_curve(MANY, NEAR // (MANY - 1)))
    assert not Guard("skip").rewinds(bad_curve(NEAR))
    passed = good(40)
    passed[-5:] = [skipped(n, 0.1, "passed over", range(2)) for n in range(5)]
    assert not guard.rewinds(passed)


@given(st.sets(st.integers(1, 60)), st.integers(1, 60))
def test_a_checkpoint_is_never_later_than_a_step_that_a_rewind_undoes(bad: set[int], at: int) -> None:
    """Where a checkpoint may be written at `at`, no later rewind passes over a step that is in it."""
    guard = Guard("rewind")
    curve = [START, *({"spike": "loss"} if n in bad else {} for n in range(1, 61))]
    if guard.saves(curve[: at + 1]):
        for end in range(at + 1, 61):
            if guard.rewinds(curve[: end + 1]):
                assert min(bad_steps(curve[: end + 1])) > at


def test_a_rewind_adds_to_what_is_passed_over_until_it_is_too_often() -> None:
    curve = bad_curve(3)
    curve[0] = {**START, "passed_over": [7, 8], "rewinds": 1}
    assert undone(curve, AT) == {"passed_over": [7, 8, 38, 39, 40], "rewinds": 2}
    curve[0]["rewinds"] = REWINDS
    with pytest.raises(TrainError, match="rewound 10 times and would be again") as caught:
        undone(curve, AT)
    assert caught.value.at == AT


def test_skipping_without_end_is_an_error() -> None:
    guard = Guard("skip")
    assert guard.judge(bad_curve(MOST_SKIPPED - 1, kind="skipped"), nan, 1.0, False, AT) == "not finite"
    with pytest.raises(TrainError, match="the last 16 steps were bad more than 8 times"):
        guard.judge(bad_curve(MOST_SKIPPED, kind="skipped"), nan, 1.0, False, AT)


def test_facts() -> None:
    curve = bad_curve(2, kind="skipped")
    assert Guard().facts(curve) == {}
    assert Guard("skip").facts(curve) == {"skipped": [39, 40]}
    assert Guard("rewind").facts(curve) == {"skipped": [39, 40], "rewinds": 0}
