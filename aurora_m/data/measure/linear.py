"""The linear model of text over hashed n-grams, in compiled loops: what it sees of a text, how it learns and judges.

It is fastText's (Joulin et al. 2017, "Bag of tricks for efficient text classification") without the hidden layer:
every n-gram has one weight for each label, and a text's score is their scaled sum.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import (
    DIGIT,
    HALF,
    LETTER,
    MARK,
    PRIME,
    SEED,
    SPACE,
    UNSPACED,
    classes,
    decoded,
    folded,
    mixed,
    text_buffers,
)

Floats: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = NDArray[np.float32]

PIECE_BYTES = 1000  # of the start, the middle and the end of a text: what is learned from and what is judged
TABLE_BITS = 18  # n-grams that fall on one weight share it
EPOCHS = 4
RATE = 0.3  # of Adagrad, in the first epoch
MOST_FEATURES = 5 * (3 * PIECE_BYTES + 16)


class Lessons(NamedTuple):
    """What is learned in an epoch."""

    learn: NDArray[np.int64]  # the numbers of texts, in order
    truth: NDArray[np.int64]  # the label of each text
    gains: Floats  # what each label weighs in the loss


class State(NamedTuple):
    """What learning changes."""

    weights: Weights
    squares: Weights  # the sums of squared slopes


def ranks(ids: pa.ChunkedArray, seed: int) -> NDArray[np.uint64]:
    """A number below 2**64 for each id, by hash: draws that no split of the shards can change."""
    return np.asarray(hashed(*text_buffers(ids), np.uint64(mixed(np.uint64(seed % 2**64) ^ SEED))))


def most_rank(count: int, total: int) -> np.uint64:
    """The greatest rank of those that draw about `count` of `total`."""
    return np.uint64(min(int(min(count / max(total, 1), 1.0) * 2**64), 2**64 - 1))


def held_out(rank: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which of ids with these ranks are kept aside, whichever ranks were drawn."""
    return np.asarray(rank * PRIME < np.uint64(int(share * 2**64)))


