"""Canonical JSON: one value, one text, one digest; and the differences that people are told."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.canon import canonical, differences, digest, file_digest, file_digests, folder_files

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # a lone surrogate is no text
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(LEAF, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=12)


def turned(value: Any) -> Any:
    """The same value with every table in the opposite order and every list a tuple."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return tuple(turned(item) for item in value) if isinstance(value, list) else value


@given(VALUE)
def test_round_trip(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


@given(VALUE)
def test_key_order_does_not_matter(value: Any) -> None:
    assert canonical(turned(value)) == canonical(value)


@given(VALUE, VALUE)
def test_differences_are_named_exactly_where_digests_differ(old: Any, new: Any) -> None:
    assert bool(differences(old, new)) == (digest(old) != digest(new))
    assert differences(turned(old), old) == []


def test_exact_bytes() -> None:
    value: Any = {"b": [1, 1.0, True, None], "a": "ä\n漢"}
    text = '{"a":"ä\\n漢","b":[1,1.0,true,null]}'.encode()
    assert canonical(value) == text
    assert digest(value) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_values_without_a_canonical_form(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        canonical({"x": [value]})


@pytest.mark.parametrize("value", [{1, 2}, b"x", Path("x"), object()])
def test_what_is_not_json(value: Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        canonical(value)


def test_differences_in_words() -> None:
    old: Any = {"version": 1, "params": {"lr": 1e-4, "lang": "fi", "gone": 1, "deep": {"a": [1, 2]}}}
    new: Any = {"version": 2, "params": {"lr": 2e-4, "lang": "hi", "here": "x", "deep": {"a": (1, 3)}}}
    assert differences(old, new) == [
        "params.deep.a: [1,2] -> [1,3]",
        "params.gone: removed 1",
        "params.here: added x",
        "params.lang: fi -> hi",
        "params.lr: 0.0001 -> 0.0002",
        "version: 1 -> 2",
    ]


def test_types_that_python_calls_equal_differ() -> None:
    assert differences({"x": 1}, {"x": 1.0}) == ["x: 1 -> 1.0"]
    assert differences({"x": 1}, {"x": True}) == ["x: 1 -> true"]


def test_long_values_are_cut_around_the_change() -> None:
    same = "lang = 'en' and " * 20
    [found] = differences({"keep": same + "score > 0.5" + same}, {"keep": same + "score > 0.7" + same})
    old, new = found.removeprefix("keep: ").split(" -> ")
    assert "score > 0.5" in old
    assert "score > 0.7" in new
    assert max(len(old), len(new)) <= 120


def test_a_long_value_that_only_grows() -> None:
    [found] = differences({"x": "a" * 200}, {"x": "a" * 200 + "b"})
    assert found == f"x: ...{'a' * 40} -> ...{'a' * 40}b"


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_files_keep_their_order_and_an_error_ends_all(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (number * 100_000))
    assert file_digests(paths) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    with pytest.raises(FileNotFoundError):
        file_digests([*paths, tmp_path / "none"])


def test_folder_files_are_sorted_and_relative(tmp_path: Path) -> None:
    for name in ("b/c", "a", "b.x", "b/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert folder_files(tmp_path) == ["a", "b.x", "b/.hidden", "b/c"]
