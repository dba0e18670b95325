"""Learning rates at points computed by hand, monotone pieces, and no jumps."""

from dataclasses import replace
from itertools import pairwise
from math import cos, log, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.train.schedule import Schedule

KINDS = ("cosine", "wsd", "infinite", "constant")
COSINE = Schedule("cosine", 1.0, 0.1, 100, 1100)
WSD = Schedule("wsd", 1.0, 0.1, 100, 1000, 0.2)
CONSTANT = Schedule("constant", 1.0, 0.1, 100, 1000)
INFINITE = Schedule("infinite", 1.0, 0.01, 100, 1000, 0.1, 0.25, 400)


@pytest.mark.parametrize(
    ("schedule", "tokens", "lr"),
    [
        (COSINE, 0, 0.0), (COSINE, 50, 0.5), (COSINE, 100, 1.0), (COSINE, 350, 0.1 + 0.9 * (1 + sqrt(0.5)) / 2),
        (COSINE, 600, 0.55), (COSINE, 850, 0.1 + 0.9 * (1 - sqrt(0.5)) / 2), (COSINE, 1100, 0.1), (COSINE, 2000, 0.1),
        (WSD, 25, 0.25), (WSD, 100, 1.0), (WSD, 799, 1.0), (WSD, 800, 1.0), (WSD, 900, 0.55), (WSD, 1000, 0.1),
        (WSD, 2000, 0.1), (CONSTANT, 10, 0.1), (CONSTANT, 100, 1.0), (CONSTANT, 1000, 1.0),
        (INFINITE, 50, 0.5), (INFINITE, 100, 1.0), (INFINITE, 200, 0.25 + 0.75 * (1 + sqrt(0.5)) / 2),
        (INFINITE, 300, 0.625), (INFINITE, 500, 0.25), (INFINITE, 899, 0.25), (INFINITE, 900, 0.25),
        (INFINITE, 950, sqrt(0.25 * 0.01)), (INFINITE, 1000, 0.01), (INFINITE, 5000, 0.01),
    ],
)  # fmt: skip
def test_points_by_hand(schedule: Schedule, tokens: int, lr: float) -> None:
    assert schedule.lr(tokens) == pytest.approx(lr, abs=1e-12)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    peak = draw(st.floats(1e-6, 1e-1))
    total = draw(st.integers(1, 5000))
    warmup = draw(st.integers(0, total + 10))
    share = draw(st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)))
    kind = draw(st.sampled_from(KINDS))
    end = draw(st.floats(0.01 if kind == "infinite" else 0, 1)) * peak
    held = end + draw(st.floats(0, 1)) * (peak - end)
    return Schedule(kind, peak, end, warmup, total, share, held, draw(st.integers(0, total)))


@given(schedules())
def test_up_then_down_within_its_bounds(schedule: Schedule) -> None:
    peak, end, warmup, total = schedule.peak_lr, schedule.end_lr, schedule.warmup, schedule.total
    rates = [schedule.lr(tokens) for tokens in range(total + 1)]
    up, down = rates[: warmup + 1], rates[warmup:]
    assert up == sorted(up)
    assert all(b <= a + 1e-12 * peak for a, b in pairwise(down))
    assert max(rates) <= peak * (1 + 1e-12)
    assert min(down, default=end) >= end - 1e-12 * peak
    if warmup <= total:
        assert rates[warmup] == pytest.approx(peak)


@given(schedules())
def test_no_jumps(schedule: Schedule) -> None:
    begin = schedule.warmup
    if schedule.kind == "wsd":
        begin = max(begin, int(schedule.total * (1 - schedule.decay_share)))
    steepest = max(1 / max(schedule.warmup, 1), pi / 2 / max(schedule.total - begin - 1, 1)) * schedule.peak_lr
    if schedule.kind == "infinite":  # the wave and, as steep as its logarithm, the annealing
        decay = schedule.total - max(schedule.warmup, int(schedule.total * (1 - schedule.decay_share)))
        steepest = max(1 / max(schedule.warmup, 1), pi / 2 / max(schedule.cooldown, 1)) * schedule.peak_lr
        steepest += log(schedule.peak_lr / schedule.end_lr) / max(decay - 1, 1) * schedule.peak_lr
    rates = [schedule.lr(tokens) for tokens in range(schedule.total + 1)]
    assert all(abs(b - a) <= steepest * (1 + 1e-9) for a, b in pairwise(rates))


@given(schedules())
def test_the_last_update_uses_the_end(schedule: Schedule) -> None:
    room = schedule.total - schedule.warmup
    if schedule.kind in ("wsd", "infinite"):
        room = min(room, int(schedule.total * schedule.decay_share))
    if schedule.kind != "constant" and room >= 1:
        assert schedule.lr(schedule.total) == pytest.approx(schedule.end_lr)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warmup_as_long_as_the_stage_ends_at_the_peak(kind: str) -> None:
    schedule = Schedule(kind, 0.5, 0.1, 100, 100, constant_lr=0.2)
    assert [schedule.lr(tokens) for tokens in (0, 50, 100)] == [0.0, 0.25, 0.5]


def test_a_wsd_decay_waits_for_the_warmup() -> None:
    schedule = Schedule("wsd", 1.0, 0.0, 500, 1000, 0.9)
    assert [schedule.lr(tokens) for tokens in (250, 500, 750, 1000)] == [0.5, 1.0, 0.5, 0.0]


def test_rewarming_starts_every_stage_from_0() -> None:
    assert [Schedule("cosine", 1.0, 0.1, 4, 100).lr(tokens) for tokens in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Schedule("cosine", 1.0, 0.1, 0, 100).lr(1) == pytest.approx(0.1 + 0.45 * (1 + cos(pi / 100)))


@given(schedules(), st.integers(0, 5000), st.integers(0, 5000))
def test_a_later_stage_takes_its_part_of_the_same_curve(whole: Schedule, taken: int, tokens: int) -> None:
    later = replace(whole, offset=taken)
    assert later.lr(tokens) == whole.lr(taken + tokens)
    assert later.warming(tokens) == (taken + tokens <= whole.warmup)


def test_the_curve_of_aurora_m() -> None:
    batch = 2048 * 2048
    curve = Schedule("cosine", 1e-4, 1e-5, 2_000 * batch, 120_000 * batch)
    cat = replace(curve, offset=90_000 * batch)
    assert [curve.lr(step * batch) for step in (0, 1_000, 2_000)] == [0.0, pytest.approx(5e-5), pytest.approx(1e-4)]
    assert curve.lr(61_000 * batch) == pytest.approx(5.5e-5)
    assert cat.lr(0) == curve.lr(90_000 * batch) == pytest.approx(1e-5 + 4.5e-5 * (1 + cos(pi * 88 / 118)))
    assert cat.lr(13_900 * batch) == curve.lr(103_900 * batch) > 1e-5
    assert cat.lr(30_000 * batch) == 1e-5


def test_an_infinite_curve_need_not_end() -> None:
    held = replace(INFINITE, decay_share=0.0)
    assert [held.lr(tokens) for tokens in (500, 1000, 10**9)] == [0.25] * 3
