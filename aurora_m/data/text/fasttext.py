"""Models that fastText wrote, read into tables for kernels: supervised, dense (`.bin`) or quantised (`.ftz`).

A text is to such a model the mean of the vectors of its words and of the n-grams of characters in them; a layer over
that mean, a softmax or a Huffman tree, gives the labels' probabilities (Joulin et al. 2017, "Bag of tricks for
efficient text classification"; quantised: Joulin et al. 2016, "FastText.zip").
"""

import mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_m.core.errors import DataError
from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled

HEAD = (793712314).to_bytes(4, "little") + (12).to_bytes(4, "little")  # fastText's mark and the format's version
SUPERVISED, TREE, SOFTMAX = 3, 1, 3  # as fastText numbers models and losses
MISFIT = "its parts do not fit together"
CODES = 256  # vectors that a part of a product quantiser knows
LANES = 16  # rows are as wide as a multiple of it: sums of so many numbers compile to few instructions
LABEL = b"__label__"
END = b"</s>"  # the last word of each text
HASH_SEED, HASH_PRIME = np.uint32(2166136261), np.uint32(16777619)


class Tables(NamedTuple):
    """What kernels read of a model. Features are n-grams by their hash, then words, then one that stands for none."""

    words: NDArray[np.uint8]  # words, then labels, as bytes in a row
    bounds: NDArray[np.int64]  # between them, one more than there are
    hashes: NDArray[np.uint32]  # open-addressing table of them: their hashes,
    slots: NDArray[np.int32]  # and their numbers, -1 where free
    end: int  # the feature of `END`
    kept: NDArray[np.uint64]  # a bit for each feature: if it has a row
    places: NDArray[np.int32]  # the row of each feature
    rows: NDArray[np.float32]  # vectors
    outputs: NDArray[np.float32]  # vectors of labels, or of the inner nodes of the tree
    children: NDArray[np.int32]  # of each inner node, left and right; none where there is no tree
    shortest: int  # n-gram, in characters
    longest: int


class Model(NamedTuple):
    """A fastText model: the names of its labels, and its tables."""

    labels: list[str]
    tables: Tables


def load(path: Path) -> Model:
    """Read a supervised model with loss softmax or hs and without n-grams of words.

    DataError if it is another kind of model, or damaged.
    """
    hint = "give a supervised fastText model (.bin or .ftz) with loss softmax or hs and without n-grams of words"
    with path.open("rb") as opened:
        if opened.read(len(HEAD)) != HEAD:
            raise DataError(f"`{path.name}` is not a fastText model of version 12", at=str(path), hint=hint)
        file = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        file.seek(len(HEAD))
        return _model(file)
    except (ValueError, IndexError) as error:
        raise DataError(f"the fastText model `{path.name}` cannot be used: {error}", at=str(path), hint=hint) from error


def _model(file: mmap.mmap) -> Model:
    dim, _, _, _, _, word_grams, loss, kind, buckets, shortest, longest, _ = _read(file, "<i4", 12).tolist()
    _read(file, "<f8")  # a threshold of training
    if kind != SUPERVISED:
        raise ValueError("it is not a supervised one")
    if loss not in (TREE, SOFTMAX):
        raise ValueError("its loss is neither softmax nor hs")
    if word_grams > 1:
        raise ValueError("it has n-grams of words")
    size, words, labels = _read(file, "<i4", 3).tolist()
    _, pruned = _read(file, "<i8", 2).tolist()  # the first is how many words it was trained on
    entries = [_entry(file) for _ in range(size)]
    places = _places(file, buckets, words, pruned)
    rows = _matrix(file, quantised := bool(_read(file, "?")[0]))
    outputs = _matrix(file, bool(_read(file, "?")[0]) and quantised)
    fits = rows.shape == (words + (buckets if pruned < 0 else pruned), dim) and outputs.shape == (labels, dim)
    if not fits or size != words + labels or labels < 1 or places.max() >= len(rows) or buckets < longest > 0:
        raise ValueError(MISFIT)
    names = [word for word, _ in entries]
    flat, bounds = np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)])
    hashes, slots = _slots(flat, bounds)
    tables = Tables(
        words=flat,
        bounds=bounds,
        hashes=hashes,
        slots=slots,
        end=buckets + (names.index(END) if END in names else words),
        kept=np.packbits(np.pad(places >= 0, (0, -len(places) % 64)), bitorder="little").view("<u8"),
        places=places,
        rows=np.pad(rows, ((0, 0), (0, -dim % LANES))),
        outputs=outputs.copy(),
        children=_tree([count for _, count in entries[words:]] if loss == TREE else []),
        shortest=min(max(shortest, 1), longest + 1),
        longest=longest,
    )
    return Model([name.removeprefix(LABEL).decode() for name in names[words:]], tables)


