"""Errors say what, where and what to do; they cross process borders whole."""

import pickle

import pytest

from aurora_m.core.errors import AuroraError, DataError, RecipeError, StoreError, TrainError, Waiting

KINDS = [(RecipeError, 2), (DataError, 1), (StoreError, 1), (TrainError, 1), (Waiting, 3)]


def test_text_has_three_parts() -> None:
    error = DataError("`a.txt` is not UTF-8", at="source.wiki", hint="declare its encoding")
    assert str(error) == "error: `a.txt` is not UTF-8\n  at: source.wiki\n\nhint: declare its encoding"


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_exit_codes(kind: type[AuroraError], code: int) -> None:
    assert kind.exit_code == code


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_pickle_keeps_kind_and_parts(kind: type[AuroraError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", at="where", hint="do")))
    assert type(error) is kind
    assert (error.what, error.at, error.hint) == ("what", "where", "do")


def test_all_kinds_are_listed_above() -> None:
    assert {kind for kind, _ in KINDS} == set(AuroraError.__subclasses__())


def test_a_long_text_of_the_user_is_cut() -> None:
    error = DataError("x" * 501, at="where", hint="do")
    assert error.what == "x" * 500 + "..."
    assert pickle.loads(pickle.dumps(error)).what == error.what
    assert DataError("x" * 500, at="where", hint="do").what == "x" * 500


def test_a_place_without_a_name() -> None:
    assert DataError("`` names no file", at="", hint="do").at == "an empty name"
