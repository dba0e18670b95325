"""The forgetting budget: the rise is against the base, and what follows is a function of the curve alone."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import Waiting
from aurora_m.core.facts import to_json
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.tokens.rows import Interleaved, taken
from aurora_m.train.budget import MOST, STEP, Budget
from aurora_m.train.curve import Curve, Entry, EvalPoint

BASE = {"en": 2.0, "code": 1.0}


class Named:
    """Rows that are their own names."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> Any:
        return f"{self.name}{index}"


def measure(en: float, code: float = 1.0) -> dict[str, float]:
    return {"en": en, "code": code, "fi": 9.0}


def entry(tokens: int, point: EvalPoint | None = None) -> Entry:
    return Entry(tokens, 1.0, 0.1, 1.0, {}, eval_point=point)


def curve_of(*points: EvalPoint | None) -> Curve:
    """A step of 40 tokens for each, and its evaluation point."""
    return Curve(EvalPoint({}), [entry(40 * number, point) for number, point in enumerate(points, 1)])


def test_without_a_base_there_is_none() -> None:
    assert Budget().evaluate(measure(9.0), curve_of()) == EvalPoint(measure(9.0))
    assert to_json(Budget().facts(curve_of(), 1, 1)) == {}
    assert Budget().metadata() == {}


def test_the_rise_is_against_the_base_and_only_more_than_the_budget_is_over() -> None:
    budget = Budget(0.05, "warn", BASE)
    within, over = measure(2.1, 0.9), measure(2.1002, 1.2)
    assert budget.evaluate(within, curve_of()) == EvalPoint(within, {"en": 0.05, "code": -0.1})
    assert budget.evaluate(over, curve_of()) == EvalPoint(over, {"en": 0.0501, "code": 0.2}, ("en", "code"))
    assert budget.metadata() == {"max_old_rise": 0.05, "then": "warn", "base": BASE}


def test_warn_says_so_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = Budget(0.05, "warn", BASE)
    work = Work(tmp_path, tmp_path, Runtime(tmp_path), Log(tmp_path / "events"))
    for en in (2.0, 2.2):
        curve = curve_of(budget.evaluate(measure(en), curve_of()))
        budget.warn(work, "cap", curve)
        budget.raise_if_paused("cap", curve)
    assert capsys.readouterr().err == "  cap: bits per byte rose over the base by more than 5%: `en` +10.0%\n"
    assert (tmp_path / "events").read_text().count("over_budget") == 1


def test_pause_waits_for_people() -> None:
    budget = Budget(0.05, "pause", BASE)
    budget.raise_if_paused("cap", curve_of(budget.evaluate(measure(2.0), curve_of())))
    budget.raise_if_paused("cap", curve_of(None))
    curve = curve_of(budget.evaluate(measure(2.2), curve_of()))
    with pytest.raises(Waiting) as caught:
        budget.raise_if_paused("cap", curve)
    assert (caught.value.exit_code, caught.value.at) == (3, "cap, after 40 tokens")
    assert caught.value.what == "bits per byte rose over the base by more than 5%: `en` +10.0%"
    assert "--go-on" in caught.value.hint


def test_raise_takes_more_replay_at_each_mark_over_the_budget_up_to_the_most() -> None:
    budget = Budget(0.05, "raise", BASE, Named("old"))
    curve = curve_of()
    for en in (2.0, 2.2, 2.0, 2.2, 2.2, 2.2):
        curve.add(entry(40 * curve.done, budget.evaluate(measure(en), curve)))
    points = [point for _, point in curve.eval_points()[1:]]
    assert [point.raised for point in points] == [None, STEP, None, 2 * STEP, MOST, MOST]
    assert "10% of the rows are replay from here on" in budget._words(points[1])
    assert to_json(budget.facts(curve, 60, 10)) == {
        "old_rise": {"en": 0.1, "code": 0.0},
        "marks_over": 4,
        "raised": {"rows": 2 + 2 + 3, "share": round(7 / 60, 6)},
    }


def test_rows_are_those_of_the_mixture_until_the_first_raise() -> None:
    budget, rows = Budget(0.05, "raise", BASE, Named("old")), Named("row")
    curve = curve_of(None, EvalPoint({}, raised=0.25), None)
    assert budget.rows(rows, curve_of(None), 10) is rows
    read = budget.rows(rows, curve, 10)
    found = [read[index] for index in range(40)]
    assert found[:20] == [f"row{index}" for index in range(20)]
    assert [index for index in range(40) if found[index].startswith("old")] == [23, 27, 31, 35, 39]
    assert [found[index] for index in (23, 27, 31)] == ["old0", "old1", "old2"]
    assert found[24] == "row24"  # the others keep their places: one row in four is replaced


RAISES = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([0.1, 0.2, 0.3])), min_size=1, max_size=3, unique_by=lambda r: r[0]
)


@given(RAISES, st.integers(0, 400))
def test_shares_are_exact_and_every_replayed_row_is_read_once(raises: list[tuple[int, float]], index: int) -> None:
    raises.sort()
    rows = Interleaved[str](Named("row"), Named("old"), raises)
    read = [rows[n] for n in range(index)]
    old = [name for name in read if name.startswith("old")]
    assert old == [f"old{n}" for n in range(taken(raises, index))]
    assert [name for n, name in enumerate(read) if name == f"row{n}"] == [n for n in read if n.startswith("row")]
    shares = [Fraction(next((s for first, s in reversed(raises) if first <= n), 0)) for n in range(index)]
    assert len(old) == int(sum(share.limit_denominator(1000) for share in shares))
