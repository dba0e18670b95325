"""Items survive JSON, and wrong rows are named."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.files import write_jsonl
from aurora_m.evals.items import read_item, read_items, read_own_items, write_items
from aurora_m.evals.task import Item

ROW: dict[str, Any] = {
    "id": "a", "task": "t", "kind": "choice", "lang": "en", "prompt": "Q", "choices": ["x", "y"], "answer": 0,
}  # fmt: skip
words = st.text(min_size=1)


@given(words, words, st.text(), st.lists(words, min_size=1, max_size=4), st.data())
def test_round_trip_of_choices(name: str, task: str, text: str, choices: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.integers(0, len(choices) - 1))
    item = Item(name, task, "cloze", "fi", text, tuple(choices), answer, after=text, group=name)
    assert read_item(item.to_json(), "here") == item


@given(words, words, words)
def test_round_trip_of_code(name: str, answer: str, tests: str) -> None:
    item = Item(name, "code", "code", "code", "def f():\n", answer=answer, tests=tests, entry="f")
    assert read_item(item.to_json(), "here") == item


def test_json_says_only_what_is_there() -> None:
    assert Item("a", "t", "refuse", "en", "").to_json() == {
        "id": "a", "task": "t", "kind": "refuse", "lang": "en", "prompt": "",
    }  # fmt: skip
    assert read_item(ROW, "here").to_json() == ROW


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"colour": 1}, "an item has the unknown key `colour`"),
        ({"id": ""}, "an item has no `id`"),
        ({"kind": "chioce"}, "an item has the unknown kind `chioce`"),
        ({"kind": ["choice"]}, "the `kind` of an item is no text"),
        ({"lang": 3}, "the `lang` of an item is no text"),
        ({"choices": "xy"}, "the `choices` of an item are not a list of texts"),
        ({"choices": ["x", ""]}, "the `choices` of an item are not a list of texts"),
        ({"answer": 2}, "the `answer` of an item is not the index of one of its `choices`"),
        ({"answer": True}, "the `answer` of an item is not the index of one of its `choices`"),
        ({"answer": "x"}, "the `answer` of an item is not the index of one of its `choices`"),
        ({"kind": "infill", "answer": 1}, "the `answer` of an item is no text"),
        ({"kind": "infill", "answer": ""}, "an item has no `answer`"),
        ({"kind": "code", "answer": "x"}, "an item has no `tests`"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, Any], what: str) -> None:
    with pytest.raises(DataError, match=re.escape(what)) as error:
        read_item({**ROW, **change}, "items.jsonl:3")
    assert error.value.at == "items.jsonl:3"


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DataError, match="an item has no `prompt`"):
        read_item({key: value for key, value in ROW.items() if key != "prompt"}, "here")


def test_a_file_says_its_format_first(tmp_path: Path) -> None:
    path, item = tmp_path / "items.jsonl", read_item(ROW, "here")
    write_items(path, [item])
    assert path.read_text().splitlines()[0] == '{"format": 1}'
    assert read_items(path) == [item]
    write_items(path, [])
    assert read_items(path) == []


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "a file of items does not say its format"),
        ([ROW], "a file of items does not say its format"),
        (["1", ROW], "a file of items does not say its format"),
        ([{"format": 2}, ROW], "items of the format `2`"),
    ],
)
def test_another_format_is_refused(rows: list[Any], what: str, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_jsonl(path, rows)
    with pytest.raises(DataError, match=f"^error: {what}\n") as error:
        read_items(path)
    assert error.value.at == str(path)
    assert error.value.hint.startswith('the first line is {"format": 1}; ')


def test_a_wrong_row_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_jsonl(path, [{"format": 1}, ROW, {**ROW, "answer": 2}])
    with pytest.raises(DataError, match="not the index of one") as error:
        read_items(path)
    assert error.value.at == f"{path}:3"


def test_the_hint_says_what_an_item_needs() -> None:
    with pytest.raises(DataError) as error:
        read_item({**ROW, "colour": 1}, "here")
    needs = "an item needs id, task, kind, lang and prompt; kinds are choice, cloze, code, infill, refuse, comply"
    assert error.value.hint == needs
    with pytest.raises(DataError) as error:
        read_item({**ROW, "kind": "chioce"}, "here")
    assert error.value.hint == "did you mean `choice`?"


def test_a_file_of_no_items(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("\n \n")
    with pytest.raises(DataError) as caught:
        read_own_items(tmp_path / "mine.jsonl")
    assert (caught.value.what, caught.value.at) == ("a file of items holds none", str(tmp_path / "mine.jsonl"))


def test_a_wrong_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n\n{json.dumps({**ROW, 'lang': 3})}\n")
    with pytest.raises(DataError) as caught:
        read_own_items(path)
    assert caught.value.at == f"{path}:3"
    path.write_text(f"{json.dumps(ROW)}\n\n{{\n")
    with pytest.raises(DataError, match="this is not valid JSON") as caught:
        read_own_items(path)
    assert caught.value.at == f"{path}:3"
