"""Cloze: the rendered requests, what is kept, and a score of whole texts."""

from dataclasses import replace

import pytest

from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.cloze import KIND
from aurora_m.evals.kinds.kind import Loglikelihood, Outputs, Score
from aurora_m.evals.task import Item

ITEM = Item("z1", "cloze_fi", "cloze", "fi", "Kesällä ", ("yö", "päivä"), 0, after=" on pitkä.")


def test_what_the_model_is_asked() -> None:
    assert KIND.requests(ITEM) == (Loglikelihood("Kesällä ", ("yö on pitkä.", "päivä on pitkä.")),)


def test_what_is_kept_and_scored() -> None:
    answer = KIND.answer(ITEM, Outputs([[-4.0, -6.0]]))
    assert answer == {"nats": [-4.0, -6.0], "bytes": [3, 7]}  # by byte the second would win
    assert list(KIND.score(ITEM, answer)) == [Score("accuracy", 1.0)]
    assert list(KIND.score(replace(ITEM, answer=1), answer)) == [Score("accuracy", 0.0)]


def test_wrong_items() -> None:
    with pytest.raises(DataError, match="not the index of one of its `choices`"):
        KIND.check(replace(ITEM, answer=2), "here")