def excerpts(texts: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The start, middle and end of long texts, `PIECE_BYTES` each, and short texts whole."""
    data, offsets = cut(*text_buffers(texts), np.int64(PIECE_BYTES))
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def probabilities(texts: pa.ChunkedArray | pa.Array, weights: Weights) -> Floats:
    """Probability of each label [n, labels] for texts that `excerpts` cut."""
    scores = judged(*text_buffers(texts), classes(), folded(), weights)
    scores = np.exp(scores - scores.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(scores / scores.sum(1, keepdims=True))


def trained(
    texts: pa.Array, truth: NDArray[np.int64], gains: Floats, learn: NDArray[np.int64], on_epoch: Callable[[int], None]
) -> Weights:
    """Weights [n-grams + 1, labels], learned from the texts numbered `learn`, in that order.

    `truth` is each text's label, `gains` what each label weighs in the loss. Same input, same bytes.
    """
    weights = np.zeros((2**TABLE_BITS + 1, len(gains)), np.float32)
    state = State(weights, np.full(weights.shape, 1e-8, np.float32))
    for epoch in range(1, EPOCHS + 1):
        fit(text_buffers(texts), Lessons(learn, truth, gains), RATE / epoch, (classes(), folded()), state)
        on_epoch(epoch)
    return weights


@compiled
def hashed(data: Any, offsets: Any, start: Any) -> Any:
    """Hash each string of a column."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for text in range(len(hashes)):
        value = start
        for i in range(offsets[text], offsets[text + 1]):
            value = (value ^ np.uint64(data[i])) * PRIME
        hashes[text] = mixed(value)
    return hashes


@compiled
def cut(data: Any, offsets: Any, piece: Any) -> Any:
    """Copy whole characters of three places of each text; see `excerpts`."""
    texts = len(offsets) - 1
    bounds = np.zeros(texts + 1, np.int64)
    most = 0
    for text in range(texts):
        most += min(offsets[text + 1] - offsets[text], 3 * piece + 14)
    pieces = np.empty(most, np.uint8)
    size = 0
    for text in range(texts):
        first, last = offsets[text], offsets[text + 1]
        for place in range(3):
            start = first + (last - first - piece) * place // 2
            end = start + piece
            if last - first <= 3 * piece:
                start, end = (first, last) if place == 0 else (last, last)
            while start < last and data[start] & 0xC0 == 0x80:
                start += 1
            while end < last and data[end] & 0xC0 == 0x80:
                end += 1
            if place > 0 and end > start:
                pieces[size] = 10
                size += 1
            pieces[size : size + end - start] = data[start:end]
            size += end - start
        bounds[text + 1] = size
    return pieces[:size], bounds


@compiled
def features(data: Any, first: Any, last: Any, classes: Any, folded: Any, numbers: Any) -> Any:
    """Weights' numbers of one text: its words and word pairs, and runs of characters; returns how many.

    Case is folded, digits are one, white space is one space. Runs are of three and five characters, and in scripts
    without spaces of one, two and three.
    """
    mask = np.uint64(2**TABLE_BITS - 1)
    count, i = 0, first
    one = two = three = four = np.uint64(32)
    word, before = SEED, SEED
    kind = SPACE
    while i <= last:
        now = SPACE
        point: Any = 32
        if i < last:
            point, width = decoded(data, i)
            now = classes[point]
            i += width
        else:
            i += 1
        inside = now in (LETTER, DIGIT, MARK)
        if not inside and word != SEED:
            numbers[count] = mixed(word) & mask
            numbers[count + 1] = mixed(before * PRIME ^ word) & mask
            count += 2
            before, word = word, SEED
        if now == SPACE and kind == SPACE:
            continue
        kind = now
        char = np.uint64(32) if now == SPACE else (np.uint64(48) if now == DIGIT else np.uint64(folded[point]))
        if inside:
            word = (word ^ char) * PRIME
        pair = one << HALF ^ char
        triple = mixed(pair ^ two * SEED)
        numbers[count] = triple & mask
        if now == UNSPACED:
            numbers[count + 1] = mixed(char ^ PRIME) & mask
            numbers[count + 2] = mixed(pair ^ PRIME) & mask
            count += 3
        else:
            numbers[count + 1] = mixed(triple ^ (three << HALF ^ four)) & mask
            count += 2
        one, two, three, four = char, one, two, three
    return count


@compiled
def score(numbers: Any, count: Any, weights: Any, scores: Any) -> Any:
    """Mean weights of one text, plus the last row: what is true of any text."""
    for k in range(len(scores)):
        scores[k] = 0.0
    for i in range(count):
        for k in range(len(scores)):
            scores[k] += weights[numbers[i], k]
    for k in range(len(scores)):
        scores[k] = scores[k] / sqrt(max(count, 1)) + weights[-1, k]


@compiled
def judged(data: Any, offsets: Any, classes: Any, folded: Any, weights: Any) -> Any:
    """Scores [n, labels] of each text."""
    scores = np.zeros((len(offsets) - 1, weights.shape[1]))
    numbers = np.empty(MOST_FEATURES, np.uint64)
    for text in range(len(scores)):
        count = features(data, offsets[text], offsets[text + 1], classes, folded, numbers)
        score(numbers, count, weights, scores[text])
    return scores


@compiled
def fit(texts: Any, lessons: Any, rate: Any, alphabet: Any, state: Any) -> Any:
    """One pass of stochastic gradients of the log loss, with Adagrad's steps (Duchi et al. 2011)."""
    (data, offsets), (classes, folded), (weights, squares) = texts, alphabet, state
    learn, truth, gains = lessons
    numbers = np.empty(MOST_FEATURES, np.uint64)
    scores = np.zeros(weights.shape[1])
    for text in learn:
        count = features(data, offsets[text], offsets[text + 1], classes, folded, numbers)
        score(numbers, count, weights, scores)
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
        scores[truth[text]] -= 1.0
        scores *= gains[truth[text]]
        numbers[count] = len(weights) - 1
        for k in range(len(scores)):
            for i in range(count + 1):
                slope = scores[k] * (1.0 if i == count else 1.0 / sqrt(max(count, 1)))
                squares[numbers[i], k] += slope * slope
                weights[numbers[i], k] -= rate * slope / sqrt(squares[numbers[i], k])
