"""The share of listed words: by hand, per language, with a list of the user's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_all
from aurora_m.core.uri import SAMPLE, local_files, pin_files
from aurora_m.data.columns import TOXIC, schema
from aurora_m.data.measure.toxic import WORDS, languages, shares, terms_of, toxic


def share(text: str, *terms: str) -> float:
    """The share of one text."""
    return float(shares(pa.chunked_array([[text]]), terms_of([*terms]))[0])


@pytest.mark.parametrize(
    ("text", "terms", "found"),
    [
        ("One BAD, bad day.", ("bad",), 0.5),
        ("badly", ("bad",), 0.0),
        ("go, to hell and go home", ("go to hell",), 0.5),
        ("go to", ("go to hell",), 0.0),
        ("a b a b a", ("a b a",), 1.0),  # overlapping terms count once
        ("bad bad", ("bad", "bad bad"), 1.0),
        ("", ("bad",), 0.0),
        ("悪い馬鹿者だ", ("馬鹿者",), 0.4),  # pieces 悪い い馬 馬鹿 鹿者 者だ
        ("ti\u1ebfng tie\u0302\u0301ng ti\u00ea\u0301ng tiêng", ("tiếng",), 0.75),
        ("word", ("# word", "  ", ""), 0.0),
    ],
)
def test_shares_by_hand(text: str, terms: tuple[str, ...], found: float) -> None:
    assert share(text, *terms) == found


@pytest.mark.parametrize("lang", languages())
def test_every_term_of_a_list_is_found_in_its_own_language(lang: str) -> None:
    lines = (WORDS / f"{lang}.txt").read_text("utf-8").splitlines()
    terms = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(terms) >= 40
    assert len(set(terms)) == len(terms)
    assert shares(pa.chunked_array([terms]), terms_of(lines)).tolist() == [1.0] * len(terms)


@pytest.mark.parametrize("lang", languages())
def test_clean_text_has_next_to_none(lang: str) -> None:
    texts = [row["text"] for row in read_jsonl(SAMPLE / "texts" / f"{lang}.jsonl")]
    found = shares(pa.chunked_array([texts]), terms_of((WORDS / f"{lang}.txt").read_text("utf-8").splitlines()))
    assert found.max() <= 0.02
    assert (found > 0).mean() <= 0.1


def test_the_users_list_joins_ours(
    new_work: Callable[[], Work], make_docs: Callable[..., Artifact], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("# mine\nzork\n", "utf-8")
    pin = pin_files(local_files("file:mine.txt", tmp_path))
    docs = make_docs(["zork shit you", "fine", ""], shards=2)
    results = []
    for words, given in (("", ""), ("file:mine.txt", pin)):
        new = new_work()
        work = replace(new, runtime=replace(new.runtime, root=tmp_path))
        facts = toxic(work, docs=docs, lang="en", words=words, pin=given)
        table = read_all(work.out, "toxic")
        assert table.schema == schema([TOXIC])
        results.append((facts.terms, facts.hits, facts.toxic, table["toxic"].to_pylist()))
    ours = results[0][0]
    assert results[0] == (ours, 1, 0.111111, [0.333333, 0.0, 0.0])
    assert results[1] == (ours + 1, 1, 0.222222, [0.666667, 0.0, 0.0])
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        toxic(work, docs=docs, lang="en", words="file:mine.txt", pin="0" * 64)


def test_a_language_without_a_list(work: Work, make_docs: Callable[..., Artifact], tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        toxic(work, docs=make_docs(["x"]), lang="xx", words="", pin="")
    assert str(error.value) == (
        "error: there is no list of toxic words for `xx`\n  at: toxic\n\n"
        "hint: bring a list of your own, one term a line"
    )
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    rooted = replace(work, runtime=replace(work.runtime, root=tmp_path))
    pin = pin_files(local_files("file:bad.txt", tmp_path))
    with pytest.raises(DataError, match="a list of words is not utf-8"):
        toxic(rooted, docs=make_docs(["x"]), lang="xx", words="file:bad.txt", pin=pin)
