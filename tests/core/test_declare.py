"""Declarations: which parameters are inputs, what is left out, and what happens without a file."""

from collections.abc import Mapping, Sequence

import pytest

from aurora_m.core.declare import Pin, Steps, step
from aurora_m.core.errors import Missing
from aurora_m.core.step import Step


@step("toy:wire", version=7)
def wire(
    *,
    one: Step,
    many: Steps,
    number: int,
    names: Sequence[str],
    shares: Mapping[str, float],
    name: str,
    pin: Pin = "",
    more: Step | None = None,
    parts: Steps | None = None,
) -> None:
    """Nothing: only its signature counts."""


ONE, TWO = Step("one", "toy:number"), Step("two", "toy:number")


def test_steps_are_inputs_and_all_else_is_params() -> None:
    made = wire("made", one=ONE, many={}, number=1, names=("a",), shares={}, name="n", pin="x", parts={"b": TWO})
    assert (made.name, made.fn, made.version, made.missing_input) == ("made", "toy:wire", 7, None)
    assert made.inputs == {"one": ONE, "many": {}, "parts": {"b": TWO}}
    assert made.params == {"number": 1, "names": ("a",), "shares": {}, "name": "n", "pin": "x"}
    assert wire.inputs() == {"one", "many", "more", "parts"}


def test_what_is_none_is_left_out() -> None:
    made = wire("made", one=ONE, many={}, number=1, names=(), shares={}, name="n", more=None)
    assert {*made.inputs, *made.params} == {"one", "many", "number", "names", "shares", "name"}


def test_without_a_file_a_step_can_be_planned_and_not_run() -> None:
    missing = Missing("no file matches `x`", at="here", hint="look there")
    made = wire("made", one=ONE, many={}, number=1, names=(), shares={}, name="n", pin=missing)
    assert made.missing_input is missing
    assert made.params["pin"] == ""


def test_a_wrong_call_is_an_error_at_once() -> None:
    given = {"one": ONE, "many": {}, "number": 1, "names": (), "shares": {}, "name": "n"}
    wire("made", **given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'numbers'"):
        wire("made", **given, numbers=2)  # type: ignore[arg-type,call-arg]
    with pytest.raises(TypeError, match="missing a required argument: 'one'"):
        wire("made", many={}, number=1, names=(), shares={}, name="n")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="too many positional arguments"):
        wire("made", ONE, many={}, number=1, names=(), shares={}, name="n")  # type: ignore[call-arg]
