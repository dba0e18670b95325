"""The forgetting budget: the rise is against the base, and what follows is a function of the curve alone."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import Waiting
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.train.budget import MOST, STEP, Budget, Raised, taken

BASE = {"en": 2.0, "code": 1.0}


class Named:
    """Rows that are their own names."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> Any:
        return f"{self.name}{index}"


def mark(en: float, code: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"tokens": 40, "measure": {"en": en, "code": code, "fi": 9.0}, **more}


def test_without_a_base_there_is_none() -> None:
    assert Budget().found(mark(9.0), []) == {}
    assert Budget().facts([], 1, 1) == {}
    assert Budget().told() == {}


def test_the_rise_is_against_the_base_and_only_more_than_the_budget_is_over() -> None:
    budget = Budget(0.05, "warn", BASE)
    assert budget.found(mark(2.1, 0.9), []) == {"old_rise": {"en": 0.05, "code": -0.1}}
    found = budget.found(mark(2.1002, 1.2), [])
    assert found == {"old_rise": {"en": 0.0501, "code": 0.2}, "over_budget": ["en", "code"]}
    assert budget.told() == {"max_old_rise": 0.05, "then": "warn", "base": BASE}


def test_warn_says_so_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = Budget(0.05, "warn", BASE)
    work = Work(tmp_path, tmp_path, Runtime(tmp_path), Log(tmp_path / "events"))
    for en in (2.0, 2.2):
        entry = mark(en)
        entry |= budget.found(entry, [])
        budget.tell(work, "cap", entry)
        budget.hold("cap", entry)
    assert capsys.readouterr().err == "  cap: bits per byte rose over the base by more than 5%: `en` +10.0%\n"
    assert (tmp_path / "events").read_text().count("over_budget") == 1


def test_pause_waits_for_people() -> None:
    budget = Budget(0.05, "pause", BASE)
    budget.hold("cap", {**mark(2.0), **budget.found(mark(2.0), [])})
    budget.hold("cap", {"tokens": 30, "loss": 1.0})
    entry = {**mark(2.2), **budget.found(mark(2.2), [])}
    with pytest.raises(Waiting) as caught:
        budget.hold("cap", entry)
    assert (caught.value.exit_code, caught.value.at) == (3, "cap, after 40 tokens")
    assert caught.value.what == "bits per byte rose over the base by more than 5%: `en` +10.0%"
    assert "--go-on" in caught.value.hint


def test_raise_takes_more_replay_at_each_mark_over_the_budget_up_to_the_most() -> None:
    budget = Budget(0.05, "raise", BASE, Named("old"))
    curve: list[Any] = [{"tokens": 0}]
    for en in (2.0, 2.2, 2.0, 2.2, 2.2, 2.2):
        entry = mark(en)
        curve.append({**entry, **budget.found(entry, curve)})
    assert [entry.get("raised") for entry in curve[1:]] == [None, STEP, None, 2 * STEP, MOST, MOST]
    assert "10% of the rows are replay from here on" in budget._words(curve[2])
    assert budget.facts(curve, 60, 10) == {
        "old_rise": {"en": 0.1, "code": 0.0},
        "marks_over": 4,
        "raised": {"rows": 2 + 2 + 3, "share": round(7 / 60, 6)},
    }


def test_rows_are_those_of_the_mixture_until_the_first_raise() -> None:
    budget, rows = Budget(0.05, "raise", BASE, Named("old")), Named("row")
    curve: list[Any] = [{"tokens": 0}, {"tokens": 1}, {"tokens": 2, "raised": 0.25}, {"tokens": 3}]
    assert budget.reading(rows, curve[:2], 10) is rows
    read = budget.reading(rows, curve, 10)
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
    rows = Raised(Named("row"), Named("old"), raises)
    read = [rows[n] for n in range(index)]
    old = [name for name in read if name.startswith("old")]
    assert old == [f"old{n}" for n in range(taken(raises, index))]
    assert [name for n, name in enumerate(read) if name == f"row{n}"] == [n for n in read if n.startswith("row")]
    shares = [Fraction(next((s for first, s in reversed(raises) if first <= n), 0)) for n in range(index)]
    assert len(old) == int(sum(share.limit_denominator(1000) for share in shares))
