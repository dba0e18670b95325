"""What dedup computes of texts, against plain Python."""

import random
import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from aurora_m.data.dedup import minhash
from aurora_m.data.text import kernels

# marks, jamo, kana with voicing marks, Indic signs, singletons and composition exclusions
HARD = "aeo\u0300\u0301\u0323\u0327\u093c\u094d\u0928\u0915\u0958\u1100\u1161\u11a8\uac00\uac01か\u3099\u212b\u2126é"
SPACES = " \t\n\r\x0b\x1c\x85\xa0\u1680\u2003\u2028\u3000"
FIXED = [
    (0x14C49264927EEF87, 0xE90F67BA4F49FA27),
    (0xD3567D226AAE5097, 0xE56B3F1F845A69A4),
    (0xD46B5665616CE470, 0x89DEA3E4E95B99EE),
]
TEXTS = st.lists(st.text(st.one_of(st.sampled_from(HARD), st.sampled_from(SPACES), st.characters(codec="utf-8"))))


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def keys(texts: list[str]) -> list[tuple[int, ...]]:
    found = minhash.text_keys(*kernels.text_buffers(column(texts)), kernels.classes())
    return [tuple(row) for row in found.tolist()]


@given(TEXTS)
@example(["e\u0301", "é", "か\u3099", "\u0928\u093c", "\u0915\u093c", "a\u0323\u0301", "\u1100\u1161\u11a8", ""])
def test_texts_are_composed(texts: list[str]) -> None:
    assert minhash.nfc(column(texts)).to_pylist() == [unicodedata.normalize("NFC", text) for text in texts]


def test_every_code_point_is_composed() -> None:
    texts = [
        f"{before}{char}\u0301\u0323a" for char in kernels.assigned() for before in ("", "\u1100") if char.isprintable()
    ]
    sliced = column(["e\u0301", *texts, "e\u0301"]).slice(1, len(texts))
    assert minhash.nfc(sliced).to_pylist() == [unicodedata.normalize("NFC", text) for text in texts]


def test_composed_texts_are_not_composed_again() -> None:
    arrays = column(["plain", "Việt Nam", "中文とかな", "हिन्दी की", "ça é ÿ", "한국어"])
    assert minhash.nfc(arrays) is arrays


def test_only_what_may_change_is_looked_at() -> None:
    texts = ["ab\u095cc", "", "\u0301x", "a\u0323\u0301bc\u0301\u0323", "\u0928\u093c"]
    spans = minhash.loose(*kernels.text_buffers(column(texts)), *minhash.composing())
    data = "".join(texts).encode()
    pieces = [data[first:last].decode() for first, last in spans]
    assert pieces == ["b\u095c", "a\u0323\u0301", "c\u0301\u0323", "\u0928\u093c"]


@given(TEXTS)
@example(["a b", " a  b ", "a\u3000b", "ab", "a", "", " ", "a\x00", "a\x00\x00", "a" * 7, "a" * 8, "a" * 8 + " "])
def test_text_keys_are_equal_where_the_words_are(texts: list[str]) -> None:
    expected = [" ".join(text.split()) for text in texts]
    found = keys(texts)
    for one, key in zip(expected, found, strict=True):
        for other, other_key in zip(expected, found, strict=True):
            assert (one == other) == (key == other_key)
            assert (one == other) == (key[0] == other_key[0])


def test_text_keys_are_fixed() -> None:
    assert keys(["", "a", "The quick brown fox"]) == FIXED


@given(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**64 - 1, 2**63]), min_size=1))
def test_distinct_is_sorted_and_unique(values: list[int]) -> None:
    given_values = np.array(values, np.uint64)
    found = np.empty(len(values), np.uint64)
    count = minhash.distinct(given_values, np.empty(2 * len(values) + 2, np.int32), found)
    assert found[:count].tolist() == sorted(set(values))


def test_sketches_follow_the_five_word_pieces() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcdefg", k=size)) for size in (19, 20, 21, 300, 0, 4, 50)] + ["a " * 30]
    words, _, bounds = kernels.words(column(texts))
    shingles, ends, band_keys = minhash.sketch(words, bounds, minhash.MIN_WORDS, *minhash.functions())
    names: dict[tuple[str, ...], int] = {}
    for i, text in enumerate(texts):
        pieces = {tuple(text.split()[at : at + 5]) for at in range(len(text.split()) - 4)}
        mine = shingles[ends[i] : ends[i + 1]]
        assert len(mine) == (len(pieces) if len(text.split()) >= 20 else 0)
        assert (np.diff(mine.astype(object)) > 0).all()
        for piece in sorted(pieces):
            single = np.empty(1, np.uint64)
            minhash.shingles(kernels.words(column([" ".join(piece)]))[0], single)
            names[piece] = int(single[0])
        if len(mine):
            assert mine.tolist() == sorted(names[piece] for piece in pieces)
            factors, terms = (numbers.astype(object) for numbers in minhash.functions())
            least = [
                min((int(h) >> 32) * a + b & 0xFFFFFFFF for h in mine) for a, b in zip(factors, terms, strict=True)
            ]
            for band in range(minhash.BANDS):
                rows = np.array(least[band * minhash.BAND_ROWS : (band + 1) * minhash.BAND_ROWS], np.uint64)
                assert band_keys[i, band] == kernels.gram(rows, np.int64(0), minhash.ROWS)
    assert len(set(names.values())) == len(names)


def test_minhash_agrees_as_often_as_the_sets_do() -> None:
    """The share of equal minima is the Jaccard, give or take three standard errors of 112 draws over 200 pairs."""
    rng = np.random.default_rng(2)
    factors, terms = minhash.functions()
    agree = []
    for _ in range(200):
        values = rng.integers(0, 2**32, 500, dtype=np.uint32)
        minima = [(part[:, None] * factors + terms).min(axis=0) for part in (values[:400], values[100:])]
        agree.append((minima[0] == minima[1]).mean())
    assert abs(np.mean(agree) - 0.6) < 3 * (0.6 * 0.4 / 112 / 200) ** 0.5
    assert np.std(agree) < 1.25 * (0.6 * 0.4 / 112) ** 0.5


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_jaccard(one: set[int], two: set[int]) -> None:
    arrays = [np.array(sorted(values), np.uint64) for values in (one, two)]
    assert minhash.jaccard(*arrays) == len(one & two) / max(len(one | two), 1)


def test_components_are_named_by_their_first_text() -> None:
    parents = np.arange(8)
    minhash.join(parents, np.array([5, 7, 3, 2]), np.array([3, 5, 1, 6]))
    minhash.flatten(parents)
    assert parents.tolist() == [0, 1, 2, 1, 4, 1, 2, 1]
