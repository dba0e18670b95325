"""Bytes change only with versions: every step makes of a small fixed input what the table says."""

from dataclasses import replace
from pathlib import Path

import pytest

from aurora_m.core.errors import DataError
from aurora_m.core.step import Runtime, Work
from aurora_m.evals import suites
from aurora_m.graph.build import build
from aurora_m.recipe import load
from tests.graph import ratchet
from tests.graph.ratchet import COMMAND, Made, Table, wrong

SAME = {"files": True, "floats": True}
ONE = Made("data.read.sources:fetch", 4, "a", "i", "d", False)
TWO = Made("train.stage:train", 3, "a", "i", "d", True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, dict[str, str]]:
    """Every kind of step, made here."""
    return ratchet.make(tmp_path_factory.mktemp("ratchet"))


def test_every_step_can_be_made(made: tuple[Table, dict[str, str]]) -> None:
    table, errors = made
    assert errors == {}
    assert {row.fn for row in table.values()} == declared()


def declared() -> set[str]:
    """The functions that the rooms' `steps.py` name."""
    texts = [path.read_text() for path in (Path(__file__).parents[2] / "aurora_m").glob("*/steps.py")]
    return {line.split('"')[1] for text in texts for line in text.splitlines() if line.startswith("@step(")}


@pytest.mark.parametrize("kind", ["files", "floats"])
def test_bytes_are_those_of_the_table(made: tuple[Table, dict[str, str]], kind: str) -> None:
    old, there = ratchet.read()
    here = ratchet.environment()
    if not ratchet.same_environment(here, there)[kind]:
        pytest.skip(f"the {kind} of the table were made with {there[kind]}, here are {here[kind]}")
    of_kind = [
        {name: row for name, row in table.items() if row.floats == (kind == "floats")} for table in (old, made[0])
    ]
    assert wrong(of_kind[0], of_kind[1], SAME) == {}


# --- what is found


def test_what_the_table_has_is_right() -> None:
    assert wrong({"one": ONE, "two": TWO}, {"one": ONE, "two": TWO}, SAME) == {}


def test_bytes_that_changed_without_a_new_version() -> None:
    found = wrong({"one": ONE}, {"one": replace(ONE, digest="other")}, SAME)
    assert found == {
        "one": "its bytes changed, and its version did not: raise that of `data.read.sources:fetch` in "
        f"aurora_m/data/steps.py; then run `{COMMAND}`, and commit the table"
    }
    assert not ratchet.silent(found)


def test_a_new_version_without_a_new_entry() -> None:
    found = wrong({"one": ONE}, {"one": replace(ONE, version=5, asked="b", digest="other")}, SAME)
    assert found["one"].startswith("version 5 is not in the table, which has 4: run")
    assert ratchet.silent(found)


def test_steps_that_come_go_or_are_asked_for_something_else() -> None:
    found = wrong({"old": ONE, "both": ONE}, {"both": replace(ONE, asked="b", digest="other"), "new": ONE}, SAME)
    assert {name: what.split(":")[0] for name, what in found.items()} == {
        "old": "it is not made any more",
        "both": "its function or its params are others",
        "new": "it is not in the table",
    }


def test_what_only_follows_is_told_where_nothing_else_is_wrong() -> None:
    old, moved = {"one": ONE, "two": TWO}, replace(TWO, inputs="j", digest="other")
    assert [*wrong(old, {"one": replace(ONE, digest="other"), "two": moved}, SAME)] == ["one"]
    assert wrong(old, {"one": ONE, "two": moved}, SAME)["two"].startswith("what goes into it is other: run")


def test_floats_of_another_machine_are_not_compared_but_for_their_versions() -> None:
    old, other = {"one": ONE, "two": TWO}, replace(TWO, inputs="j", asked="b", digest="other")
    elsewhere = {"files": True, "floats": False}
    assert wrong(old, {"one": ONE, "two": other}, elsewhere) == {}
    assert [*wrong(old, {"one": replace(ONE, digest="other"), "two": other}, elsewhere)] == ["one"]
    assert [*wrong(old, {"one": ONE, "two": replace(other, version=4)}, elsewhere)] == ["two"]
    here = {"files": {"numpy": "2"}, "floats": {"cpu": "here"}}
    assert ratchet.same_environment(here, {**here, "floats": {"cpu": "there"}}) == elsewhere
    assert not any(ratchet.same_environment(here, {**here, "files": {"numpy": "1"}}).values())


def made_items(place: Path) -> tuple[Table, dict[str, str]]:
    """The step `items` of the small recipe, made below a folder."""
    steps, errors = build(load(ratchet.FOLDER / "scratch.toml"), ratchet.FOLDER), dict[str, str]()
    made = ratchet._run([steps["items"], steps["fetch.fi"]], Runtime(place, ratchet.FOLDER), "x", errors)
    return {name: ratchet._made(steps[name], artifact) for name, artifact in made.items()}, errors


def test_one_byte_more_is_found_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = made_items(tmp_path / "before")
    collect = suites.collect

    def collect_more(work: Work, **given: object) -> object:
        facts = collect(work, **given)  # type: ignore[arg-type]
        with (work.out / "items.jsonl").open("a") as file:
            file.write("\n")
        return facts

    monkeypatch.setattr(suites, "collect", collect_more)
    after, errors = made_items(tmp_path / "after")
    assert errors == {}
    assert [*wrong(before, after, SAME)] == ["items"]
    assert not ratchet.silent(wrong(before, after, SAME))


def test_a_step_that_fails_is_told_and_the_others_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: Work, **given: object) -> object:
        raise DataError("it is broken", at="here", hint="mend it")

    monkeypatch.setattr(suites, "collect", broken)
    made, errors = made_items(tmp_path)
    assert [*made] == ["fetch.fi"]
    assert [*errors] == ["x/items"]
    assert errors["x/items"].startswith("DataError: error: it is broken")


# --- the command


@pytest.mark.parametrize(
    ("new", "errors", "code", "says"),
    [
        (ONE, {}, 0, "1 steps"),
        (replace(ONE, version=5, asked="b", digest="other"), {}, 0, "version 5 is not in the table"),
        (replace(ONE, digest="other"), {}, 1, "nothing is written; mend the steps, raise the versions"),
        (ONE, {"two": "it is broken"}, 1, "two: it is broken"),
    ],
)
def test_the_command_writes_the_table_unless_a_version_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    new: Made,
    errors: dict[str, str],
    code: int,
    says: str,
) -> None:
    path, here = tmp_path / "table.json", {"files": {"numpy": "2"}, "floats": {"cpu": "here"}}
    ratchet.write({"one": ONE}, here, path)
    assert ratchet.read(path) == ({"one": ONE}, here)
    monkeypatch.setattr(ratchet, "TABLE", path)
    monkeypatch.setattr(ratchet, "environment", lambda: here)
    monkeypatch.setattr(ratchet, "make", lambda place: ({"one": new}, errors))
    assert ratchet.main() == code
    assert says in capsys.readouterr().out
    assert ratchet.read(path)[0] == {"one": ONE if code else new}
