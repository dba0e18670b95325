"""Verdicts on known changes, and what pairing buys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from aurora_m.evals.compare import Change, compare_scores


def rows(values: Sequence[float], metric: str = "accuracy", task: str = "t", weight: float = 1) -> list[dict[str, Any]]:
    about = {"task": task, "lang": "en", "metric": metric, "weight": weight}
    return [{"id": f"i{number:04d}", "group": "", "value": value, **about} for number, value in enumerate(values)]


def one(before: list[dict[str, Any]], after: list[dict[str, Any]], margin: float = 0.0) -> Change:
    (change,) = compare_scores(before, after, {row["metric"]: margin for row in before})
    return change


@pytest.mark.parametrize(("margin", "verdict"), [(0.01, "equivalent"), (0.0, "cannot tell")])
def test_the_same_answers_are_equivalent_if_there_is_a_margin(margin: float, verdict: str) -> None:
    change = one(rows([0, 1] * 20), rows([0, 1] * 20), margin)
    assert (change.change, change.low, change.high, change.lost, change.gained, change.p) == (0, 0, 0, 0, 0, 1.0)
    assert change.verdict == verdict


@pytest.mark.parametrize(("pairs", "verdict"), [(7, "cannot tell"), (8, "lost")])
@pytest.mark.parametrize("metric", ["accuracy", "bpb"])
def test_few_pairs_decide_nothing(pairs: int, verdict: str, metric: str) -> None:
    low, high = [1.0] * pairs, [2.0] * pairs
    before, after = (low, high) if metric == "bpb" else (low, [0.0] * pairs)
    assert one(rows(before, metric), rows(after, metric)).verdict == verdict
    assert one(rows(low, metric), rows(low, metric), 0.1).verdict == ("equivalent" if pairs == 8 else verdict)


def test_points_lost_and_gained() -> None:
    before, after = [1.0] * 60 + [0.0] * 40, [1.0] * 48 + [0.0] * 12 + [1.0] * 2 + [0.0] * 38
    change = one(rows(before), rows(after), 0.01)
    assert (change.before, change.after, change.n, change.lost, change.gained) == (0.6, 0.5, 100, 12, 2)
    assert change.change == pytest.approx(-0.1)
    assert change.p == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    deviation = ((0.14 - 0.01) / 100) ** 0.5
    assert (change.low, change.high) == pytest.approx((-0.1 - 1.96 * deviation, -0.1 + 1.96 * deviation), abs=0.011)
    assert change.verdict == "lost"
    assert one(rows(after), rows(before)).verdict == "gained"
    assert one(rows(before, "over_refusal"), rows(after, "over_refusal")).verdict == "gained"


def test_churn_cannot_be_told_from_nothing_but_is_shown() -> None:
    change = one(rows([1.0] * 30 + [0.0] * 30), rows([0.0] * 30 + [1.0] * 30), 0.02)
    assert (change.change, change.lost, change.gained, change.verdict) == (0, 30, 30, "cannot tell")


def test_bits_change_by_a_share_and_fewer_are_better() -> None:
    random = np.random.default_rng(1)
    bits = random.uniform(80, 120, 50)
    worse = bits * random.uniform(1.04, 1.06, 50)
    change = one(rows(bits.tolist(), "bpb", weight=100), rows(worse.tolist(), "bpb", weight=100), 0.01)
    assert change.relative
    assert change.before == pytest.approx(bits.sum() / 5000)
    assert change.change == pytest.approx(worse.sum() / bits.sum() - 1)
    assert (change.lost, change.gained, change.p, change.verdict) == (50, 0, None, "lost")
    assert one(rows(worse.tolist(), "bpb"), rows(bits.tolist(), "bpb")).verdict == "gained"
    assert one(rows(bits.tolist(), "bpb"), rows(worse.tolist(), "bpb"), 0.07).verdict == "equivalent"


def test_pairing_sees_what_two_samples_cannot() -> None:
    """One item in twenty lost: the paired interval excludes 0, an unpaired test of the same shares does not."""
    before = [1.0, 0.0] * 100
    after = [0.0 if number % 20 == 0 else value for number, value in enumerate(before)]
    change = one(rows(before), rows(after))
    assert change.verdict == "lost"
    unpaired = 1.96 * (2 * 0.25 / 200) ** 0.5
    assert change.change + unpaired > 0 > change.high


def test_only_what_both_have_is_compared() -> None:
    before = rows([1, 1, 0], task="a") + rows([1], task="b")
    after = rows([1, 0], task="a") + rows([1], task="c")
    (change,) = compare_scores(before, after, {})
    assert (change.task, change.n, change.before, change.after, change.margin) == ("a", 2, 1.0, 0.5, 0.0)


def test_p_values_are_corrected_together() -> None:
    before = rows([1] * 6, task="a") + rows([1] * 6, task="b") + rows([1] * 6, "bpb", task="c")
    after = rows([0] * 6, task="a") + rows([1, 1, 1, 1, 1, 0], task="b") + rows([2] * 6, "bpb", task="c")
    assert [change.p for change in compare_scores(before, after, {})] == [0.0625, 1.0, None]


def test_a_corrected_p_takes_a_verdict_away() -> None:
    """Six of forty lost are sure alone (p = 0.03125), and not as one of two that are compared."""
    before, after = rows([1] * 40, task="a"), rows([0] * 6 + [1] * 34, task="a")
    other = rows([1] * 40, task="b")
    alone, (corrected, _) = one(before, after), compare_scores(before + other, after + other, {})
    assert (alone.p, alone.verdict) == (0.03125, "lost")
    assert corrected.high < 0
    assert (corrected.p, corrected.verdict) == (0.0625, "cannot tell")


def test_the_order_of_rows_does_not_matter() -> None:
    before, after = rows([0, 1, 1, 0, 1] * 5), rows([1, 0, 1, 0, 0] * 5)
    assert compare_scores(before, after, {}) == compare_scores(before[::-1], after[::-1], {})
