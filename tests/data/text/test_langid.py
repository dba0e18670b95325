"""Language identification: the same labels and probabilities as fastText's own code gives."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.data.text import langid
from aurora_m.data.text.fasttext import Model, load
from aurora_m.data.text.langid import LANG_CHARS, languages, lid176

SAMPLE = Path(langid.__file__).parents[2] / "sample" / "texts"
MODELS: dict[str, dict[str, Any]] = {
    "tree": {},
    "softmax": {"loss": 3},
    "wide softmax": {"loss": 3, "dim": 40, "labels": [f"__label__{i}" for i in range(70)]},
    "quantised": {"quantised": True},
    "norms": {"quantised": True, "norms": True, "dim": 16},
    "pruned": {"quantised": True, "pruned": 60},
    "pruned with norms": {"quantised": True, "norms": True, "pruned": 60, "loss": 3},
    "no n-grams kept": {"quantised": True, "pruned": 0},
    "outputs too": {"quantised": True, "norms": True, "outputs_too": True},
    "single characters": {"lengths": (1, 2)},
    "long n-grams": {"lengths": (3, 9)},
    "no n-grams": {"lengths": (0, 0), "buckets": 0},
    "words alone, no end": {"lengths": (0, 0), "buckets": 0, "words": ["one", "漢字"]},
    "one label": {"labels": ["__label__x"]},
    "one label, softmax": {"labels": ["__label__x"], "loss": 3},
}
PIECES = ["one", "two", "sää", "漢字", "</s>", "<", ">", "__label__fi", "__label__zz", "__label_", "\0", "é", "😀", "7"]
SPACES = [
    " ",
    "\n",
    "\t\r",
    "\v\f",
    "\x1c\x1f",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2007",
    "\u2028",
    "\u202f",
    "\u3000",
    "\u200b",
]
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(PIECES + SPACES), max_size=30).map("".join),
    st.tuples(st.sampled_from(["y", "ж", "स्", "x\u3000", "𐍈"]), st.integers(300, 1100), st.text()).map(
        lambda part: part[0] * part[1] + part[2]
    ),
    st.lists(st.sampled_from([*PIECES, *SPACES, "word " * 90, "日本" * 150]), min_size=4).map("".join),
)


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest, write_model: Callable[..., Path]) -> tuple[Model, Any]:
    """A model as we and as fastText read it."""
    path = write_model(**MODELS[request.param])
    return load(path), read_by_fasttext(path)


def read_by_fasttext(path: Path) -> Any:
    package = pytest.importorskip("fasttext", reason="the package `fasttext-predict`, which answers are held against")
    return package.load_model(str(path))


@cache
def lid176_by_fasttext() -> Any:
    return read_by_fasttext(langid.lid176_file())


def plain(model: Any, text: str) -> tuple[str, float]:
    """What fastText answers, of the sample that languages() takes."""
    third, middle = LANG_CHARS // 3, len(text) // 2
    if len(text) > LANG_CHARS:
        text = " ".join([text[:third], text[middle - third // 2 : middle + third // 2], text[-third:]])
    text = " ".join(text.split())
    labels, probs = model.predict(text)
    if not labels or not any(char.isalpha() for char in text):
        return "und", 0.0
    return labels[0].removeprefix("__label__"), min(float(probs[0]), 1.0)


def assert_alike(texts: Sequence[str], ours: Model, theirs: Any) -> None:
    labels, probs = languages(pa.array(texts, pa.large_string()), ours)
    expected = [plain(theirs, text) for text in texts]
    assert labels.to_pylist() == [label for label, _ in expected]
    np.testing.assert_allclose(probs, [prob for _, prob in expected], rtol=0, atol=1.5e-6)


def sample_texts() -> list[str]:
    lines = [line for path in sorted(SAMPLE.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines]


def test_sample_texts_by_every_model(both: tuple[Model, Any]) -> None:
    assert_alike([*sample_texts()[::7], *PIECES, " ".join(PIECES), "".join(PIECES)], *both)


def test_sample_texts_by_the_model_that_ships() -> None:
    texts = sample_texts()
    assert len(texts) > 100
    assert_alike(texts, lid176(), lid176_by_fasttext())


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=5))
def test_any_text(texts: list[str]) -> None:
    assert_alike(texts, lid176(), lid176_by_fasttext())


@settings(max_examples=20)
@given(st.lists(TEXTS, min_size=3, max_size=9))
def test_any_text_by_every_model(both: tuple[Model, Any], texts: list[str]) -> None:
    assert_alike(texts, *both)


def test_slices_and_chunks_of_a_column() -> None:
    texts = pa.array(["", "Tämä on suomea.", "12 34", "यह हिन्दी है।"], pa.large_string())
    labels, probs = languages(texts, lid176())
    assert labels.to_pylist() == ["und", "fi", "und", "hi"]
    assert probs[0] == probs[2] == 0
    parts = languages(pa.chunked_array([texts[1:2], texts[2:]]), lid176())
    assert parts[0].to_pylist() == ["fi", "und", "hi"]
    assert parts[1].tolist() == probs[1:].tolist()
    assert languages(texts[:0], lid176())[0].to_pylist() == []


def test_long_texts_are_sampled_in_three_places() -> None:
    text = "Tämä on suomea. 日本 " * 500
    middle, third = len(text) // 2, LANG_CHARS // 3
    found = languages(pa.array([text]), lid176())[1][0]
    for first, last in ((third, middle - third // 2), (middle + third // 2, len(text) - third)):
        same, other = (text[:a] + "y" * (b - a) + text[b:] for a, b in ((first, last), (first - 1, last + 1)))
        assert languages(pa.array([same]), lid176())[1][0] == found
        assert languages(pa.array([other]), lid176())[1][0] != found
