"""The oracles that are exact or cheap, with their controls; the rest are run by `python -m tests.oracles`."""

from dataclasses import replace

import pytest

from tests.oracles.forgetting import forgetting, mislabelled, nothing_new, removed
from tests.oracles.lab import Lab
from tests.oracles.oracle import Bound, Oracle
from tests.oracles.study import ABSENT, ORACLES
from tests.oracles.vocabulary import first_rows

BASE_STEPS, CAP_STEPS = 150, 50
FEW = 6  # held-out documents of a source
EXACT = ("O15", "O17", "O18", "O19", "O20")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A world smaller than that of the table: the base has learnt for less long, and less is held out."""
    lab = Lab(1, tmp_path_factory.mktemp("lab"), BASE_STEPS, CAP_STEPS)
    lab.held = {name: docs[:FEW] for name, docs in lab.held.items()}
    return lab


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact_is_exact_and_a_sabotage_is_found(lab: Lab, name: str) -> None:
    oracle = ORACLES[name]
    assert oracle.verdict([oracle.measure(lab)], [oracle.sabotage(lab)]) == "green"


def test_forgetting_and_two_cures(lab: Lab) -> None:
    rise = forgetting(lab)["old_rise"]
    assert rise > 0.05
    assert nothing_new(lab)["old_rise"] < rise / 2
    assert removed(lab, lab.cap(0.05))["removed"] > 0.4 > removed(lab, mislabelled(lab, 0.05))["removed"]
    assert lab.rise(lab.cap(kl=1.0)) < 0.4 * rise


def test_rows_of_new_tokens_leave_old_text_alone(lab: Lab) -> None:
    found, lost = first_rows(lab), first_rows(lab, lost=True)
    assert found["old_moved"] < 0.1 < 0.5 < lost["old_moved"]
    assert found["better_at_once"] > 0.3


def judged(value: float, control: float, **changes: bool) -> str:
    oracle = replace(ORACLES["O15"], gate=(Bound("x", "<", 1.0),), **{"exact": False, **changes})
    return oracle.verdict([{"x": value}, {"x": 0.0}, {"x": 9.0}], [{"x": control}])


def test_a_verdict_is_green_red_or_blind() -> None:
    assert judged(0.5, 2.0) == "green"  # the median of 0.5, 0 and 9
    assert judged(1.5, 2.0) == "red"
    assert judged(float("nan"), 2.0) == "red"
    assert judged(0.5, 0.9) == "blind"
    assert judged(0.5, 2.0, exact=True) == "red"  # one seed is 9


def test_every_oracle_is_there_or_its_absence_is_told() -> None:
    assert {*ORACLES, *ABSENT} == {f"O{number}" for number in range(1, 28)}
    assert all(isinstance(oracle, Oracle) and oracle.gate for oracle in ORACLES.values())
