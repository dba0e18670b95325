"""Repetition equals a slow reference on words, lines and paragraphs, and DataTrove's way of counting by hand."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.measure.signals import measures


def measured(text: str) -> dict[str, float]:
    """All measures of a text."""
    return {name: float(column[0]) for name, column in measures(pa.chunked_array([[text]])).items()}


def duplicates(items: list[str]) -> tuple[int, int]:
    """How many stood earlier, and their characters."""
    again = [item for i, item in enumerate(items) if item in items[:i]]
    return len(again), sum(map(len, again))


def top(words: list[str], n: int) -> int:
    """Characters of the most frequent n-gram, the first of equals, times how often it stands."""
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return sum(len(gram) * times for gram, times in grams.most_common(1))


def inside(words: list[str], n: int) -> int:
    """Characters in n-grams that stood earlier; after one the search goes on behind it."""
    seen, i, chars = set(), 0, 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        if gram in seen:
            chars, i = chars + sum(map(len, gram)), i + n
        else:
            seen.add(gram)
            i += 1
    return chars


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dog", ",", "cat", "!"]), max_size=60))
def test_grams_equal_a_slow_reference(words: list[str]) -> None:
    text = " ".join(words)
    found, chars = measured(text), max(len(text), 1)
    for n in (2, 3, 4):
        assert found[f"top_{n}gram"] == round(top(words, n) / chars, 6)
    for n in range(5, 11):
        assert found[f"dup_{n}grams"] == round(inside(words, n) / chars, 6)


@given(st.lists(st.sampled_from(["", "one", "two words", "one two three", " "]), max_size=30))
def test_lines_and_paragraphs_equal_a_slow_reference(rows: list[str]) -> None:
    text = "\n".join(rows)
    found, chars = measured(text), max(len(text), 1)
    lines = [row for row in rows if row.strip()]
    paragraphs = [part for part in "\n".join(row.strip() for row in rows).split("\n\n") if part.strip()]
    paragraphs = [part.strip("\n") for part in paragraphs]
    for name, items in (("line", lines), ("para", paragraphs)):
        again, part = duplicates(items)
        assert found[f"dup_{name}s"] == round(again / max(len(items), 1), 6)
        assert found[f"dup_{name}_chars"] == round(part / chars, 6)


def test_case_is_folded_and_long_texts_are_exact() -> None:
    assert measured("Big cat, big cat!")["top_2gram"] == round(2 * len("big cat") / 17, 6)
    text = " ".join(f"w{i}" for i in range(5000))
    assert measured(text)["dup_5grams"] == 0
    assert measured(f"{text} {text}")["dup_10grams"] == pytest.approx(0.5 * (1 - 5000 / len(text)), abs=0.001)


def test_japanese_repeats_by_characters() -> None:
    found = measured("今日は晴れです。" * 10)
    assert found["dup_5grams"] > 0.8
    assert measured("今日は晴れだったので、川まで歩いて行き、石を投げて遊んだ。")["dup_5grams"] == 0
