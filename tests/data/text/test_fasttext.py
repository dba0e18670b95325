"""fastText's files: what is read of them, and what is not a model that can be applied."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurora_m.core.errors import DataError
from aurora_m.data.text.fasttext import LANES, load

WriteModel = Callable[..., Path]


def test_a_dense_model(write_model: WriteModel) -> None:
    labels, tables = load(write_model(buckets=7))
    assert labels == ["en", "fi", "ja", "hi", "vi"]
    assert tables.rows.shape == (5 + 7, LANES)
    assert (tables.rows[:, :5] != 0).all()
    assert (tables.rows[:, 5:] == 0).all()
    assert tables.places.tolist() == [*range(5, 12), *range(5), -1]  # n-grams, words, nothing
    assert tables.kept.tolist() == [2**12 - 1]
    assert tables.end == 7
    assert (tables.shortest, tables.longest) == (2, 4)


def test_a_pruned_model_keeps_some_n_grams(write_model: WriteModel) -> None:
    _, tables = load(write_model(words=["one"], buckets=100, pruned=3, quantised=True))
    assert sorted(tables.places[:100].tolist()) == [-1] * 97 + [1, 2, 3]
    assert tables.places[100:].tolist() == [0, -1]
    assert tables.rows.shape == (4, LANES)
    bits = np.unpackbits(tables.kept.view("u1"), bitorder="little")[:102]
    assert (bits == (tables.places >= 0)).all()
    assert tables.end == 101  # `</s>` is not among the words


def test_the_tree_joins_the_rarest_first(write_model: WriteModel) -> None:
    path = write_model(labels=["__label__a", "__label__b", "__label__c"])
    data = path.read_bytes()
    for counts, children in (((5, 2, 1), [[2, 1], [3, 0]]), ((5, 4, 3), [[2, 1], [0, 3]])):
        for label, count in zip(b"abc", counts, strict=True):
            at = data.index(b"__label__%c\0" % label) + 11
            data = data[:at] + count.to_bytes(8, "little") + data[at + 8 :]
        path.write_bytes(data)
        assert load(path).tables.children.tolist() == children
    assert len(load(write_model(loss=3)).tables.children) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": 1}, "it is not a supervised one"),
        ({"loss": 2}, "its loss is neither softmax nor hs"),
        ({"loss": 4}, "its loss is neither softmax nor hs"),
        ({"word_grams": 2}, "it has n-grams of words"),
        ({"buckets": 0}, "its parts do not fit together"),
        ({"labels": []}, "its parts do not fit together"),
    ],
)
def test_models_of_another_kind(write_model: WriteModel, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load(write_model(**changes))
    assert caught.value.what == f"the fastText model `some.ftz` cannot be used: {words}"
    assert "softmax or hs" in caught.value.hint


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", (793712314).to_bytes(4, "little") + b"\x0b\0\0\0"])
def test_no_model(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(head)
    with pytest.raises(DataError, match=r"`a.bin` is not a fastText model of version 12"):
        load(path)


@pytest.mark.parametrize("changes", [{}, {"pruned": 4, "quantised": True, "norms": True}])
def test_a_model_cut_off_anywhere(write_model: WriteModel, changes: dict[str, Any]) -> None:
    path = write_model(buckets=9, **changes)
    data = path.read_bytes()
    load(path)
    for size in {*range(8, 400), *range(400, len(data), 97), len(data) - 1}:
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"some.ftz"):
            load(path)


def test_a_model_that_does_not_fit_itself(write_model: WriteModel) -> None:
    path = write_model(buckets=9)
    data = bytearray(path.read_bytes())
    data[8] += 1  # the width of its vectors
    path.write_bytes(data)
    with pytest.raises(DataError, match="its parts do not fit together"):
        load(path)
