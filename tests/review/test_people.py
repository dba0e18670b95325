"""People are who their names say, however these are written; time decides between ledgers, not the names of files."""

from pathlib import Path

import pytest

from aurora_m.core.errors import DataError
from aurora_m.review.decisions import Decision, append
from aurora_m.review.people import check_people, last_words, person

ANN = "ann"
UNSEEN = "\ufe0f\u034f\u3164\u115f\uffa0\u2800\u17b4\u180b\u061c\U000e0100\U000e01ef\U0001d173"
LATE, EARLY = "2026-02-01T00:00:00Z", "2026-01-31T23:00:00-00:30"


def decision(reviewer: str, verdict: str = "ok", at: str = EARLY, item: str = "x") -> Decision:
    return Decision(item, verdict, reviewer, "", at)


@pytest.mark.parametrize(
    "name",
    ["Ann", "ann ", " \tANN\n", "ann\u200b", "\u2060a\u00adnn", "ａｎｎ", "𝐚𝐧𝐧", *(f"a{char}nn" for char in UNSEEN)],
)
def test_one_person_is_one_however_the_name_is_written(name: str) -> None:
    assert person(name) == ANN
    assert check_people([[decision("Ann "), decision(name)]]) == {ANN: "Ann"}
    assert last_words([[decision("ann"), decision(name, "reject")]]) == {"x": {ANN: "reject"}}


@pytest.mark.parametrize(
    ("one", "other"), [("Åsa  Öberg", "a\u030asa o\u0308berg"), ("STRASSE", "straße"), ("Ⅷ", "viii"), ("न\u093c", "ऩ")]
)
def test_names_of_all_languages(one: str, other: str) -> None:
    assert person(one) == person(other)


def test_different_people_stay_different() -> None:
    names = [
        "ann", "anna", "ann-2", "ана", "안나", "アン", "ปราณี", "ανθη", "author 1", "author l", "佐々木 サトウ はな",
        "佐藤 Ken", "金 안나", "林ㄌㄧㄣˊ", "अनु शर्मा", "Nguyễn Thị Ánh",
        "Päivi Öljylä", "Oʼgʻiloy", "فاطمة", "אנה", "Բաբկեն",
    ]  # fmt: skip
    assert len(check_people([[decision(name) for name in names]])) == len(names)


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u00a0\u2003", "\u2800", "\u3164\ufe0f"])
def test_nobody_decides_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        check_people([[decision("ann"), decision(name)]])
    assert (caught.value.what, caught.value.at) == ("a decision has no reviewer", f"the decision at {EARLY}")
    if not name.strip():
        with pytest.raises(ValueError, match="a decision has no reviewer"):
            append(tmp_path / "d.jsonl", [decision(name)])
        assert not (tmp_path / "d.jsonl").exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("apo", "аро"),
        ("APO", "ΑΡΟ"),
        ("ann", "ɑnn"),
        ("ann", "ꓮꓠꓠ"),
        ("ann b", "ꓮꓠꓠ\u200b ꓐ"),
        ("eva", "ᎬᏙᎪ"),
        ("ono", "օոօ"),
    ],
)
def test_names_that_look_alike_are_told(one: str, other: str) -> None:
    for ledgers in ([[decision(one), decision(other)]], [[decision(one)], [decision(other)]]):
        with pytest.raises(DataError, match="two reviewers have names that look alike: ") as caught:
            check_people(ledgers)
        assert "\\u" in caught.value.what
        assert caught.value.at == "reviewers"


@pytest.mark.parametrize("name", ["аnn", "Αnn", "ANN\u200bА", "ꓮnn", "Ꭺnn", "աnn", "Ann Сох", "ⲁnn", "佐藤 Kеn"])
def test_a_name_of_mixed_scripts_is_refused(name: str) -> None:
    with pytest.raises(DataError) as caught:
        check_people([[decision(name)]])
    assert caught.value.what == f"a reviewer's name mixes scripts: `{ascii(name)[1:-1]}`"
    assert caught.value.hint == (
        "letters of two scripts can look alike: let them decide under a name in one, in a new ledger"
    )


def test_time_decides_between_ledgers_and_lines_within_one() -> None:
    early, late = [decision("ann", "reject", EARLY)], [decision("Ann", "ok", LATE)]
    for ledgers in ([early, late], [late, early]):
        assert last_words(ledgers) == {"x": {ANN: "ok"}}
    assert last_words([[*late, *early]]) == {"x": {ANN: "reject"}}  # a line is added after those that stand before it
    naive = [decision("ann", "reject", "2026-02-02T00:00:00")]
    assert last_words([naive, late]) == {"x": {ANN: "reject"}}


def test_at_the_same_time_a_reject_counts() -> None:
    yes, no = [decision("ann", "ok", LATE)], [decision("ann", "reject", "2026-02-01T01:00:00+01:00")]
    assert last_words([yes, no]) == last_words([no, yes]) == {"x": {ANN: "reject"}}


def test_a_time_that_cannot_be_read_is_told_where_it_matters() -> None:
    odd = [decision("ann", at="yesterday"), decision("ann", at="today")]
    assert last_words([odd, [decision("bo")], [decision("ann", item="y")]])["x"] == {ANN: "ok", "bo": "ok"}
    with pytest.raises(DataError, match="the time of a decision cannot be read") as caught:
        last_words([odd, [decision("ann")]])
    assert caught.value.at == "`today`"
