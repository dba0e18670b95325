"""Signals equal a slow plain-Python reference on any text, for any number of shards and workers."""

import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_all, shards
from aurora_m.data.kernels import JOINERS, UNCOMMON, UNSPACED_RANGES
from aurora_m.data.signals import SIGNALS, language, measures, signals


def is_unspaced(char: str) -> bool:
    """Whether a character belongs to a script that puts no space between words."""
    category = unicodedata.category(char)
    inside = any(first <= ord(char) <= last for first, last in UNSPACED_RANGES)
    return inside and (category[0] in "LM" or category == "Nl")


def is_mark(char: str) -> bool:
    """Whether a character goes on with a word but begins none."""
    return not is_unspaced(char) and (unicodedata.category(char)[0] == "M" or char in JOINERS)


def fold(word: str) -> str:
    """Lower case, character by character."""
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in word)


def slow_words(text: str) -> list[str]:
    """The words of a text, folded."""
    runs: list[tuple[str, str]] = []  # kind, characters
    last = ""
    for char in text:
        if is_mark(char):
            if last == "spaced":
                runs[-1] = ("spaced", runs[-1][1] + char)
            continue
        kind = "unspaced" if is_unspaced(char) else "spaced" if unicodedata.category(char)[0] in "LN" else ""
        if kind and kind == last:
            runs[-1] = (kind, runs[-1][1] + char)
        elif kind:
            runs.append((kind, char))
        last = kind
    found = []
    for kind, run in runs:
        pieces = [run] if kind == "spaced" or len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]
        found += [fold(piece) for piece in pieces]
    return found


def repeated(items: list[str], weights: list[int], n: int) -> float:
    """Share of the weight inside n-grams that stood earlier."""
    seen, covered = set(), set()
    for i in range(len(items) - n + 1):
        gram = tuple(items[i : i + n])
        if gram in seen:
            covered |= set(range(i, i + n))
        seen.add(gram)
    return sum(weights[i] for i in covered) / max(sum(weights), 1)


def top_2gram(items: list[str], weights: list[int]) -> float:
    """Share of the weight inside the most frequent 2-gram, the first of equals, if it stands twice."""
    pairs = list(pairwise(items))
    top = Counter(pairs).most_common(1)
    if not top or top[0][1] < 2:
        return 0.0
    covered = {i + k for i, pair in enumerate(pairs) for k in (0, 1) if pair == top[0][0]}
    return sum(weights[i] for i in covered) / sum(weights)


def slow_measures(text: str) -> dict[str, float]:
    """All measures of a text, by the words of signals.py."""
    found = slow_words(text)
    lengths = [len(word) for word in found]
    lines = [line for line in text.split("\n") if line.strip()]
    categories = [unicodedata.category(char) for char in text]
    alpha = sum(is_unspaced(c) or is_mark(c) or k[0] == "L" for c, k in zip(text, categories, strict=True))
    digits = sum(k[0] == "N" and not is_unspaced(c) for c, k in zip(text, categories, strict=True))
    common = sum(
        not is_unspaced(c) and not is_mark(c) and (c.isspace() or (k[0] == "P" and c not in UNCOMMON))
        for c, k in zip(text, categories, strict=True)
    )
    chars = max(len(text), 1)
    return {
        "num_bytes": len(text.encode()),
        "chars": len(text),
        "words": len(found),
        "lines": len(lines),
        "mean_word_chars": sum(lengths) / max(len(found), 1),
        "alpha": alpha / chars,
        "digits": digits / chars,
        "symbols": (len(text) - alpha - digits - common) / chars,
        "dup_lines": repeated(lines, [len(line.encode()) for line in lines], 1),
        "top_2gram": top_2gram(found, lengths),
        "dup_5grams": repeated(found, [1] * len(found), 5),
        "longest_line": max(len(line) for line in text.split("\n")),
    }


PIECES = [
    "foo",
    "Foo ",
    "bar baz ",
    "\n",
    "漢字",
    "かな",
    "゙",
    "नमस्ते ",
    "क्‍ष",
    "tiếng Việt ",
    "día ",
    "e\u0301",
    "#",
    "👩‍💻",
    "1",
    "²",
    "สวัสดี",
    " ",
]
PIECES += ["İ", "。", "{x}", "\u3000", "\x85", "\u2028", "\U000e0100", "\U0001f600", "Ⅷ", "〇", "ｶﾅ"]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=40).map("".join)


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS, max_size=5))
def test_measures_equal_the_slow_reference(texts: list[str]) -> None:
    found = measures(pa.chunked_array([pa.array(texts, pa.large_string())]))
    for row, text in enumerate(texts):
        assert {name: column[row] for name, column in found.items()} == pytest.approx(slow_measures(text), abs=1e-6)


def test_measures_by_hand() -> None:
    text = "Big cat, big cat!\n漢字か\nBig cat, big cat!\n"
    found = {name: column[0] for name, column in measures(pa.chunked_array([[text]])).items()}
    assert found["words"] == 4 + 2 + 4
    assert found["mean_word_chars"] == 2.8
    assert found["lines"] == 3
    assert found["longest_line"] == 17
    assert found["dup_lines"] == round(17 / (17 + 9 + 17), 6)
    assert found["top_2gram"] == round(24 / 28, 6)
    assert found["dup_5grams"] == 0
    assert measures(pa.chunked_array([["a b c d e f a b c d e"]]))["dup_5grams"][0] == round(5 / 11, 6)


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
def test_languages(text: str, lang: str) -> None:
    assert language(text)[0] == lang
    assert language(text * 50)[0] == lang


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
    assert facts["docs"] == len(texts)
    assert facts["words"] == round(sum(row["words"] for row in rows) / len(rows), 6)
    assert list(rows[0]) == SIGNALS.names


def test_code_needs_no_language_model(work: Work, make_docs: Callable[..., Artifact]) -> None:
    signals(work, docs=make_docs(["x = 1\n", ""], lang="code"), lang="code")
    rows = read_all(work.out, "signals").to_pylist()
    assert [(row["lang_id"], row["lang_prob"]) for row in rows] == [("code", 1.0)] * 2


def test_no_docs(work: Work, make_docs: Callable[..., Artifact]) -> None:
    facts = signals(work, docs=make_docs([]), lang="en")
    assert facts["docs"] == facts["words"] == 0
    assert read_all(work.out, "signals").num_rows == 0
