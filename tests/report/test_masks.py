"""What a report shows of documents: no personal data, nor half of them where a sample was cut."""

from typing import Any

import pytest

from aurora_m.report.masks import masked, pieces


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to aino@example.org or call", "write to <EMAIL> or call"),
        ("write to aino@exam", "write to …"),
        ("call +358 40", "call …"),
        ("born 0101", "born …"),
        ("it ends in 2024.", "it ends in …"),
        ("5 apples and no more", "5 apples and no more"),
        ("電話は 03-12", "電話は …"),
    ],
)
def test_a_cut_number_or_address_at_the_end_is_not_shown(text: str, shown: str) -> None:
    assert masked(text, "mul") == shown


def test_the_language_says_what_is_a_number_of_a_person() -> None:
    text = "phone: 040 123 4567, home"
    assert masked(text, "fi") == "phone: <PHONE>, home"
    assert masked(text, "code") == text


def edit(kind: str, before: str, after: str) -> dict[str, Any]:
    return {"kind": kind, "id": "d1", "before": before, "after": after}


def test_of_what_was_masked_only_the_form_is_shown() -> None:
    sample = edit(
        "email", "@example.org, or eero@a.fi: x@y.org soon, 040", "@example.org, or eero@a.fi: <EMAIL> soon, 040"
    )
    assert pieces(sample, "en") == ("… or <EMAIL>: ", "x@x.xxx", "<EMAIL>", " soon, …")


def test_a_repair_shows_what_it_repaired_but_no_personal_data_in_it() -> None:
    sample = edit("encoding", "The cafÃ© a@b.org: cafÃ©!", "The café a@b.org: café!")
    assert pieces(sample, "en") == ("The caf", "Ã© <EMAIL>: cafÃ©", "é <EMAIL>: café", "!")


def test_a_repair_that_reaches_the_end_of_its_sample_may_be_cut() -> None:
    assert pieces(edit("line", "kept\nCall 040 1", "kept\n"), "mul") == ("kept\n", "Call …", "", "")


def test_what_follows_a_long_secret_is_masked_too() -> None:
    before = "key: " + "s3cr3tX" * 45  # as rewrite cuts it, within the secret
    shown = " ".join(pieces(edit("secret", before, "key: <SECRET> owner aino@example.org lives"), "en"))
    assert "<SECRET> owner" in shown
    assert "aino" not in shown
    assert "s3cr3tX" not in shown
