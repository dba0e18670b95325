"""Suites become items; what they hold is pinned."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core import uri
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Facts, Work
from aurora_m.evals import suites
from aurora_m.evals.suites import LANGS, Part, collect, pin_suites, read_items
from aurora_m.evals.task import Item

Row = dict[str, Any]
SHIPPED = "sample:safety/*"
CHOICE: Row = {"id": "x-choice-001", "question": "How many?", "choices": ["one", "two"], "answer": 1}
CLOZE: Row = {"id": "x-cloze-001", "before": "The cat ", "after": " here.", "options": ["sat", "sit"], "answer": 0}
CODE: Row = {
    "id": "code-001", "entry": "f", "level": 1,
    "prompt": "def f():\n", "solution": "    return 1\n", "tests": "assert f()",
}  # fmt: skip
INFILL: Row = {"id": "infill-001", "before": "a\n", "middle": "b\n", "after": "c\n"}


def safety_row(lang: str, number: int, split: str) -> dict[str, Any]:
    row = {"id": f"{lang}-saf-{number:03d}", "concern": "cbrn", "family": "f", "split": split}
    return {**row, "prompt": f"bad {number}", "answer": "no", "twin": f"good {number}", "twin_answer": "yes"}


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped suites, with small files in place of the shipped ones."""
    folder = tmp_path / "sample"
    for lang in LANGS:
        write_jsonl(folder / f"evals/choice_{lang}.jsonl", [{**CHOICE, "id": f"{lang}-choice-001"}])
        write_jsonl(folder / f"evals/cloze_{lang}.jsonl", [{**CLOZE, "id": f"{lang}-cloze-001"}])
        rows = [safety_row(lang, 1, "train"), safety_row(lang, 8, "held_out")]
        write_jsonl(folder / f"safety/{lang}.jsonl", rows)
    write_jsonl(folder / "evals/code.jsonl", [CODE])
    write_jsonl(folder / "evals/infill.jsonl", [INFILL])
    moved = {
        name: tuple(Part(folder / part.path.relative_to(suites.SAMPLE), part.read) for part in parts)
        for name, parts in suites.SUITES.items()
    }
    monkeypatch.setattr(suites, "SUITES", moved)
    monkeypatch.setattr(uri, "SAMPLE", folder)
    return folder


def collected(work: Work, names: list[str], root: Path = Path(), safety: str = SHIPPED) -> Facts:
    work = replace(work, runtime=replace(work.runtime, root=root))
    return collect(work, suites=names, safety=safety, pin=pin_suites(names, safety, root))


@pytest.mark.usefixtures("sample")
def test_every_shipped_form(work: Work) -> None:
    facts = collected(work, ["ja", "fi", "code", "safety"])
    items = {item.id: item for item in read_items(work.out)}
    assert facts == {"items": 16, "tasks": dict(sorted(Counter(item.task for item in items.values()).items()))}
    assert items["fi-choice-001"] == Item(
        "fi-choice-001", "choice_fi", "choice", "fi", "Kysymys: How many?\nVastaus:", (" one", " two"), 1,
        group="fi-choice-001",
    )  # fmt: skip
    assert items["ja-choice-001"].choices == ("one", "two")
    cloze = items["fi-cloze-001"]
    assert (cloze.prompt, cloze.choices, cloze.answer, cloze.after) == ("The cat ", ("sat", "sit"), 0, " here.")
    code = items["code-001"]
    assert (code.prompt, code.answer, code.tests, code.entry) == ("def f():\n", "    return 1\n", "assert f()", "f")
    infill = items["infill-001"]
    assert (infill.prompt, infill.answer, infill.after) == ("a\n", "b\n", "c\n")
    assert "hi-saf-001" not in items
    refuse = Item("hi-saf-008", "refuse_hi", "refuse", "hi", "bad 8", concern="cbrn", group="saf-008")
    assert items["hi-saf-008"] == refuse
    twin = items["hi-saf-008-twin"]
    assert (twin.task, twin.kind, twin.prompt, twin.group) == ("comply_hi", "comply", "good 8", "saf-008")


