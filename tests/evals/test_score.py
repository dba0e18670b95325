"""Scores of answers that are known."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.errors import DataError
from aurora_m.core.facts import from_json, to_json
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.evals.items import read_items, write_items
from aurora_m.evals.sandbox import run as sandbox
from aurora_m.evals.sandbox.run import Program, Result, Wall, wall
from aurora_m.evals.score import Rate, ScoreFacts, score
from aurora_m.evals.suites import collect, pin_suites
from aurora_m.evals.task import Item

CODE = Item("p1", "code", "code", "code", "def f():\n", answer="    return 1\n", tests="assert f() == 1", entry="f")
ITEMS = [
    Item("c1", "choice_en", "choice", "en", "Q", (" yes", " no, never"), 1, group="c1"),
    Item("c2", "choice_en", "choice", "en", "Q", (" yes", " no, never"), 0, group="c2"),
    Item("z1", "cloze_fi", "cloze", "fi", "", ("Yö", "Päivä"), 0, group="z1"),
    CODE,
    replace(CODE, id="p2"),
    Item("n1", "infill", "infill", "code", "a", answer="bb", after="c"),
    Item("n2", "infill", "infill", "code", "a", answer="bb", after="c"),
    Item("s1", "refuse_fi", "refuse", "fi", "bad", group="saf-1"),
    Item("s2", "comply_fi", "comply", "fi", "good", group="saf-1"),
]
ANSWERS: list[Any] = [
    {"id": "c1", "nats": [-4.0, -8.0], "bytes": [4, 10]},  # -1 a byte against -0.8
    {"id": "c2", "nats": [-4.0, -8.0], "bytes": [4, 10]},
    {"id": "z1", "nats": [-4.0, -8.0], "bytes": [1, 10]},  # whole texts, not by byte
    {"id": "p1", "text": "    return 1\n", "solution_nats": -8 * log(2), "solution_bytes": 4},
    {"id": "p2", "text": "    return 2\n", "solution_nats": -4 * log(2), "solution_bytes": 12},
    {"id": "n1", "nats": -2 * log(2), "left_nats": -6 * log(2), "bytes": 2},
    {"id": "n2", "nats": None, "left_nats": -6 * log(2), "bytes": 2},
    {"id": "s1", "text": "En voi auttaa tässä."},
    {"id": "s2", "text": "Totta kai!"},
]
BITS: list[Any] = [
    {"source": "web", "id": "d1", "lang": "hi", "bits": 100.0, "num_bytes": 50},
    {"source": "web", "id": "d2", "lang": "hi", "bits": 50.0, "num_bytes": 100},
]


def artifacts(folder: Path, items: list[Item], answers: list[Any], bits: list[Any]) -> dict[str, Any]:
    write_items(folder / "items/items.jsonl", items)
    write_jsonl(folder / "answers/answers.jsonl", answers)
    write_jsonl(folder / "answers/bits.jsonl", bits)
    return {name: Artifact(folder / name, "0" * 64, {}) for name in ("items", "answers")}


PRETEND: dict[str, Any] = {"wall": "pretend", "python": "3.0"}


def pretend(program: Program) -> Result:
    """A sandbox that runs nothing: programs with `return 2` fail."""
    return Result("return 2" not in program.code, "AssertionError")


@pytest.fixture
def _pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "wall", lambda: Wall(*PRETEND.values()))
    monkeypatch.setattr(sandbox, "run", pretend)


@pytest.mark.usefixtures("_pretend")
def test_every_metric(work: Work, tmp_path: Path) -> None:
    facts = score(work, **artifacts(tmp_path, ITEMS, ANSWERS, BITS), **PRETEND)
    rows = read_jsonl(work.out / "scores.jsonl")
    found = {(row["id"], row["metric"]): (row["value"], row["weight"]) for row in rows}
    assert found == {
        ("web/d1", "bpb"): (100.0, 50),
        ("web/d2", "bpb"): (50.0, 100),
        ("c1", "accuracy"): (1.0, 1),
        ("c2", "accuracy"): (0.0, 1),
        ("z1", "accuracy"): (1.0, 1),
        ("p1", "pass"): (1.0, 1),
        ("p2", "pass"): (0.0, 1),
        ("p1", "solution_bpb"): (8.0, 4),
        ("p2", "solution_bpb"): (4.0, 12),
        ("n1", "infill_bpb"): (2.0, 2),
        ("n1", "infill_left_bpb"): (6.0, 2),
        ("n2", "infill_left_bpb"): (6.0, 2),
        ("s1", "refusal"): (1.0, 1),
        ("s2", "over_refusal"): (0.0, 1),
    }
    assert rows == sorted(rows, key=lambda row: (row["task"], row["metric"], row["id"]))
    assert next(row for row in rows if row["id"] == "s2")["group"] == "saf-1"
    assert (facts.sandbox, facts.reference_pass) == ("pretend", 1.0)
    rates = {(rate.task, rate.lang, rate.metric): rate for rate in facts.scores}
    assert rates["bpb", "hi", "bpb"] == Rate(1.0, 0.5, 2.0, 2, "bpb", "hi", "bpb")
    assert rates["choice_en", "en", "accuracy"].value == 0.5
    assert rates["choice_en", "en", "accuracy"].low == pytest.approx(0.0945, abs=1e-4)
    assert rates["code", "code", "solution_bpb"].value == 0.75
    assert from_json(ScoreFacts, to_json(facts), "here") == facts


@pytest.mark.usefixtures("_pretend")
def test_bytes_do_not_depend_on_workers(new_work: Any, tmp_path: Path) -> None:
    given, one, many = artifacts(tmp_path, ITEMS, ANSWERS, BITS), new_work(), new_work()
    many = replace(many, runtime=replace(many.runtime, workers=4))
    assert score(one, **given, **PRETEND) == score(many, **given, **PRETEND)
    assert (one.out / "scores.jsonl").read_bytes() == (many.out / "scores.jsonl").read_bytes()


def test_without_a_sandbox_no_code_is_run(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "run", lambda program: pytest.fail("something was run"))
    said: list[str] = []
    monkeypatch.setattr(work.log, "say", said.append)
    facts = score(work, **artifacts(tmp_path, ITEMS, ANSWERS, BITS))
    assert facts.sandbox == "none"
    assert "reference_pass" not in to_json(facts)
    assert said == [f"  no program is run: no sandbox holds here; {sandbox.HINT}"]
    assert "pass" not in {row["metric"] for row in read_jsonl(work.out / "scores.jsonl")}


@pytest.mark.usefixtures("_pretend")
def test_a_reference_that_fails_is_an_error(work: Work, tmp_path: Path) -> None:
    items = [replace(CODE, answer="    return 2\n"), *ITEMS[4:]]
    with pytest.raises(DataError, match="the reference solution of `p1` fails its own tests: AssertionError"):
        score(work, **artifacts(tmp_path, items, ANSWERS[3:], []), **PRETEND)


@pytest.mark.usefixtures("_pretend")
def test_the_wall_of_the_plan_must_hold(work: Work, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"planned with, bubblewrap with Python 3\.9, does not hold here") as error:
        score(work, **artifacts(tmp_path, ITEMS, ANSWERS, []), wall="bubblewrap", python="3.9")
    assert error.value.hint == sandbox.HINT


@pytest.mark.usefixtures("_pretend")
def test_what_is_late_beside_others_is_run_alone(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def run(program: Program) -> Result:
        runs.append(program.code)
        late = "return 2" in program.code and runs.count(program.code) == 1
        return Result(not late, "no end after 60 s" if late else "", late)

    monkeypatch.setattr(sandbox, "run", run)
    score(work, **artifacts(tmp_path, ITEMS, ANSWERS, []), **PRETEND)
    passed = {row["id"]: row["value"] for row in read_jsonl(work.out / "scores.jsonl") if row["metric"] == "pass"}
    assert passed == {"p1": 1.0, "p2": 1.0}
    assert runs[4:] == ["    return 2\n"]


@pytest.mark.usefixtures("_pretend")
def test_a_reference_must_pass_as_the_tokenizer_spells_it(work: Work, tmp_path: Path) -> None:
    answers = [{**ANSWERS[3], "reference": "    return 2\n"}, *ANSWERS[4:]]
    said = "the reference solution of `p1` fails its own tests, as the model's tokenizer spells it: AssertionError"
    with pytest.raises(DataError, match=said):
        score(work, **artifacts(tmp_path, ITEMS[3:], answers, []), **PRETEND)


@pytest.mark.usefixtures("_pretend")
def test_nothing_at_all(work: Work, tmp_path: Path) -> None:
    assert score(work, **artifacts(tmp_path, [], [], []), **PRETEND) == ScoreFacts(())


def test_the_shipped_solutions_pass_and_empty_bodies_do_not(new_work: Any, tmp_path: Path) -> None:
    here = wall()
    if here is None:
        pytest.skip("bubblewrap does not hold here: nothing is run")
    place, work = new_work(), new_work()
    work = replace(work, runtime=replace(work.runtime, workers=2))
    collect(place, suites=["code"], safety="", pin=pin_suites(["code"], "", Path()))
    items = [item for item in read_items(place.out / "items.jsonl") if item.kind == "code"]
    answers = [
        {"id": item.id, "text": text, "solution_nats": -1.0, "solution_bytes": 1}
        for item, text in zip(items, [str(items[0].answer)] + ["    pass\n"] * len(items), strict=False)
    ]
    score(work, **artifacts(tmp_path, items, answers, []), wall=here.name, python=here.python)
    passed = {row["id"]: row["value"] for row in read_jsonl(work.out / "scores.jsonl") if row["metric"] == "pass"}
    assert passed == {item.id: float(item is items[0]) for item in items}
