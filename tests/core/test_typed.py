"""Typed values: every wrong key, type and choice is named, and a dataclass comes back from what it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import Count, build, plain


@dataclass(frozen=True)
class Leg:
    """A part with one needed value."""

    length: float
    kind: Literal["wood", "steel"] = "wood"


@dataclass(frozen=True)
class Table:
    """One of each type."""

    name: str
    seats: int
    tokens: Count
    legs: tuple[Leg, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Leg] = field(default_factory=dict)
    cloth: Leg | None = None
    words: tuple[str, ...] = ("a",)


GOOD: dict[str, Any] = {"name": "t", "seats": 4, "tokens": 7}
CHANGES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"seat": 4}, "unknown key `seat`", "the top of the recipe", "did you mean `seats`?"),
    (
        {"xyz": 4}, "unknown key `xyz`", "the top of the recipe",
        "known keys: `name`, `seats`, `tokens`, `legs`, `shares`, `parts`, `cloth`, `words`",
    ),
    ({"cloth": {"x": 2}}, "unknown key `x`", "cloth", "known keys: `length`, `kind`"),
    ({"cloth": {"lenght": 2}}, "unknown key `lenght`", "cloth", "did you mean `length`?"),
    ({"legs": [{"length": 1.0}, {}]}, "`length` is missing", "legs[1]", "add `length` (a number)"),
    ({"seats": True}, "`true` is a boolean, not an integer", "seats", "write an integer"),
    ({"seats": 4.0}, "`4.0` is a number, not an integer", "seats", "write an integer"),
    ({"seats": "4"}, "`4` is a string, not an integer", "seats", "write an integer"),
    ({"tokens": False}, "`false` is a boolean, not an integer", "tokens", "write an integer"),
    (
        {"tokens": "58 billion"}, "`58 billion` is not a count: write 377B, 4.2M, 20K or a plain integer", "tokens",
        'counts are integers or strings such as "377B"',
    ),
    (
        {"tokens": "2.5"}, "`2.5` is not a whole count", "tokens", 'counts are integers or strings such as "377B"',
    ),
    ({"name": 5}, "`5` is an integer, not a string", "name", "write a string"),
    ({"name": date(2024, 1, 2)}, "`2024-01-02` is a date, not a string", "name", "write a string"),
    ({"legs": {}}, "`{}` is a table, not a list", "legs", "write a list"),
    ({"legs": [3]}, "`3` is an integer, not a table", "legs[0]", "write a table"),
    ({"words": ["a", 1]}, "`1` is an integer, not a string", "words[1]", "write a string"),
    ({"shares": 0.5}, "`0.5` is a number, not a table", "shares", "write a table"),
    ({"shares": {"a": "x"}}, "`x` is a string, not a number", "shares.a", "write a number"),
    ({"shares": {"a": float("nan")}}, "`nan` is not finite", "shares.a", "write a number"),
    ({"cloth": {"length": float("inf")}}, "`inf` is not finite", "cloth.length", "write a number"),
    ({"parts": {"x": {"length": True}}}, "`true` is a boolean, not a number", "parts.x.length", "write a number"),
    (
        {"cloth": {"length": 1, "kind": "steal"}},
        "`steal` is not a choice here", "cloth.kind", "did you mean `steel`?",
    ),
    (
        {"cloth": {"length": 1, "kind": 3}}, "`3` is not a choice here", "cloth.kind", 'choose one of "wood", "steel"',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "what", "at", "hint"), CHANGES)
def test_what_is_wrong_is_named(change: dict[str, Any], what: str, at: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(Table, {**GOOD, **change})
    assert (caught.value.what, caught.value.at, caught.value.hint) == (what, at, hint)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("name", "add `name` (a string)"), ("seats", "add `seats` (an integer)"), ("tokens", "add `tokens` (a count)")],
)
def test_a_needed_key_is_missed(key: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(Table, {name: value for name, value in GOOD.items() if name != key})
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        f"`{key}` is missing",
        "the top of the recipe",
        hint,
    )


@dataclass(frozen=True)
class Room:
    """What is needed of the other types."""

    kind: Literal["big", "small"]
    tables: tuple[Table, ...]
    door: Leg


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({}, 'add `kind` (one of "big", "small")'),
        ({"kind": "big"}, "add `tables` (a list)"),
        ({"kind": "big", "tables": []}, "add `door` (a table)"),
    ],
)
def test_the_hint_says_the_type(data: dict[str, Any], hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(Room, data, "room")
    assert (caught.value.at, caught.value.hint) == ("room", hint)


def test_all_types() -> None:
    more = {"tokens": "1.5K", "legs": [{"length": 1}], "shares": {"a": 1}, "parts": {"x": {"length": 2.5}}}
    made = build(Table, {**GOOD, **more, "cloth": {"length": 3, "kind": "steel"}, "words": []})
    assert made == Table("t", 4, Count(1500), (Leg(1.0),), {"a": 1.0}, {"x": Leg(2.5)}, Leg(3.0, "steel"), ())
    assert isinstance(made.legs[0].length, float)
    assert isinstance(made.shares["a"], float)


LEGS = st.builds(Leg, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["wood", "steel"]))
TABLES = st.builds(
    Table,
    st.text(),
    st.integers(),
    st.integers(0),
    st.lists(LEGS, max_size=3).map(tuple),
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    st.dictionaries(st.text(), LEGS, max_size=3),
    st.none() | LEGS,
    st.lists(st.text(), max_size=3).map(tuple),
)


@given(TABLES)
def test_a_value_comes_back(table: Table) -> None:
    assert build(Table, plain(table)) == table


def test_defaults_are_left_out_in_declared_order() -> None:
    assert plain(Table("t", 4, Count(7), cloth=Leg(1.0))) == {**GOOD, "cloth": {"length": 1.0}}
    assert list(plain(Table("t", 4, Count(7), words=("b",), shares={"z": 1.0, "a": 2.0}))) == [
        "name", "seats", "tokens", "shares", "words",
    ]  # fmt: skip
