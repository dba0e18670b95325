"""Choice: the rendered requests, what is kept, and a score by byte."""

from dataclasses import replace

import pytest

from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.choice import KIND
from aurora_m.evals.kinds.kind import Loglikelihood, Outputs, Score
from aurora_m.evals.task import Item

ITEM = Item("c1", "choice_en", "choice", "en", "Question: a?\nAnswer:", (" yes", " no, never"), 1)


def test_what_the_model_is_asked() -> None:
    assert KIND.requests(ITEM) == (Loglikelihood("Question: a?\nAnswer:", (" yes", " no, never")),)
    after = replace(ITEM, after="!")
    assert KIND.requests(after) == (Loglikelihood("Question: a?\nAnswer:", (" yes!", " no, never!")),)


def test_what_is_kept_and_scored() -> None:
    answer = KIND.answer(ITEM, Outputs([[-4.0, -8.0]]))
    assert answer == {"nats": [-4.0, -8.0], "bytes": [4, 10]}  # -1 a byte against -0.8
    assert list(KIND.score(ITEM, answer)) == [Score("accuracy", 1.0)]
    assert list(KIND.score(replace(ITEM, answer=0), answer)) == [Score("accuracy", 0.0)]


def test_bytes_count_not_characters() -> None:
    item = Item("c2", "choice_ja", "choice", "ja", "?", ("あ", "abc"), 0)
    answer = KIND.answer(item, Outputs([[-3.0, -3.0]]))
    assert answer == {"nats": [-3.0, -3.0], "bytes": [3, 3]}
    assert list(KIND.score(item, answer)) == [Score("accuracy", 1.0)]  # of equal ones the first


@pytest.mark.parametrize("answer", [2, -1, True, "", "yes"])
def test_wrong_items(answer: int | str) -> None:
    what = "the `answer` of an item is not the index of one of its `choices`"
    with pytest.raises(DataError, match=what) as error:
        KIND.check(replace(ITEM, answer=answer), "here")
    assert (error.value.at, error.value.hint) == ("here", "the first choice has the index 0")
