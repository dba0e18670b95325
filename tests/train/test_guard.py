"""The guard: what is bad is found against the last good steps, and leads to what the recipe asks for."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import TrainError
from aurora_m.core.facts import to_json
from aurora_m.train import curve as lines
from aurora_m.train.curve import Curve, Entry, EvalPoint, Rewind, Skip
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
    passed_over,
    undone,
)
from aurora_m.train.schedule import OptStep

START = EvalPoint({})
AT = "cap, optimizer step 7, rows 24 to 27"
BAD = [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (-inf, nan)]


def entry(loss: float, norm: float, tokens: int = 8, spike: str = "") -> Entry:
    return Entry(tokens, loss, 0.1, norm, {}, spike=spike, rows=(0, 1) if spike else None)


def good(count: int, loss: float = 3.0, norm: float = 1.0) -> Curve:
    """A curve whose losses and norms go up and down by a tenth."""
    signs = [(-1) ** n for n in range(1, count + 1)]
    return Curve(START, [entry(loss + 0.1 * s, norm - 0.1 * s, n) for n, s in enumerate(signs, 1)])


def step(warming: bool = False, rows: range = range(24, 28)) -> OptStep:
    return OptStep(7, rows, 8, 0.1, warming)


def judged(guard: Guard, curve: Curve, loss: float, norm: float, warming: bool = False) -> str:
    """What is wrong with a step, as the curve says."""
    found = guard.judge(curve, entry(loss, norm), step(warming), "cap").step
    return found.why if isinstance(found, Skip) else found.spike


@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_what_is_not_finite_stops(loss: float, norm: float) -> None:
    with pytest.raises(TrainError) as caught:
        judged(Guard(), Curve(START), loss, norm)
    assert str(caught.value) == (
        f"error: the loss is {loss:g} and the gradient norm {norm:g}\n"
        f"  at: {AT}\n\n"
        "hint: lower `peak_lr` or lengthen `warmup_tokens`; the weights were not updated with this batch"
    )


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 0.0), (1e300, 1e300), (-1.0, 0.0)])
def test_finite_numbers_never_stop(loss: float, norm: float) -> None:
    assert judged(Guard(), good(WINDOW), loss, norm) == ""


@pytest.mark.parametrize("action", ["skip", "rewind"])
@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_what_is_not_finite_has_no_update(action: str, loss: float, norm: float) -> None:
    verdict = Guard(action).judge(Curve(START), entry(loss, norm), step(True), "cap")
    assert not verdict.update
    assert lines.to_json(verdict.step) == {
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
    assert judged(guard, good(LEAST), loss, norm) == wrong
    assert judged(guard, good(LEAST - 1), loss, norm) == ""
    both = Curve(START, [*good(LEAST).steps, *good(WINDOW, 9.0, 9.0).steps])
    assert judged(guard, both, loss, norm) == ""
    assert judged(guard, good(LEAST), -loss, -norm) == ""  # a fall is none


def test_only_a_huge_spike_is_one_while_the_rate_rises() -> None:
    guard, curve = Guard("skip", 8.0), good(WINDOW)
    spread = 1.4826 * 0.1
    for above, expected in ((7, ("", "")), (9, ("loss", "")), (8 * WARMING + 1, ("loss", "loss"))):
        loss = 3.0 + above * spread + 0.1
        assert tuple(judged(guard, curve, loss, 1.0, warming) for warming in (False, True)) == expected


def test_bad_steps_are_not_what_others_are_measured_against() -> None:
    guard = Guard("rewind", 8.0)
    curve = good(LEAST)
    for _ in range(NEAR):
        verdict = guard.judge(curve, entry(9.0, 1.0), step(rows=range(2)), "cap")
        assert verdict.update
        assert verdict.step.rows == (0, 1)
        curve.add(verdict.step)
    assert judged(guard, curve, 9.0, 1.0) == "loss"


def bad_curve(count: int, apart: int = 1, kind: str = "spike") -> Curve:
    curve, bad = good(40), {"spike": entry(9.0, 1.0, spike="loss"), "skipped": Skip(1, 0.1, "loss", (0, 1))}
    for n in range(count):
        curve.steps[39 - n * apart] = bad[kind]
    return curve


def test_many_bad_steps_within_a_few_lead_back() -> None:
    guard = Guard("rewind")
    assert [guard.rewinds(bad_curve(count)) for count in range(MANY + 1)] == [False] * MANY + [True]
    assert guard.rewinds(bad_curve(MANY, (NEAR - 1) // (MANY - 1)))
    assert not guard.rewinds(bad_curve(MANY, NEAR // (MANY - 1)))
    assert not Guard("skip").rewinds(bad_curve(NEAR))
    passed = good(40)
    passed.steps[-5:] = [passed_over(step()) for _ in range(5)]
    assert not guard.rewinds(passed)


@given(st.sets(st.integers(1, 60)), st.integers(1, 60))
def test_a_checkpoint_is_never_later_than_a_step_that_a_rewind_undoes(bad: set[int], at: int) -> None:
    """Where a checkpoint may be written at `at`, no later rewind passes over a step that is in it."""
    guard = Guard("rewind")
    steps = [entry(9.0, 1.0, spike="loss" if n in bad else "") for n in range(1, 61)]
    if guard.saves(Curve(START, steps[:at])):
        for end in range(at + 1, 61):
            if guard.rewinds(Curve(START, steps[:end])):
                assert min(bad_steps(Curve(START, steps[:end]))) > at


def test_a_rewind_adds_to_what_is_passed_over_until_it_is_too_often() -> None:
    curve = bad_curve(3)
    curve.rewind = Rewind((7, 8), 1)
    assert undone(curve, AT) == Rewind((7, 8, 38, 39, 40), 2)
    curve.rewind = Rewind((7, 8), REWINDS)
    with pytest.raises(TrainError, match="rewound 10 times and would be again") as caught:
        undone(curve, AT)
    assert caught.value.at == AT


def test_skipping_without_end_is_an_error() -> None:
    guard = Guard("skip")
    assert judged(guard, bad_curve(MOST_SKIPPED - 1, kind="skipped"), nan, 1.0) == "not finite"
    with pytest.raises(TrainError, match="the last 16 steps were bad more than 8 times"):
        judged(guard, bad_curve(MOST_SKIPPED, kind="skipped"), nan, 1.0)


def test_facts() -> None:
    curve = bad_curve(2, kind="skipped")
    assert to_json(Guard().facts(curve)) == {}
    assert to_json(Guard("skip").facts(curve)) == {"skipped": [39, 40]}
    assert to_json(Guard("rewind").facts(curve)) == {"skipped": [39, 40], "rewinds": 0}
