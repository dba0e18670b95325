"""Steps: what names a result, what may not, and the order of a graph."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Facts, Runtime, Step, Work, fingerprint, ordered

A = Step("a", "toy:number", params={"value": 1})
B = Step("b", "toy:number", params={"value": 2})
SUM = Step("sum", "toy:total", inputs={"given": {"left": A, "right": B}}, params={"scale": 3})


def test_parents_have_dotted_names() -> None:
    both = Step("x", "toy:total", inputs={"one": A, "many": {"p": B, "q": A}})
    assert list(both.parents()) == [("one", A), ("many.p", B), ("many.q", A)]
    assert list(A.parents()) == []


def test_key_is_all_that_decides() -> None:
    assert SUM.key({"given.left": "d1", "given.right": "d2"}) == {
        "name": "sum",
        "fn": "toy:total",
        "version": 1,
        "params": {"scale": 3},
        "inputs": {"given.left": "d1", "given.right": "d2"},
    }


@pytest.mark.parametrize(
    "change",
    [{"name": "c"}, {"fn": "toy:parity"}, {"version": 2}, {"params": {"value": 2}}, {"params": {"value": 1.0}}],
)
def test_each_part_of_the_key_changes_the_fingerprint(change: Mapping[str, Any]) -> None:
    assert fingerprint(replace(A, **change).key({})) != fingerprint(A.key({}))


def test_inputs_count_by_name_and_digest() -> None:
    prints = {fingerprint(SUM.key(digests)) for digests in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {})}
    assert len(prints) == 4


def test_fingerprint_does_not_know_the_order_of_params() -> None:
    one, two = (Step("s", "toy:x", params=params) for params in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert fingerprint(one.key({})) == fingerprint(two.key({}))
    assert len(fingerprint(one.key({}))) == 64


def test_nothing_of_the_runtime_can_be_a_name() -> None:
    key = set(SUM.key({})) | {"given", "scale"}
    assert not key & set(Runtime.__dataclass_fields__)


def test_ordered_is_parents_first_and_each_once() -> None:
    top = Step("top", "toy:total", inputs={"given": {"sum": SUM, "a": A}})
    assert ordered([top]) == [A, B, SUM, top]
    assert ordered([B, top, SUM]) == [B, A, SUM, top]
    assert ordered([]) == []


def test_two_steps_of_one_name() -> None:
    other = Step("top", "toy:total", inputs={"given": {"x": SUM, "y": Step("b", "toy:number", params={"value": 9})}})
    with pytest.raises(ValueError, match="two steps are named `b`"):
        ordered([other])
    with pytest.raises(ValueError, match="two steps are named `a`"):
        ordered([A, replace(A)])


def test_load_finds_a_function_in_the_package(toy: ModuleType) -> None:
    assert A.load() is toy.number
    with pytest.raises(ModuleNotFoundError, match=r"aurora_m\.nowhere"):
        Step("x", "nowhere:number").load()
    with pytest.raises(AttributeError, match="nothing"):
        Step("x", "toy:nothing").load()


def test_making_and_naming_a_step_imports_nothing() -> None:
    step = Step("x", "nowhere.at:all", inputs={"a": A})
    assert ordered([step])[-1].key({"a": "1"})["fn"] == "nowhere.at:all"


@pytest.mark.parametrize("step", [A, SUM, Step("x", "toy:total", inputs={"given": {}})])
def test_check_passes_what_fits(toy: ModuleType, step: Step) -> None:
    step.check()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("x", "toy:number"), "missing a required argument: 'value'"),
        (Step("x", "toy:number", params={"valeu": 1}), "missing a required argument: 'value'"),
        (Step("x", "toy:number", params={"value": 1, "more": 2}), "unexpected keyword argument 'more'"),
        (Step("x", "toy:number", inputs={"a": A}, params={"value": 1}), "unexpected keyword argument 'a'"),
        (Step("x", "toy:number", inputs={"value": A}, params={"value": 1}), "multiple values"),
    ],
)
def test_check_refuses_what_does_not_fit(toy: ModuleType, step: Step, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        step.check()


def test_shapes_are_frozen(tmp_path: Path) -> None:
    facts: Facts = {}
    work = Work(tmp_path, tmp_path, Runtime(tmp_path), Log())
    artifact = Artifact(tmp_path, "0", facts)
    for shape, field in ((A, "name"), (artifact, "digest"), (work, "out"), (work.runtime, "store")):
        with pytest.raises(AttributeError, match=f"cannot assign to field '{field}'"):
            setattr(shape, field, "x")
    with pytest.raises(TypeError):
        Step("x", "toy:x").params["a"] = 1  # type: ignore[index]
