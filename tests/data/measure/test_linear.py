"""The linear model sees what it should of a text, learns, and does the same for any split."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.measure.linear import (
    MOST_FEATURES,
    PIECE_BYTES,
    TABLE_BITS,
    excerpts,
    features,
    held_out,
    probabilities,
    ranks,
    trained,
)
from aurora_m.data.text.kernels import classes, folded, text_buffers


def seen(text: str) -> list[int]:
    """The weights' numbers of one text, sorted."""
    found = np.empty(MOST_FEATURES, np.uint64)
    data, offsets = text_buffers(pa.array([text], pa.large_string()))
    count = features(data, offsets[0], offsets[1], classes(), folded(), found)
    assert (found[:count] < 2**TABLE_BITS).all()
    return sorted(found[:count].tolist())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The cat sat.", "the  CAT\n sat."),
        ("year 1999", "year 2024"),
        ("漢字 かな", "漢字\n\n\tかな"),
    ],
)
def test_what_makes_no_difference(one: str, other: str) -> None:
    assert seen(one) == seen(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("the cat sat", "the sat cat"), ("漢字", "字漢"), ("हिन्दी", "हिन्दु"), ("yes", "yes!"), ("tiếng", "tiêng")],
)
def test_what_makes_a_difference(one: str, other: str) -> None:
    assert seen(one) != seen(other)


def test_words_count_as_themselves_and_in_pairs() -> None:
    one, both = seen("cat"), seen("cat dog")
    assert len(one) == 2 + 2 * 4  # a word and its pair with the start; two runs at each of c, a, t and the end
    assert len(both) == 2 * 2 + 2 * 8
    assert len(set(one) & set(seen("dog cat"))) >= 1


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(lambda t: t * 100), max_size=4))
def test_pieces_are_whole_characters_of_three_places(texts: list[str]) -> None:
    for text, cut in zip(texts, excerpts(pa.array(texts, pa.large_string())).to_pylist(), strict=True):
        if len(text.encode()) <= 3 * PIECE_BYTES:
            assert cut == text
            continue
        assert len(cut.encode()) <= 3 * PIECE_BYTES + 14
        assert text.startswith(cut[: PIECE_BYTES // 4 - 2])
        assert text.endswith(cut[-PIECE_BYTES // 4 + 2 :])


def test_no_text_fills_the_room_for_features() -> None:
    for text in ("a 1" * 1000, "a." * 1500, "漢" * 1000, "漢a" * 750):
        assert len(seen(text[: 3 * PIECE_BYTES])) < MOST_FEATURES


def test_training_is_exact_and_tells_texts_apart() -> None:
    texts = [f"the ship sails at {i}" for i in range(30)] + [f"船は{i}時に出る" for i in range(30)]
    column = pa.array(texts, pa.large_string())
    truth = np.repeat([0, 1], 30)
    learn = np.random.default_rng(1).permutation(60)
    models = [trained(column, truth, np.ones(2), learn, lambda epoch: None) for _ in range(2)]
    assert models[0].tobytes() == models[1].tobytes()
    probs = probabilities(column, models[0])
    assert (probs.argmax(1) == truth).all()
    assert probs.sum(1) == pytest.approx(np.ones(60))
    assert probabilities(column.slice(7, 5), models[0]).tolist() == probs[7:12].tolist()
    assert probabilities(column.slice(0, 0), models[0]).shape == (0, 2)


def test_ranks_are_spread_and_hang_on_id_and_seed_alone() -> None:
    ids = pa.chunked_array([[f"doc {i}" for i in range(4000)]])
    found = ranks(ids, 5)
    assert ranks(pa.chunked_array([ids.chunk(0)[10:], ids.chunk(0)[:10]]), 5).tolist() == [*found[10:], *found[:10]]
    assert len(set(found.tolist())) == 4000
    assert not set(found.tolist()) & set(ranks(ids, 6).tolist())
    assert (found < 2**62).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("most", [2**64, 2**54, 2**40])
def test_held_out_is_independent_of_what_is_drawn(most: int) -> None:
    drawn = np.random.default_rng(2).integers(0, most, 4000, np.uint64, endpoint=most < 2**64)
    assert held_out(drawn, 0.2).mean() == pytest.approx(0.2, abs=0.03)
    assert not held_out(drawn, 0.0).any()
