"""Signals: columns beside each shard, the same for any number of shards and workers."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_all, shards
from aurora_m.data.columns import SIGNALS, schema
from aurora_m.data.measure.signals import MEASURES, SHARES, measures, signals

PIECES = ["foo", "Foo ", "bar baz ", "\n", "漢字", "かな", "नमस्ते ", "tiếng Việt ", "#", "1", "สวัสดี", " ", "。", "{x}"]


def test_measures_by_hand() -> None:
    text = "Big cat, big cat!\n漢字か\nBig cat, big cat!\n"
    found = {name: column[0] for name, column in measures(pa.chunked_array([[text]])).items()}
    assert found["words"] == 4 + 2 + 4
    assert found["pieces"] == 6 + 2 + 6
    assert found["mean_word_chars"] == (12 + 3 + 12) / 10
    assert found["alpha_words"] == round(10 / 14, 6)
    assert (found["lines"], found["longest_line"]) == (3, 17)
    assert found["mean_line_chars"] == round((17 + 3 + 17) / 3, 6)
    assert found["dup_lines"] == round(1 / 3, 6)
    assert found["dup_line_chars"] == round(17 / len(text), 6)
    assert found["dup_paras"] == 0
    assert (found["han"], found["kana"], found["latin"]) == (round(2 / 27, 6), round(1 / 27, 6), round(24 / 27, 6))
    assert found["top_2gram"] == round(4 * len("big cat") / len(text), 6)
    assert found["ended_lines"] == round(2 / 3, 6)


def test_every_column_has_a_number_in_range() -> None:
    found = measures(pa.chunked_array([["", "a", "Some text, and more of it.\n" * 9]]), "en")
    assert list(found) == [name for name in MEASURES if not name.startswith("pii_") and name != "lang_prob"]
    above_one = {"mean_word_chars", "mean_line_chars", "hashes", "ellipses", "newlines", "noise_words"}
    above_one |= {name for name in SHARES if name.startswith("top_")}  # n-grams overlap
    for name in set(SHARES) - above_one:
        assert ((found[name] >= 0) & (found[name] <= 1)).all(), name
    assert all(column[0] == 0 for column in found.values())


def test_slices_and_chunks_of_a_column_measure_alike() -> None:
    texts = pa.array(["zero", "one two", "", "three"], pa.large_string())
    whole = measures(pa.chunked_array([texts[1:]]))
    parts = measures(pa.chunked_array([texts[1:2], texts[2:4]]))
    assert {name: list(column) for name, column in whole.items()} == {n: list(c) for n, c in parts.items()}
    assert list(whole["words"]) == [2, 0, 1]


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Tämä on suomenkielinen lause, jossa puhutaan säästä ja lumesta.", "fi"),
        ("यह हिन्दी में लिखा हुआ एक वाक्य है।", "hi"),
        ("これは日本語で書かれた文章です。", "ja"),
        ("Đây là một câu được viết bằng tiếng Việt.", "vi"),
        ("This is a sentence\nin English about the weather.", "en"),
        (" 123 !?\n", "und"),
    ],
)
def test_languages(work: Work, make_docs: Callable[..., Artifact], text: str, lang: str) -> None:
    docs = make_docs([text, text * 50])
    signals(work, docs=docs, lang="en")
    assert read_all(work.out, "signals")["lang_id"].to_pylist() == [lang, lang]


def test_shards_and_workers_change_nothing(new_work: Callable[[], Work], make_docs: Callable[..., Artifact]) -> None:
    texts = [f"{piece} text number {i}. " * (i % 7) for i, piece in enumerate(PIECES)]
    results = []
    for count, workers in ((1, 1), (4, 3)):
        new = new_work()
        work = replace(new, runtime=replace(new.runtime, workers=workers))
        docs = make_docs(texts, count)
        facts = signals(work, docs=docs, lang="en")
        assert [path.name for path in shards(work.out, "signals")] == [path.name for path in shards(docs.path)]
        results.append((facts, read_all(work.out, "signals").to_pylist()))
    assert results[0] == results[1]
    facts, rows = results[0]
    assert facts.docs == len(texts)
    assert facts.mean["words"] == round(sum(row["words"] for row in rows) / len(rows), 6)
    assert list(rows[0]) == schema(SIGNALS).names


def test_code_needs_no_language_model(work: Work, make_docs: Callable[..., Artifact]) -> None:
    signals(work, docs=make_docs(["x = 1\n", ""], lang="code"), lang="code")
    rows = read_all(work.out, "signals").to_pylist()
    assert [(row["lang_id"], row["lang_prob"]) for row in rows] == [("code", 1.0)] * 2


def test_no_docs(work: Work, make_docs: Callable[..., Artifact]) -> None:
    facts = signals(work, docs=make_docs([]), lang="en")
    assert facts.docs == facts.mean["words"] == 0
    assert read_all(work.out, "signals").num_rows == 0
