"""The guard: what is bad is found against the last good steps, and leads to what the recipe asks for."""

from collections.abc import Sequence
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import training

from aurora_m.core.errors import TrainError
from aurora_m.core.facts import to_json
from aurora_m.train import curve as lines
from aurora_m.train.curve import CALM, Curve, Entry, EvalPoint, Rewind, Skip
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
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import OptStep, Schedule

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
def test_one_finite_number_never_stops(loss: float, norm: float) -> None:
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
    both = Curve(START, [*good(LEAST, 6.5).steps, *good(WINDOW, 9.0, 9.0).steps])
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


# --- a loss that runs away


def fed(losses: Sequence[float], guard: Guard) -> int:
    """How many of these losses a guard lets pass."""
    curve = Curve(START)
    for number, loss in enumerate(losses):
        try:
            verdict = guard.judge(curve, entry(loss, 1.0, number), step(), "cap")
        except TrainError:
            return number
        curve.add(verdict.step)
    return len(losses)


AROUND = [2.5 + 0.3 * (-1) ** n for n in range(40)]
AWAY = {
    "at once": ([8.7, *[317.0] * 20], 9),
    "little by little": ([*AROUND, *(2.5 + 0.2 * n for n in range(200))], 40 + 25),
    "to another level, below that of a uniform guess": ([*AROUND, *[7.5] * 20], 48),
    "to a plateau, where it knows no more than how often a token is": ([*AROUND, *[6.2] * 20], 48),
    "from next to nothing": ([*[0.05] * 40, *[2.5] * 20], 48),
    "and swings": ([*AROUND, *[9.0, 3.0, 9.0] * 10], 52),
}
HEALTHY = {
    "falls from that of a uniform guess": [10.8 / (1 + n / 20) + 0.4 * (-1) ** n for n in range(300)],
    "spikes, once for long": [*AROUND, *[9.0] * 8, *AROUND, *[40.0] * 5, *AROUND, *[300.0], *AROUND],
    "rises as the rate does": [*AROUND, *(2.5 + n / 20 for n in range(30)), *[3.9] * 50],
    "is of two kinds of rows": [(0.1, 3.4)[(n * n // 7) % 2] for n in range(300)],
    "falls to nothing": [*(3.0 * 0.9**n for n in range(200)), *[0.9] * 40],
    "is next to nothing where rows are repeated, and others come": [*[0.05, 0.03] * 20, *[0.05, 1.4, 1.9] * 40],
    "begins with an easy row": [0.05, *[4.5 + 0.3 * (-1) ** n for n in range(60)]],
}


@pytest.mark.parametrize("action", ["stop", "skip", "rewind"])
@pytest.mark.parametrize("how", AWAY)
def test_a_loss_that_runs_away_stops(how: str, action: str) -> None:
    losses, passed = AWAY[how]
    assert fed(losses, Guard(action, spike=1e9)) == passed


@pytest.mark.parametrize("how", HEALTHY)
def test_a_healthy_loss_does_not_stop(how: str) -> None:
    assert fed(HEALTHY[how], Guard()) == len(HEALTHY[how])


def test_what_is_said_of_a_loss_that_runs_away() -> None:
    with pytest.raises(TrainError) as caught:
        Guard(patience=1).judge(good(CALM), entry(30.0, 1.0), step(), "cap")
    assert str(caught.value) == (
        "error: the loss runs away: it was 2.9, and is 30 at a learning rate of 0.1\n"
        f"  at: {AT}\n\n"
        "hint: lower `peak_lr`, or lengthen `warmup_tokens`: this model will not come back"
    )


def test_a_rewound_curve_forgets_what_it_lost() -> None:
    curve, before = good(40, 3.0), good(20, 5.0)
    curve.go_back(before, Rewind((30,), 1))
    curve.add(entry(4.0, 1.0))
    wanted = Curve(START, [*good(20, 5.0).steps, entry(4.0, 1.0)], Rewind((30,), 1))
    assert vars(curve) == vars(wanted)


def test_short_stages_have_less_patience() -> None:
    patience = {
        steps: Plan(training(16, 2), 1, steps, Schedule("constant", 1, 1, 0, 1)).guard.patience
        for steps in (1, 16, 36, 9999)
    }
    assert patience == {1: 3, 16: 4, 36: 9, 9999: 9}
