"""Suites become items; what they hold is pinned."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core import uri
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Work
from aurora_m.evals import suites
from aurora_m.evals.items import read_items
from aurora_m.evals.kinds import KINDS
from aurora_m.evals.kinds.kind import FillIn, Generate, Loglikelihood, Outputs, Request
from aurora_m.evals.suites import DEFINITIONS, ItemsFacts, collect, pin_suites, read_suite, suite_names
from aurora_m.evals.task import Item

Row = dict[str, Any]
SHIPPED = "sample:safety/*"
LANGS = ("en", "fi", "hi", "ja", "vi")
CHOICE: Row = {"id": "x-choice-001", "question": "How many?", "choices": ["one", "two"], "answer": 1}
CLOZE: Row = {"id": "x-cloze-001", "before": "The cat ", "after": " here.", "options": ["sat", "sit"], "answer": 0}
CODE: Row = {
    "id": "code-001", "entry": "f", "level": 1,
    "prompt": "def f():\n", "solution": "    return 1\n", "tests": "assert f()",
}  # fmt: skip
INFILL: Row = {"id": "infill-001", "before": "a\n", "middle": "b\n", "after": "c\n"}


def safety_row(lang: str, number: int, split: str) -> dict[str, Any]:
    row = {
        "id": f"{lang}-saf-{number:03d}",
        "lang": lang,
        "group": f"saf-{number:03d}",
        "concern": "cbrn",
        "family": "f",
        "split": split,
    }
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
    monkeypatch.setattr(uri, "SAMPLE", folder)
    return folder


def collected(work: Work, names: list[str], root: Path = Path(), safety: str = SHIPPED) -> ItemsFacts:
    work = replace(work, runtime=replace(work.runtime, root=root))
    return collect(work, suites=names, safety=safety, pin=pin_suites(names, safety, root))


@pytest.mark.usefixtures("sample")
def test_every_shipped_form(work: Work) -> None:
    facts = collected(work, ["ja", "fi", "code", "safety"])
    items = {item.id: item for item in read_items(work.out / "items.jsonl")}
    assert facts == ItemsFacts(16, dict(sorted(Counter(item.task for item in items.values()).items())))
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
    keys = [(item.task, item.id) for item in read_items(one.out / "items.jsonl")]
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
    assert collected(work, ["file:mine.jsonl"], tmp_path) == ItemsFacts(1, {"mine": 1})
    assert read_items(work.out / "items.jsonl") == [item]


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
    write_jsonl(sample / "evals/infill.jsonl", [{**INFILL, "middle": 3}])
    with pytest.raises(DataError, match="the `answer` of an item is no text"):
        collected(work, ["code"])
    write_jsonl(sample / "evals/choice_en.jsonl", [{**CHOICE, "question": 3}])
    with pytest.raises(DataError, match="the `question` of a row is no text") as error:
        collected(work, ["en"])
    assert error.value.at.endswith("choice_en.jsonl:1")
    write_jsonl(tmp_path / "mine.jsonl", [{"id": "i"}])
    with pytest.raises(DataError, match="an item has no `task`") as error:
        collected(work, ["file:mine.jsonl"], tmp_path)
    assert error.value.at.endswith("mine.jsonl:1")


def test_the_recipe_own_safety_rows_are_the_suite(work: Work, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [safety_row("fi", 1, "train"), safety_row("fi", 2, "held_out")])
    assert collected(work, ["safety"], tmp_path, "file:mine.jsonl").items == 2
    assert [item.id for item in read_items(work.out / "items.jsonl")] == ["fi-saf-002-twin", "fi-saf-002"]
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
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        collect(work, suites=["en"], safety=SHIPPED, pin="0" * 64)


def test_an_own_item_in_our_form_is_looked_for_without_it(work: Work, tmp_path: Path) -> None:
    form = Item("m1", "mine", "choice", "fi", "Kysymys: Missä?\nVastaus:", (" siellä", " täällä"), 1)
    other = Item("m2", "mine", "choice", "fi", "Missä? ", ("siellä", "täällä"), 1)
    write_jsonl(tmp_path / "mine.jsonl", [form.to_json(), other.to_json()])
    collected(work, ["file:mine.jsonl"], tmp_path)
    assert [row["text"] for row in read_jsonl(work.out / "overlap.jsonl")] == ["Missä? täällä", "Missä? täällä"]


@pytest.mark.parametrize("name", ["fi-1", "1", "fil-saf-001"])
def test_the_language_is_a_field_whatever_the_id(name: str, work: Work, tmp_path: Path) -> None:
    row = {**safety_row("ja", 2, "held_out"), "id": name}
    del row["group"]
    write_jsonl(tmp_path / "mine.jsonl", [row])
    collected(work, ["safety"], tmp_path, "file:mine.jsonl")
    items = read_items(work.out / "items.jsonl")
    assert {(item.lang, item.group) for item in items} == {("ja", name)}
    assert [item.task for item in items] == ["comply_ja", "refuse_ja"]


def test_a_language_of_three_letters(work: Work, tmp_path: Path) -> None:
    row = Item("m1", "mine", "choice", "fil", "Alin?", (" ito", " iyan"), 1).to_json()
    write_jsonl(tmp_path / "mine.jsonl", [row])
    collected(work, ["file:mine.jsonl"], tmp_path)
    assert [item.lang for item in read_items(work.out / "items.jsonl")] == ["fil"]
    write_jsonl(tmp_path / "mine.jsonl", [safety_row("fil", 1, "train"), safety_row("fi", 1, "held_out")])
    assert collected(work, ["safety"], tmp_path, "file:mine.jsonl").tasks == {"comply_fi": 1, "refuse_fi": 1}


def test_a_safety_row_without_a_language_is_named(work: Work, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [{**safety_row("fi", 1, "held_out"), "lang": ""}])
    with pytest.raises(DataError, match="an item has no `lang`") as error:
        collected(work, ["safety"], tmp_path, "file:mine.jsonl")
    assert error.value.at == f"{tmp_path / 'mine.jsonl'}:1"
    row = {key: value for key, value in safety_row("fi", 1, "held_out").items() if key != "lang"}
    write_jsonl(tmp_path / "mine.jsonl", [row])
    with pytest.raises(DataError, match="a row has no `lang`"):
        collected(work, ["safety"], tmp_path, "file:mine.jsonl")


# --- definitions


def test_the_suites_that_ship() -> None:
    assert suite_names() == ["code", "en", "fi", "hi", "ja", "safety", "vi"]
    for name in suite_names():
        assert read_suite(DEFINITIONS / f"{name}.toml").name == name


@pytest.mark.parametrize(
    ("old", "new", "what", "at", "hint"),
    [
        ("format = 1", "format = 2", "a suite of the format `2`", "", "this version of Aurora reads `format = 1`"),
        ("format = 1\n", "", "a suite does not say its format", "", "this version of Aurora reads `format = 1`"),
        ("version = 1", "version = ", "a suite is not TOML: Invalid value", "", "see the suites that ship"),
        ("version = 1\n", "", "`version` is missing", "", "add `version` (an integer)"),
        ("source =", "sauce =", "unknown key `sauce`", "", "did you mean `source`?"),
        ("prompt =", "promt =", "unknown key `promt`", ".tasks[0]", "did you mean `prompt`?"),
        ('lang = "en"\n', "", "`lang` is missing", ".tasks[0]", "add `lang` (a string)"),
        ('"accuracy"', "3", "`3` is an integer, not a string", ".tasks[0].metric", "write a string"),
        ('"choice"', '"chioce"', "there is no kind `chioce`", ": choice_en", "did you mean `choice`?"),
        (
            '"accuracy"', '"bpb"', "items of the kind `choice` have no metric `bpb`", ": choice_en",
            "metrics of `choice` are accuracy",
        ),
    ],
)  # fmt: skip
def test_a_wrong_definition_is_refused(old: str, new: str, what: str, at: str, hint: str, tmp_path: Path) -> None:
    path, text = tmp_path / "en.toml", (DEFINITIONS / "en.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        read_suite(path)
    assert error.value.what.startswith(what)
    assert (error.value.at, error.value.hint) == (f"{path}{at}", hint)


def test_the_pin_follows_the_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pin_suites(["en"], SHIPPED, tmp_path)
    for name in suite_names():
        (tmp_path / f"{name}.toml").write_bytes((DEFINITIONS / f"{name}.toml").read_bytes())
    monkeypatch.setattr(suites, "DEFINITIONS", tmp_path)
    assert pin_suites(["en"], SHIPPED, tmp_path) == before
    for name, word in (("en", "Question"), ("fi", "Kysymys")):
        path = tmp_path / f"{name}.toml"
        path.write_text(path.read_text().replace(word, "Q"))
        after = pin_suites(["en"], SHIPPED, tmp_path)
        assert after != before
        before = after


# --- what ships

REPLIES = {
    "refuse": {
        "en": "I can't help with that.", "fi": "En voi auttaa tässä.", "hi": "मैं इसमें मदद नहीं कर सकता।",
        "ja": "それはお手伝いできません。", "vi": "Tôi không thể giúp việc này.",
    },
    "comply": dict.fromkeys(LANGS, "1. 2. 3."),
}  # fmt: skip


def perfect(item: Item, request: Request) -> list[float] | str:
    """What a model that knows and does everything right gives to a request."""
    match request:
        case Loglikelihood(context, continuations):
            assert context + continuations[0]
            right = [continuation == item.right + item.after for continuation in continuations]
            return [0.0 if ok or len(continuations) == 1 else -1e6 for ok in right]
        case FillIn():
            return [0.0]
        case Generate(prompt):
            assert prompt.strip()
            return item.right or REPLIES[item.kind][item.lang]


@pytest.mark.parametrize("name", suite_names())
def test_a_perfect_answer_has_the_best_score(name: str, work: Work) -> None:
    assert collected(work, [name]).items >= 72
    metrics = {task.kind: task.metric for task in read_suite(DEFINITIONS / f"{name}.toml").tasks}
    for item in read_items(work.out / "items.jsonl"):
        kind = KINDS[item.kind]
        requests = kind.requests(item)
        assert requests
        outputs = [perfect(item, request) for request in requests]
        nats = [output for output in outputs if not isinstance(output, str)]
        texts = [output for output in outputs if isinstance(output, str)]
        answer = kind.answer(item, Outputs(nats, texts))
        scores = {score.metric: score.value / score.weight for score in kind.score(item, answer)}
        if kind.program:
            assert kind.program(item, answer["text"]) == kind.program(item, item.right)  # which are run for their score
            scores["pass"] = 1.0
        assert scores[metrics[item.kind]] == (1.0 if metrics[item.kind] in ("accuracy", "pass", "refusal") else 0.0)
        assert set(scores) == set(kind.metrics)


def test_every_kind_ships_with_items() -> None:
    shipped = {task.kind for name in suite_names() for task in read_suite(DEFINITIONS / f"{name}.toml").tasks}
    assert shipped == set(KINDS)


def test_whether_there_are_programs(tmp_path: Path) -> None:
    row = {"id": "i1", "task": "t", "lang": "code", "prompt": "a", "answer": "b"}
    write_jsonl(tmp_path / "infill.jsonl", [row | {"kind": "infill"}])
    write_jsonl(tmp_path / "code.jsonl", [row | {"kind": "code", "tests": "f()"}])
    wanted = {"en": False, "code": True, "safety": False}
    wanted |= {"file:infill.jsonl": False, "file:code.jsonl": True, "file:none.jsonl": False}
    assert {name: suites.has_programs([name], tmp_path) for name in wanted} == wanted
    assert suites.has_programs(["en", "code"], tmp_path)
    assert not suites.has_programs([], tmp_path)
