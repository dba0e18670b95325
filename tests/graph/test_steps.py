"""Declared and written: each declaration says what its function takes, and every shipped recipe gives just that."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from aurora_m.core.declare import Declaration, Steps
from aurora_m.core.errors import Missing
from aurora_m.core.step import Artifact, Step
from aurora_m.graph.build import build
from aurora_m.recipe import load

PACKAGE = Path(__file__).parents[2] / "aurora_m"
RECIPES = sorted((PACKAGE / "recipes").glob("*.toml"))
MODULES = [import_module(f"aurora_m.{path.parent.name}.steps") for path in sorted(PACKAGE.glob("*/steps.py"))]
DECLARED = {value.fn: value for module in MODULES for value in vars(module).values() if isinstance(value, Declaration)}


def function(fn: str) -> Mapping[str, inspect.Parameter]:
    """What a step function takes besides `work`."""
    parameters = inspect.signature(Step("x", fn).load()).parameters
    return {name: parameter for name, parameter in parameters.items() if name != "work"}


def parts(hint: Any) -> tuple[Any, ...]:
    """The types of a union, but None."""
    return tuple(arg for arg in get_args(hint) if arg is not NoneType) if is_union(hint) else (hint,)


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def plain(hint: Any) -> Any:
    """A type as the function gets it: artifacts for steps, text for pins; a list, a tuple and a sequence are one."""
    (first, *_), args = parts(hint), get_args(parts(hint)[0])
    if first in (Step, Artifact):
        return Artifact
    if Missing in parts(hint):
        return str
    if get_origin(first) in (list, tuple, Sequence):
        return Sequence, plain(args[0])
    if get_origin(first) in (dict, Mapping):
        return Mapping, plain(args[1])
    return str if get_origin(first) is Literal else first


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far as that is simple."""
    if is_union(hint):
        return any(fits(value, arg) for arg in get_args(hint))
    origin, args = get_origin(hint), get_args(hint)
    if hint is Artifact:
        return isinstance(value, Step)
    if hint in (bool, int, str, float):
        return type(value) is hint or (hint is float and type(value) is int)
    if origin is Literal:
        return value in args
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(fits(item, args[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(item, args[1]) for item in value.values())
    if hint is NoneType or (isinstance(hint, type) and is_dataclass(hint)):
        return isinstance(value, hint)
    return True


@pytest.mark.parametrize("fn", DECLARED)
def test_a_declaration_says_what_its_function_takes(fn: str) -> None:
    said, written = DECLARED[fn].parameters(), function(fn)
    assert {*said} == {*written}
    for name in said:
        assert plain(said[name].annotation) == plain(written[name].annotation), name
        if said[name].default is not inspect.Parameter.empty:
            assert said[name].default is None, f"{name}: a default stands in the function"
            assert written[name].default is not inspect.Parameter.empty, f"{name}: may be left out, and is needed"
    artifacts = {name for name in written if plain(written[name].annotation) in (Artifact, (Mapping, Artifact))}
    assert DECLARED[fn].inputs() == artifacts


@pytest.mark.parametrize("fn", DECLARED)
def test_facts_may_lack_what_is_none(fn: str) -> None:
    kind = get_type_hints(Step("x", fn).load())["return"]
    hints = get_type_hints(kind)
    left_out = [field for field in fields(kind) if fits(None, hints[field.name])]
    assert [field.name for field in left_out if field.default is MISSING] == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_step_of_every_recipe_can_be_called(path: Path) -> None:
    steps = build(load(path), path.parent)
    assert len(steps) > 40
    assert [wrong for step in steps.values() for wrong in wrong_in(step)] == []


def wrong_in(step: Step) -> list[str]:
    """What a step gives that its function does not take."""
    try:
        step.check()
    except TypeError as error:
        return [f"{step.name}: {error}"]
    written, given = function(step.fn), {**step.inputs, **step.params}
    wrong = {name: value for name, value in given.items() if not fits(value, written[name].annotation)}
    found = [f"{step.name}: {name} = {value!r}" for name, value in wrong.items()]
    return found + ([] if step.version == DECLARED[step.fn].version else [f"{step.name}: version {step.version}"])


def test_what_does_not_fit_is_found() -> None:
    assert fits(("a", "b"), list[str])
    assert fits(1, float)
    assert fits(None, float | None)
    assert fits({"a": Step("x", "toy:number")}, dict[str, Artifact])
    assert not fits(True, int)
    assert not fits(1.0, int)
    assert not fits("ab", Sequence[str])
    assert not fits({"a": "b"}, Mapping[str, float])
    assert not fits("c", Literal["a", "b"])
    assert plain(Steps | None) == plain(dict[str, Artifact]) == (Mapping, Artifact)


def test_a_wrong_and_a_missing_parameter_are_found() -> None:
    step = build(load(PACKAGE / "recipes" / "tiny.toml"), Path())["duplicates"]
    for wrong in ({**step.params, "nearer": 0.5}, {"near": 0.5}):
        with pytest.raises(TypeError):
            Step(step.name, step.fn, step.inputs, wrong).check()
