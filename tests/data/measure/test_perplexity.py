"""The n-gram model equals a slow one in plain Python, its probabilities sum to one, and clean text costs least."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import log2

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from aurora_m.core.errors import DataError
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_all
from aurora_m.data.columns import PERPLEXITY, schema
from aurora_m.data.measure.perplexity import (
    DISCOUNT,
    ORDER,
    ROOT,
    UNITS,
    PerplexityFacts,
    Table,
    costs,
    perplexity,
    train_ngrams,
    walk,
)
from aurora_m.data.text.kernels import classes, folded, text_buffers

WORDS = [f"{first}{second}" for first in ("riv", "sto", "mea", "ship") for second in ("er", "ne", "dow", "s", "ly")]
TEXTS = [
    "Abra cadabra, abra!",
    "a cab, a car;\n a cat  2024",
    "漢字かな漢字。かな漢字か",
    "नमस्ते नमस्ते",
    "abracadabra abracadabra",
    "",
]


def fitted(texts: list[str]) -> NDArray[np.uint32]:
    """The packed model of these texts."""
    keys, known = np.zeros(ROOT + 1, np.uint64), np.zeros(1, np.int64)
    table = Table(keys, known, np.zeros((ROOT + 1, 3), np.uint32), np.zeros(ROOT + 1, np.uint32))
    for learning in (True, False):
        column = pa.array(texts, pa.large_string())
        walk(text_buffers(column), (classes(), folded()), table, learning)
    return table.packed


def bits(model: NDArray[np.uint32], texts: list[str]) -> list[float]:
    """What each text costs."""
    column = pa.array(texts, pa.large_string())
    return [float(units) / UNITS for units, _ in costs(*text_buffers(column), classes(), folded(), model)]


def plain(text: str) -> str:
    """A text as the model sees it."""
    return " ".join(f".{text}.".split())[1:-1].lstrip().lower().translate({ord(d): "0" for d in "123456789"})


class Slow:
    """The same model with dicts of strings."""

    def __init__(self, texts: list[str]) -> None:
        self.count, self.follow, self.kinds = Counter[str](), Counter[str](), Counter[str]()
        for text in texts:
            self.learn(plain(text))

    def longest(self, text: str, most: int) -> int:
        """How long the longest known n-gram is that ends a text."""
        known = 0
        while known < most and text[len(text) - known - 1 :] in self.count:
            known += 1
        return known

    def learn(self, text: str) -> None:
        """Count the longest known n-gram at each character, and add the next longer one."""
        known = 0
        for end in range(1, len(text) + 1):
            most = min(known + 1, ORDER)
            known = self.longest(text[:end], most)
            if known:
                self.count[text[end - known : end]] += 1
                self.follow[text[end - known : end - 1]] += 1
            if known < most:
                known += 1
                self.count[text[end - known : end]] = 1
                self.follow[text[end - known : end - 1]] += 1
                self.kinds[text[end - known : end - 1]] += 1

    def prob(self, text: str, context: str) -> float:
        """Of the character `text` after `context`."""
        share = self.prob(text, context[1:]) if context else 1 / (self.kinds[""] + 1)
        if not self.follow[context]:
            return share
        own = max(self.count[context + text] - DISCOUNT, 0)
        return (own + DISCOUNT * self.kinds[context] * share) / self.follow[context]

    def bits(self, text: str) -> float:
        """What a text costs: a context is as long as what was known where it ends."""
        text, total, known = plain(text), 0.0, 0
        for i, char in enumerate(text):
            total -= log2(self.prob(char, text[i - min(known, ORDER - 1) : i]))
            known = self.longest(text[: i + 1], min(known + 1, ORDER))
        return total


@pytest.mark.parametrize("upto", range(1, len(TEXTS) + 1))
def test_costs_equal_the_slow_model(upto: int) -> None:
    slow, model = Slow(TEXTS[:upto]), fitted(TEXTS[:upto])
    asked = ["abra", "cab a dab", "漢字か", "नमस्कार", "zebra 17", "A\tcat\n\n 1999 ", "abracadabra abracadabra", "é"]
    for text, found in zip(asked, bits(model, asked), strict=True):
        assert found == pytest.approx(slow.bits(text), abs=0.06 * len(text)), text


def test_probabilities_sum_to_one() -> None:
    model = fitted(TEXTS * 3)
    chars = sorted({char for text in TEXTS for char in plain(text)})
    for context in ("abr", "ab", "漢", "cadab", "a ca", "q"):
        before = bits(model, [f"{context}{char}" for char in chars] + [f"{context}\u0416"])
        start = bits(model, [context])[0]
        assert sum(2 ** -(cost - start) for cost in before) == pytest.approx(1, abs=0.02), context


def sentences(count: int, seed: int) -> list[str]:
    """Texts that follow a habit: each word has a few that may come next."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        at, words = draw.randrange(len(WORDS)), []
        for _ in range(60):
            at = (at * 5 + draw.choice((1, 2))) % len(WORDS)
            words.append(WORDS[at])
        texts.append(" ".join(words))
    return texts


def test_clean_text_costs_less_than_the_same_letters_in_disorder(
    new_work: Callable[[], Work], make_docs: Callable[..., Artifact]
) -> None:
    train, apply = new_work(), new_work()
    facts = train_ngrams(train, docs={"web": make_docs(sentences(400, 1))}, seed=1, max_bytes=10**9)
    assert facts.docs + facts.held_docs == 400
    assert 5 <= facts.held_docs <= 40
    assert facts.percentiles
    assert 1 < facts.percentiles["p5"] <= facts.percentiles["p50"] <= facts.percentiles["p99"] < 3
    clean = sentences(30, 2)
    mixed = ["".join(random.Random(3).sample(text, len(text))) for text in clean]
    about = perplexity(apply, docs=make_docs([*clean, *mixed, "", " \n"]), model=Artifact(train.out, "0" * 64, {}))
    table = read_all(apply.out, "perplexity")
    assert table.schema == schema([PERPLEXITY])
    values = table["perplexity"].to_pylist()
    assert max(values[:30]) < 3 < 6 < min(values[30:60])
    assert values[60:] == [None, None]
    assert about == PerplexityFacts(docs=62, perplexity=pytest.approx(sum(values[:60]) / 60, abs=2e-6))


def test_shards_workers_and_the_order_of_sources_change_nothing(
    new_work: Callable[[], Work], make_docs: Callable[..., Artifact]
) -> None:
    results = []
    for count, workers in ((1, 1), (4, 2)):
        works = [new_work() for _ in range(2)]
        train, apply = (replace(work, runtime=replace(work.runtime, workers=workers)) for work in works)
        docs = {name: make_docs(sentences(40, seed), count) for seed, name in enumerate(("a", "b"))}
        given = docs if count == 1 else dict(reversed(docs.items()))
        facts = train_ngrams(train, docs=given, seed=4, max_bytes=15_000)
        assert 5_000 < facts.bytes < 25_000
        found = perplexity(apply, docs=docs["a"], model=Artifact(train.out, "0" * 64, {}))
        model = (train.out / "ngrams.npy").read_bytes()
        results.append((facts, found, model, read_all(apply.out, "perplexity").to_pylist()))
    assert results[0] == results[1]


def test_nothing_to_learn_from(work: Work, make_docs: Callable[..., Artifact]) -> None:
    with pytest.raises(DataError) as error:
        train_ngrams(work, docs={"web": make_docs([""])}, seed=1, max_bytes=100)
    assert str(error.value) == (
        "error: there is no text to learn from\n  at: web\n\nhint: name a source with documents"
    )