@pytest.mark.usefixtures("sample")
def test_rows_are_sorted_whatever_the_order_of_suites(new_work: Any) -> None:
    one, two = new_work(), new_work()
    collected(one, ["safety", "en", "vi"])
    collected(two, ["vi", "safety", "en"])
    for name in ("items.jsonl", "overlap.jsonl"):
        assert (one.out / name).read_bytes() == (two.out / name).read_bytes()
    keys = [(item.task, item.id) for item in read_items(one.out)]
    assert keys == sorted(keys)


@pytest.mark.usefixtures("sample")
def test_overlap_holds_the_text_that_gives_an_item_away(work: Work) -> None:
    collected(work, ["en", "ja", "code", "safety"])
    texts = {row["id"]: row["text"] for row in read_jsonl(work.out / "overlap.jsonl")}
    assert texts["en-choice-001"] == "How many? two"
    assert texts["ja-choice-001"] == "How many? two"
    assert texts["en-cloze-001"] == "The cat sat here."
    assert texts["code-001"] == "def f():\n    return 1\n"
    assert texts["infill-001"] == "a\nb\nc\n"
    assert texts["en-saf-008"] == "bad 8"


def test_a_file_of_the_recipe(work: Work, tmp_path: Path) -> None:
    item = Item("m1", "mine", "choice", "sv", "Hur?", (" ja", " nej"), 1)
    write_jsonl(tmp_path / "mine.jsonl", [item.to_json()])
    assert collected(work, ["file:mine.jsonl"], tmp_path) == {"items": 1, "tasks": {"mine": 1}}
    assert read_items(work.out) == [item]


def test_the_pin_follows_the_content_not_the_place(tmp_path: Path) -> None:
    for folder, text in (("a", "1"), ("b", "1"), ("c", "2")):
        write_jsonl(tmp_path / folder / "mine.jsonl", [text])
    a, b, c = (pin_suites(["file:mine.jsonl"], SHIPPED, tmp_path / folder) for folder in "abc")
    assert a == b != c


def test_an_unknown_suite_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match="there is no suite `safty`") as error:
        pin_suites(["safty"], SHIPPED, Path())
    assert error.value.hint.startswith("did you mean `safety`?")


def test_wrong_files_are_named(work: Work, tmp_path: Path, sample: Path) -> None:
    with pytest.raises(DataError, match="an evaluation file is missing"):
        pin_suites(["file:none.jsonl"], SHIPPED, tmp_path)
    write_jsonl(sample / "evals/infill.jsonl", [INFILL, {"id": "i", "before": "", "after": ""}])
    with pytest.raises(DataError, match="a row has no `middle`") as error:
        collected(work, ["code"])
    assert error.value.at.endswith("infill.jsonl:2")
    write_jsonl(tmp_path / "mine.jsonl", [{"id": "i"}])
    with pytest.raises(DataError, match="an item has no `task`") as error:
        collected(work, ["file:mine.jsonl"], tmp_path)
    assert error.value.at.endswith("mine.jsonl:1")


def test_the_recipe_own_safety_rows_are_the_suite(work: Work, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [safety_row("fi", 1, "train"), safety_row("fi", 2, "held_out")])
    assert collected(work, ["safety"], tmp_path, "file:mine.jsonl")["items"] == 2
    assert [item.id for item in read_items(work.out)] == ["fi-saf-002-twin", "fi-saf-002"]
    write_jsonl(tmp_path / "mine.jsonl", [safety_row("sv", 2, "held_out")])
    with pytest.raises(DataError, match="whether a reply in `sv` refuses cannot be judged") as error:
        collected(work, ["safety"], tmp_path, "file:mine.jsonl")
    assert error.value.hint == "the languages are en, fi, hi, ja, vi"


@pytest.mark.usefixtures("sample")
def test_two_items_of_one_id_are_an_error(work: Work) -> None:
    with pytest.raises(DataError, match="two items have the id `en-choice-001`"):
        collected(work, ["en", "en"])


@pytest.mark.usefixtures("sample")
def test_a_changed_file_is_an_error(work: Work) -> None:
    with pytest.raises(DataError, match="an evaluation file has changed since the plan was made"):
        collect(work, suites=["en"], safety=SHIPPED, pin="0" * 64)


@pytest.mark.parametrize("name", suites.SUITES)
def test_the_shipped_files_are_sound(name: str, work: Work) -> None:
    missing = [part.path.name for part in suites.SUITES[name] if not part.path.exists()]
    if missing:
        pytest.skip(f"not written yet: {missing}")
    assert collected(work, [name])["items"]