def _read(file: mmap.mmap, kind: str, count: int = 1) -> NDArray[Any]:
    found = np.frombuffer(file, kind, count, file.tell())
    file.seek(found.nbytes, 1)
    return found


def _entry(file: mmap.mmap) -> tuple[bytes, int]:
    """A word or label, and how often it stood in the training texts."""
    end = file.find(b"\0", file.tell())
    if end < 0:
        raise ValueError("it ends within its words")
    word = file.read(end - file.tell())
    return word, int.from_bytes(file.read(10)[1:9], "little")  # the last byte tells words from labels, which come after


def _places(file: mmap.mmap, buckets: int, words: int, pruned: int) -> NDArray[np.int32]:
    """The row of each feature, -1 for none: the rows of words, then those of all n-grams or of the ones listed."""
    places = np.full(buckets + words + 1, -1, np.int32)
    places[buckets:-1] = np.arange(words)
    if pruned < 0:
        places[:buckets] = np.arange(words, words + buckets)
    else:
        grams, rows = _read(file, "<i4", 2 * pruned).reshape(pruned, 2).T
        places[:buckets][grams] = words + rows
    return places


def _matrix(file: mmap.mmap, quantised: bool) -> NDArray[np.float32]:
    if not quantised:
        rows, columns = _read(file, "<i8", 2).tolist()
        return _read(file, "<f4", rows * columns).reshape(rows, columns)
    has_norms = bool(_read(file, "?")[0])
    rows, _ = _read(file, "<i8", 2).tolist()
    size = int(_read(file, "<i4")[0])
    vectors = _vectors(_read(file, "u1", size).reshape(rows, -1), file)
    return vectors * _vectors(_read(file, "u1", rows).reshape(rows, 1), file) if has_norms else vectors


def _vectors(codes: NDArray[np.uint8], file: mmap.mmap) -> NDArray[np.float32]:
    """What the codes of a product quantiser stand for: each part of a vector is one of 256."""
    dim, parts, width, _ = _read(file, "<i4", 4).tolist()
    known = _read(file, "<f4", dim * CODES)
    found = np.empty((len(codes), dim), np.float32)
    if codes.shape[1] != parts:
        raise ValueError(MISFIT)
    for part in range(parts):
        first, end = part * width, dim if part == parts - 1 else (part + 1) * width
        found[:, first:end] = known[first * CODES : end * CODES].reshape(CODES, end - first)[codes[:, part]]
    return found


def _tree(counts: list[int]) -> NDArray[np.int32]:
    """The children of each inner node of the Huffman tree over labels, which come the most frequent first.

    Nodes below len(counts) are labels, the others inner nodes; the root is the last.
    """
    labels, weights = len(counts), [*counts, *[10**15] * len(counts)]
    leaf, inner = labels - 1, labels
    children = np.zeros((max(labels - 1, 0), 2), np.int32)
    for node in range(len(children)):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[inner]:
                children[node, side], leaf = leaf, leaf - 1
            else:
                children[node, side], inner = inner, inner + 1
        weights[labels + node] = weights[children[node, 0]] + weights[children[node, 1]]
    return children


@compiled
def hashed(value: Any, byte: Any) -> Any:
    """One step of FNV-1a, over bytes with a sign as fastText has it."""
    return np.uint32((value ^ np.uint32(np.int8(byte))) * HASH_PRIME)


@compiled
def slot(data: Any, first: Any, end: Any, value: Any, table: Any) -> Any:
    """Where in the table the word data[first:end], whose hash is `value`, is or goes."""
    words, bounds, hashes, slots = table
    last = np.int64(len(slots) - 1)
    at = np.int64(value) & last
    while slots[at] >= 0:
        if hashes[at] == value:
            start = bounds[slots[at]]
            same = bounds[slots[at] + 1] - start == end - first
            for k in range(end - first if same else 0):
                same = same and words[start + k] == data[first + k]
            if same:
                break
        at = (at + 1) & last
    return at


@compiled
def _slots(words: Any, bounds: Any) -> Any:
    size = kernels.power_of_two(4 * len(bounds))
    hashes, slots = np.zeros(size, np.uint32), np.full(size, -1, np.int32)
    for number in range(len(bounds) - 1):
        value, first, end = HASH_SEED, bounds[number], bounds[number + 1]
        for i in range(first, end):
            value = hashed(value, words[i])
        at = slot(words, first, end, value, (words, bounds, hashes, slots))
        hashes[at], slots[at] = value, number
    return hashes, slots
