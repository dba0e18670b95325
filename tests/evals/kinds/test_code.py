"""Code: the rendered requests, what is kept of a completion, the program and the scores."""

from dataclasses import replace
from math import log

import pytest

from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.code import KIND, body
from aurora_m.evals.kinds.kind import Generate, Loglikelihood, Outputs, Score
from aurora_m.evals.task import Item

ITEM = Item("p1", "code", "code", "code", "def f():\n", answer="    return 1\n", tests="assert f() == 1", entry="f")


def test_what_the_model_is_asked() -> None:
    solution, completion = KIND.requests(ITEM)
    assert solution == Loglikelihood("def f():\n", ("    return 1\n",))
    assert completion == Generate("def f():\n", stop="", reference="    return 1\n")


def test_what_is_kept_and_scored() -> None:
    answer = KIND.answer(ITEM, Outputs([[-26 * log(2)]], ["    return 2\nprint(f())\n"]))
    assert answer == {"text": "    return 2\n", "solution_nats": -26 * log(2), "solution_bytes": 13}
    assert list(KIND.score(ITEM, answer)) == [Score("solution_bpb", 26.0, 13)]


def test_the_program_is_the_function_and_its_tests() -> None:
    assert KIND.program
    assert KIND.program(ITEM, "    return 2\n") == "def f():\n    return 2\n\nassert f() == 1"


def test_wrong_items() -> None:
    with pytest.raises(DataError, match="an item has no `tests`") as error:
        KIND.check(replace(ITEM, tests=""), "here")
    assert (error.value.at, error.value.hint) == ("here", "write Python that raises if the answer is wrong")
    with pytest.raises(DataError, match="an item has no `answer`"):
        KIND.check(replace(ITEM, answer=""), "here")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    a\n\n    b\nc\n    d\n", "    a\n\n    b\n"),
        ("\ta", "\ta"),
        ("a\n", ""),
        ("", ""),
        ("\n\n  a\n@", "\n\n  a\n"),
    ],
)
def test_body(text: str, kept: str) -> None:
    assert body(text) == kept
