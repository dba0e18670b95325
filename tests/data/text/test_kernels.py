"""Tables of code points, words and the pieces of them that stand in a text, against plain Python."""

import unicodedata
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.text import kernels
from aurora_m.data.text.kernels import DIGIT, LETTER, MARK, PUNCTUATION, SPACE, SYMBOL, UNSPACED

CHARS = st.sampled_from("aBcİΣç12٣²Ⅷ -_.#\n日本〇かナ゙ｶกा\u0301\u200dक्षी한\u0130\x85\u3000")
WORDS = st.lists(st.sampled_from([1, 2, 3]), max_size=30)  # few, so that much repeats
PIECES = st.lists(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6), max_size=9)


def kind(char: str) -> int:
    """The class of a character, as kernels.py says."""
    category, point = unicodedata.category(char), ord(char)
    if (category[0] in "LM" or category == "Nl") and any(a <= point <= b for a, b in kernels.UNSPACED_RANGES):
        return UNSPACED
    if category[0] == "M" or char in kernels.JOINERS:
        return MARK
    if char.isspace():
        return SPACE
    if category[0] == "P" and char not in kernels.UNCOMMON:
        return PUNCTUATION
    return {"L": LETTER, "N": DIGIT}.get(category[0], SYMBOL)


def fold(char: str) -> str:
    return char.lower() if len(char.lower()) == 1 else char


def words(text: str) -> list[str]:
    """The words of a text: runs, or the two-character pieces of runs without spaces."""
    runs: list[tuple[int, str]] = []
    run = SYMBOL
    for char in text:
        now = LETTER if kind(char) == DIGIT else kind(char)
        if now == MARK and run == UNSPACED:
            continue
        now = LETTER if now == MARK and run == LETTER else now
        if now != run:
            runs.append((now, ""))
        run = now
        runs[-1:] = [(run, runs[-1][1] + fold(char))] if runs else []
    found = []
    for run, chars in runs:
        if run == LETTER or (run == UNSPACED and len(chars) == 1):
            found.append(chars)
        elif run == UNSPACED:
            found += [a + b for a, b in pairwise(chars)]
    return found


def test_tables_are_those_of_the_code_points() -> None:
    points = [*range(0x3000), *range(0x3000, 0x20000, 7), *range(0x20000, 0x110000, 97)]
    assert kernels.classes()[points].tolist() == [kind(chr(point)) for point in points]
    assert kernels.folded()[points].tolist() == [ord(fold(chr(point))) for point in points]


@given(st.lists(st.text(CHARS | st.characters(codec="utf-8"), max_size=12), max_size=8))
def test_words_equal_a_slow_reference(texts: list[str]) -> None:
    hashes, lengths, bounds = kernels.words(pa.array(texts, pa.large_string()))
    expected = [words(text) for text in texts]
    assert np.diff(bounds).tolist() == [len(row) for row in expected]
    flat = [word for row in expected for word in row]
    assert lengths.tolist() == [len(word) for word in flat]
    assert len({*zip(flat, hashes.tolist(), strict=True)}) == len({*flat}) == len({*hashes.tolist()})


def test_word_hashes_are_fixed() -> None:
    hashes, _, _ = kernels.words(pa.array(["The cat 3 日本"], pa.large_string()))
    assert hashes.tolist() == [0x389996EC2FB6F5BC, 0x442210ED4A312EBC, 0xB51D6223AFD1F7B5, 0x82E0173FE2FE7371]


@given(st.lists(WORDS, max_size=6), PIECES)
def test_matches_equal_a_slow_reference(texts: list[list[int]], wanted: list[list[int]]) -> None:
    flat = np.array([word for text in texts for word in text], np.uint64)
    bounds = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    sizes = np.array([len(piece) for piece in wanted], np.int64)
    given_words = np.array([word for piece in wanted for word in piece], np.uint64)
    found = kernels.matches(flat, bounds, kernels.patterns(given_words, np.cumsum(sizes) - sizes, sizes))
    expected = []
    for first, last in pairwise(bounds.tolist()):
        for at in range(first, last):
            for size in sorted({*sizes.tolist()}):
                piece = flat[at : at + size].tolist()
                if at + size <= last and piece in wanted:
                    expected.append([at, wanted.index(piece)])
    assert found.tolist() == expected
