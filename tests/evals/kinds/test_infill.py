"""Infill: the rendered requests, what is kept, and bits with and without fill-in marks."""

from dataclasses import replace
from math import log

import pytest

from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.infill import KIND
from aurora_m.evals.kinds.kind import FillIn, Loglikelihood, Outputs, Score
from aurora_m.evals.task import Item

ITEM = Item("n1", "infill", "infill", "code", "a = 1\n", answer="b = 2\n", after="c = 3\n")


def test_what_the_model_is_asked() -> None:
    left, sides = KIND.requests(ITEM)
    assert left == Loglikelihood("a = 1\n", ("b = 2\n",))
    assert sides == FillIn(prefix="a = 1\n", suffix="c = 3\n", middle="b = 2\n")


def test_what_is_kept_and_scored() -> None:
    answer = KIND.answer(ITEM, Outputs([[-12 * log(2)], [-3 * log(2)]]))
    assert answer == {"nats": -3 * log(2), "left_nats": -12 * log(2), "bytes": 6}
    assert list(KIND.score(ITEM, answer)) == [Score("infill_left_bpb", 12.0, 6), Score("infill_bpb", 3.0, 6)]


def test_without_marks_only_what_is_left_counts() -> None:
    answer = KIND.answer(ITEM, Outputs([[-12 * log(2)], []]))
    assert answer == {"nats": None, "left_nats": -12 * log(2), "bytes": 6}
    assert list(KIND.score(ITEM, answer)) == [Score("infill_left_bpb", 12.0, 6)]


@pytest.mark.parametrize(
    ("answer", "what", "hint"),
    [
        (1, "the `answer` of an item is no text", "write the text itself"),
        ("", "an item has no `answer`", "write the text that is right"),
    ],
)
def test_wrong_items(answer: int | str, what: str, hint: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        KIND.check(replace(ITEM, answer=answer), "here")
    assert (error.value.at, error.value.hint) == ("here", hint)
