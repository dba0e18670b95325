"""Fill in the middle: exactly undone, rows keep their length, and a filled middle is followed by the end token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.tokens.fim import MIN_TOKENS, arrange, infill, restore

MARKS = (101, 102, 103)  # prefix, middle, suffix
END = 0
BODY = st.lists(st.integers(1, 99), max_size=40)


def infilled(row: np.ndarray, starts: np.ndarray, rate: float, seed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A row that keeps its length."""
    return infill(row, starts, len(row), rate=rate, marks=MARKS, seed=seed)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=60), st.data(), st.booleans())
def test_arranging_is_undone_exactly(tokens: list[int], data: st.DataObject, spm: bool) -> None:
    a = data.draw(st.integers(0, len(tokens)))
    b = data.draw(st.integers(a, len(tokens)))
    piece = np.array(tokens)
    arranged = arrange(piece, a, b, MARKS, spm)
    assert sorted(arranged) == sorted([*tokens, *MARKS])
    np.testing.assert_array_equal(restore(arranged, MARKS), piece)


def test_both_forms_by_hand() -> None:
    piece = np.arange(6)
    assert arrange(piece, 2, 4, MARKS, spm=False).tolist() == [101, 0, 1, 103, 4, 5, 102, 2, 3]
    assert arrange(piece, 2, 4, MARKS, spm=True).tolist() == [101, 103, 4, 5, 102, 0, 1, 2, 3]


@given(st.lists(BODY, min_size=1, max_size=8), st.integers(0, 2**63), st.floats(0, 1))
def test_a_row_keeps_its_length_and_its_documents(bodies: list[list[int]], seed: int, rate: float) -> None:
    docs = [[*body, END] for body in bodies]
    row = np.array([token for doc in docs for token in doc])
    starts = np.cumsum([0, *(len(doc) for doc in docs[:-1])])
    tokens, new_starts = infilled(row, starts, rate, (seed, 3))
    again, starts_again = infilled(row, starts, rate, (seed, 3))
    np.testing.assert_array_equal(tokens, again)
    np.testing.assert_array_equal(new_starts, starts_again)
    assert len(tokens) == len(row)
    assert new_starts[0] == 0
    assert (np.diff(new_starts) > 0).all()
    pieces = np.split(tokens, new_starts[1:])
    for doc, piece in zip(docs, pieces[:-1], strict=False):  # the last one may be cut
        assert piece[-1] == END
        if MARKS[0] in piece:
            assert len(doc) > MIN_TOKENS
            assert restore(piece[:-1], MARKS).tolist() == doc[:-1]
        else:
            assert piece.tolist() == doc


def test_rate_0_changes_nothing_and_rate_1_changes_every_long_document() -> None:
    long, short = [*range(1, 9), END], [*range(1, 8), END]
    row, starts = np.array([*long, *short, *long, *short]), np.array([0, 9, 17, 26])
    same, at = infilled(row, starts, 0.0, (1, 2))
    assert same.tolist() == row.tolist()
    assert at.tolist() == starts.tolist()
    tokens, at = infilled(row, starts, 1.0, (1, 2))
    assert at.tolist() == [0, 12, 20, 32]
    assert tokens[12:20].tolist() == short
    assert restore(tokens[:11], MARKS).tolist() == restore(tokens[20:31], MARKS).tolist() == long[:-1]


def test_documents_pushed_out_of_the_row_have_no_start() -> None:
    row = np.array([*range(1, 20), END, 7, END])
    tokens, starts = infilled(row, np.array([0, 20]), 1.0, (0, 0))
    assert len(tokens) == 22
    assert starts.tolist() == [0]


def test_a_cut_document_is_never_told_that_it_ends() -> None:
    row = np.arange(1, 60)  # no end token: the row cuts the document
    for seed in range(50):
        tokens, _ = infilled(row, np.array([0]), 1.0, (seed, 0))
        middle = tokens[np.flatnonzero(tokens == MARKS[1])[0] + 1 :] if MARKS[1] in tokens else tokens[:0]
        prefix_and_middle = np.diff(middle)
        assert (prefix_and_middle == 1).all()  # runs on without a jump to a token of the suffix


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_is_a_share_of_documents_half_in_each_form(rate: float) -> None:
    doc, number = [*range(1, 40), END], 4000
    row, starts = np.array(doc * number), np.arange(0, 40 * number, 40)
    tokens, _ = infilled(row, starts, rate, (5, 5))
    at = np.flatnonzero(tokens == MARKS[0])
    read = len(tokens) / (40 + 3 * rate)  # documents that still fit into the row
    assert len(at) / read == pytest.approx(rate, abs=4 * (rate * (1 - rate) / read) ** 0.5)
    spm = np.mean(tokens[at + 1] == MARKS[2])  # a PSM prefix has one token or more
    assert spm == pytest.approx(0.5, abs=4 * 0.5 / len(at) ** 0.5)


def test_another_row_is_cut_elsewhere() -> None:
    row, starts = np.arange(200), np.array([0])
    one, two, three = (infilled(row, starts, 1.0, seed)[0] for seed in ((1, 2), (1, 3), (2, 2)))
    assert (one != two).any()
    assert (one != three).any()
