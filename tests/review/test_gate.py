"""The gate: people are waited for, and one reject keeps a row out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.errors import DataError, Waiting
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.core.uri import local_files, pin_files
from aurora_m.review.decisions import Decision, append, item_digest
from aurora_m.review.gate import agreement, gate


def row(name: str, **changes: str) -> dict[str, str]:
    about = {"id": name, "lang": name[:2], "concern": "harm", "split": "train"}
    return {**about, "prompt": f"p {name}", "answer": "a", "twin": "t", "twin_answer": "ta", **changes}


def decision(item: str, verdict: str, reviewer: str) -> Decision:
    return Decision(item, verdict, reviewer, "a reason", "2026-01-01T00:00:00Z")


def gated(work: Work, rows: str = "file:rows.jsonl", decisions: str = "file:decisions.jsonl") -> Any:
    """What the gate says, with the files pinned as they are now."""
    pins = [pin_files(local_files(uri, work.runtime.root)) for uri in (rows, decisions)]
    facts = gate(work, rows=rows, rows_pin=pins[0], decisions=decisions, decisions_pin=pins[1], reviewers=2)
    return to_json(facts)


def passed(folder: Path, rows: Sequence[dict[str, str]], votes: Sequence[tuple[int, str, str]]) -> Any:
    """What the gate says and lets through, for votes (row, reviewer, verdict)."""
    write_jsonl(folder / "rows.jsonl", list(rows))
    (folder / "decisions.jsonl").unlink(missing_ok=True)
    append(folder / "decisions.jsonl", [decision(item_digest(rows[at]), verdict, who) for at, who, verdict in votes])
    work = Work(folder / "out", folder, Runtime(folder, root=folder), Log(quiet=True))
    return gated(work), read_jsonl(folder / "out/rows.jsonl")


def test_rows_that_all_approve_pass(tmp_path: Path) -> None:
    rows = [row("fi-saf-001"), row("en-saf-001"), row("en-saf-002", split="held_out")]
    votes = [(0, "ann", "ok"), (0, "bo", "ok"), (1, "ann", "ok"), (1, "bo", "ok")]
    facts, kept = passed(tmp_path, rows, votes)
    about = {"id": "fi-saf-001", "lang": "fi", "concern": "harm"}
    assert kept[:2] == [
        {**about, "kind": "harmful", "prompt": "p fi-saf-001", "answer": "a"},
        {**about, "kind": "twin", "prompt": "t", "answer": "ta"},
    ]
    assert [found["id"] for found in kept[2:]] == ["en-saf-001"] * 2
    assert facts == {
        "rows": 2,
        "passed": 2,
        "languages": {"en": 1, "fi": 1},
        "reviewers": ["ann", "bo"],
        "agreement": 1.0,
    }


def test_a_language_may_have_three_letters(tmp_path: Path) -> None:
    rows = [row("saf-001", lang="fil")]
    facts, kept = passed(tmp_path, rows, [(0, "ann", "ok"), (0, "bo", "ok")])
    assert (facts["languages"], {found["lang"] for found in kept}) == ({"fil": 1}, {"fil"})


def test_one_reject_keeps_a_row_out(tmp_path: Path) -> None:
    rows = [row("en-saf-001"), row("en-saf-002")]
    votes = [(0, "ann", "ok"), (0, "bo", "reject"), (0, "cy", "ok"), (1, "ann", "ok"), (1, "bo", "ok")]
    facts, kept = passed(tmp_path, rows, votes)
    assert {found["id"] for found in kept} == {"en-saf-002"}
    assert (facts["rows"], facts["passed"]) == (2, 1)


def test_the_last_word_of_a_reviewer_counts(tmp_path: Path) -> None:
    rows = [row("en-saf-001")]
    facts, _ = passed(tmp_path, rows, [(0, "ann", "reject"), (0, "bo", "ok"), (0, "ann", "ok")])
    assert facts["passed"] == 1
    facts, _ = passed(tmp_path, rows, [(0, "ann", "ok"), (0, "bo", "ok"), (0, "bo", "reject")])
    assert facts["passed"] == 0


@pytest.mark.parametrize(
    ("votes", "done"),
    [
        ([], 0),
        ([(0, "ann", "ok"), (1, "ann", "ok")], 0),
        ([(0, "ann", "ok"), (0, "ann", "ok"), (1, "bo", "ok")], 0),  # one person is one reviewer
        ([(0, "ann", "ok"), (0, "bo", "reject"), (1, "ann", "ok")], 1),
    ],
)
def test_it_waits_for_people(tmp_path: Path, votes: list[tuple[int, str, str]], done: int) -> None:
    with pytest.raises(Waiting) as caught:
        passed(tmp_path, [row("en-saf-001"), row("en-saf-002"), row("en-saf-003", split="held_out")], votes)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        f"error: {done} of 2 safety rows are reviewed\n  at: review.decisions = file:decisions.jsonl\n\n"
        "hint: every row needs 2 reviewers; the run goes on from here when they have decided"
    )
    assert not (tmp_path / "out/rows.jsonl").exists()


@pytest.mark.parametrize("key", ["prompt", "answer", "twin", "twin_answer"])
def test_a_changed_text_needs_a_new_decision(tmp_path: Path, key: str) -> None:
    rows = [row("en-saf-001")]
    votes = [(0, "ann", "ok"), (0, "bo", "ok")]
    assert passed(tmp_path, rows, votes)[0]["passed"] == 1
    write_jsonl(tmp_path / "rows.jsonl", [{**rows[0], key: "changed"}])
    work = Work(tmp_path / "out", tmp_path, Runtime(tmp_path, root=tmp_path), Log(quiet=True))
    with pytest.raises(Waiting, match="0 of 1 safety rows"):
        gated(work)
    assert item_digest({**rows[0], "id": "en-other", "concern": "other"}) == item_digest(rows[0])


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"split": None}, "a safety row has no split"),
        ({"twin": 3}, "a safety row has no twin"),
        ({"lang": None}, "a safety row has no lang"),
        ({"lang": ""}, "a safety row has no lang"),
        ({"id": None}, "a safety row has no id"),
        ({"id": ""}, "a safety row has no id"),
        ({"split": "test"}, "there is no split `test`"),
    ],
)
def test_a_row_that_lacks_a_key(tmp_path: Path, wrong: Any, what: str) -> None:
    rows = [row("en-saf-001"), {**row("en-saf-002"), **wrong}]
    with pytest.raises(DataError) as caught:
        passed(tmp_path, rows, [])
    assert (caught.value.what, caught.value.at) == (what, "rows.jsonl, line 2")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"id": ', "a safety row is not JSON: "),
        (b'{"id": "\xff"}', "a safety row is not JSON: "),
        (b"[]", "a safety row is not a JSON object"),
        (b'"en-saf-001"', "a safety row is not a JSON object"),
    ],
)
def test_a_line_that_is_no_row(tmp_path: Path, line: bytes, what: str) -> None:
    good = json.dumps(row("en-saf-001")).encode()
    (tmp_path / "rows.jsonl").write_bytes(good + b"\n\n" + line + b"\n")
    (tmp_path / "decisions.jsonl").touch()
    work = Work(tmp_path / "out", tmp_path, Runtime(tmp_path, root=tmp_path), Log(quiet=True))
    with pytest.raises(DataError) as caught:
        gated(work)
    assert caught.value.what.startswith(what)
    assert caught.value.at == "rows.jsonl, line 3"


YES, NO = "ok", "reject"


@pytest.mark.parametrize(
    ("votes", "agreed", "alpha"),
    [
        # 5 ok and 3 reject in four pairs, one pair differs: 1 - (2/8) / (2*5*3 / (8*7))
        ([[YES, YES], [YES, NO], [NO, NO], [YES, YES]], 0.75, 0.5333),
        # one of three votes differs: 4 of 6 ordered pairs, each of weight 1/2, so 2 of 5: 1 - (2/5) / (2*4*1 / (5*4))
        ([[YES, YES, NO], [YES, YES]], 0.6, 0.0),
        ([[YES, NO], [NO, YES]], 0.0, -0.5),
        ([[YES, YES], [NO, NO]], 1.0, 1.0),
        ([[YES, YES], [YES, YES]], 1.0, None),
        ([[YES], [NO], []], None, None),
        ([[YES], [YES, NO]], 0.0, 0.0),
    ],
)
def test_agreement_by_hand(votes: list[list[str]], agreed: float | None, alpha: float | None) -> None:
    assert agreement(votes) == (agreed, alpha)


def test_the_samples_decisions_are_whole_and_let_rows_through(tmp_path: Path) -> None:
    work = Work(tmp_path, tmp_path, Runtime(tmp_path), Log(quiet=True))
    facts = gated(work, "sample:safety/*", "sample:reviews/decisions")
    assert set(facts["languages"]) == {"en", "fi", "hi", "ja", "vi"}
    assert 0 < facts["passed"] <= facts["rows"]


def test_one_person_under_two_names_is_no_second_reviewer(tmp_path: Path) -> None:
    rows = [row("en-saf-001")]
    with pytest.raises(Waiting):
        passed(tmp_path, rows, [(0, "ann", "ok"), (0, "Ann ", "ok")])
    with pytest.raises(DataError, match="two reviewers have names that look alike"):
        passed(tmp_path, rows, [(0, "ann", "ok"), (0, "ɑnn", "ok")])
    facts, _ = passed(tmp_path, rows, [(0, "Ann", "ok"), (0, "ann", "reject"), (0, "bo", "ok")])
    assert (facts["reviewers"], facts["passed"]) == (["Ann", "bo"], 0)


@pytest.mark.parametrize("names", [("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")])
def test_of_two_ledgers_the_later_time_counts(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [row("en-saf-001")]
    write_jsonl(tmp_path / "rows.jsonl", list(rows))
    for name, verdict, at in zip(
        names, ("reject", "ok"), ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), strict=True
    ):
        made = [Decision(item_digest(rows[0]), verdict, who, "", at) for who in ("ann", "bo")]
        append(tmp_path / "ledgers" / name, made)
    work = Work(tmp_path / "out", tmp_path, Runtime(tmp_path, root=tmp_path), Log(quiet=True))
    assert gated(work, decisions="file:ledgers/*.jsonl")["passed"] == 1


@pytest.mark.parametrize("rows", [[], [row("en-saf-001", split="held_out")]])
def test_rows_of_which_none_is_for_training(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    with pytest.raises(DataError, match="no safety row is for training") as caught:
        passed(tmp_path, rows, [])
    assert caught.value.at == "file:rows.jsonl"
