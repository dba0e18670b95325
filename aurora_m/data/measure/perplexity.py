"""Perplexity: how well a small n-gram model of characters, learned from clean text, foretells a document.

Interpolated Kneser-Ney (1995) over hashed n-grams in a table of fixed size, packed for look-up as probability and
back-off weight, as KenLM does (Heafield 2011). An n-gram enters the table only after its own suffix, and of the known
n-grams that end at a character only the longest is counted: so a shorter one counts in how many contexts it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.errors import DataError
from aurora_m.core.files import replacing
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import PERPLEXITY, schema
from aurora_m.data.measure.linear import excerpts, held_out, most_rank, ranks
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import DIGIT, PRIME, SEED, SPACE, classes, decoded, folded, mixed, text_buffers
from aurora_m.data.text.rounding import DIGITS, mean, millionths

ORDER = 6  # characters in the longest n-gram
TABLE_BITS = 22
ROOT = 2**TABLE_BITS  # the cell of the empty context, after all others
MOST = int(0.6 * ROOT)  # n-grams; later ones find no room
DISCOUNT = 0.75  # Ney, Essen & Kneser 1994
UNITS = 48  # of a packed number make one bit
HELD_SHARE = 0.05  # of the documents, to measure on
PERCENTILES = (5, 25, 50, 75, 95, 99)
MASK = np.uint64(ROOT - 1)
TAG = np.uint64(50)  # the upper bits of a name tell n-grams of one cell apart
BLANK = np.uint64(32)
ODD = np.uint64(1)


class Table(NamedTuple):
    """N-grams by cell, while they are learned."""

    keys: NDArray[np.uint64]  # their names; 0: free
    known: NDArray[np.int64]  # one number: how many there are
    counts: NDArray[np.uint32]  # of the n-gram; as a context, of what follows it, and of what kinds
    packed: NDArray[np.uint32]


@dataclass(frozen=True)
class NgramFacts:
    """What was learned, and what it says of documents that were kept aside; nothing where they have no text."""

    docs: int
    bytes: int
    ngrams: int
    held_docs: int
    perplexity: float | None = None  # of them as a whole
    percentiles: Mapping[str, float] | None = None  # of the column `perplexity` over them, to choose a bound from


@dataclass(frozen=True)
class PerplexityFacts:
    """What a source is like."""

    docs: int
    perplexity: float  # the mean


def train_ngrams(work: Work, *, docs: dict[str, Artifact], seed: int, max_bytes: int) -> NgramFacts:
    """Write `ngrams.npy`, a model of the characters of these documents, which should be clean and in one language.

    About `max_bytes` of text are drawn by the hash of seed and id. DataError where there is no text.
    """
    paths = [path for name in sorted(docs) for path in shards(docs[name].path)]
    total = sum(_size(pq.read_table(path, columns=["text"])["text"]) for path in paths)
    if not total:
        raise DataError("there is no text to learn from", at=", ".join(docs), hint="name a source with documents")
    packed = np.zeros(ROOT + 1, np.uint32)
    keys, counts = np.zeros(ROOT + 1, np.uint64), np.zeros((ROOT + 1, 3), np.uint32)
    table = Table(keys, np.zeros(1, np.int64), counts, packed)
    num_docs = num_bytes = 0
    bits = [np.zeros((0, 2), np.int64)]
    with work.log.bar("n-grams", 3 * len(paths), "shards") as bar:
        # One after the other and in order, since the table fills up: once to count, to pack, and to measure.
        for done, path in enumerate([*paths, *paths, *paths], 1):
            turn = (done - 1) // len(paths)
            learn, held = _drawn(path, seed=seed, most=most_rank(max_bytes, total))
            if turn == 2:
                bits.append(_costs(held, packed))
            else:
                walk(text_buffers(learn), (classes(), folded()), table, turn == 0)
                num_docs, num_bytes = num_docs + len(learn), num_bytes + _size(learn)
            bar.update(done)
    with replacing(work.out / "ngrams.npy") as file:
        np.save(file, packed)
    held_bits = np.concatenate(bits)
    return NgramFacts(num_docs // 2, num_bytes // 2, int(table.known[0]), len(held_bits), *_measured(held_bits))


def perplexity(work: Work, *, docs: Artifact, model: Artifact) -> PerplexityFacts:
    """Write `perplexity/`, one file for each shard of docs, rows in the same order (column: `PERPLEXITY`).

    It is 2 to the power of the bits that one byte of the text costs under the model, so that scripts compare; case,
    digits and the kind of white space make no difference. Long texts are judged by pieces, as by linear.py. Null
    where there is no character.
    """
    paths = shards(docs.path)
    rows = total = judged = 0
    task = partial(_measure_shard, out=work.out / "perplexity", model=model.path)
    for count, summed, number in map_shards(work, task, paths, "perplexity"):
        rows, total, judged = rows + count, total + summed, judged + number
    return PerplexityFacts(rows, mean(total, judged))


def _size(texts: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.binary_length(texts)).as_py() or 0)


def _drawn(path: Path, *, seed: int, most: np.uint64) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The drawn texts of a shard: those to learn from, and those to measure on."""
    docs = pq.read_table(path, columns=["id", "text"])
    rank = ranks(docs["id"], seed)
    drawn, held = rank <= most, held_out(rank, HELD_SHARE)
    return docs["text"].filter(pa.array(drawn & ~held)), docs["text"].filter(pa.array(drawn & held))


def _costs(texts: pa.ChunkedArray, packed: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Units and bytes [n, 2] of each text's pieces."""
    return np.asarray(costs(*text_buffers(excerpts(texts)), classes(), folded(), packed))


def _perplexities(bits: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN where there is no byte."""
    with np.errstate(invalid="ignore"):
        values: NDArray[np.float64] = np.exp2(bits[:, 0].astype(np.float64) / bits[:, 1] / UNITS)
    return np.round(values, DIGITS)


def _measured(bits: NDArray[np.int64]) -> tuple[float | None, dict[str, float] | None]:
    """The perplexity of texts as a whole, and percentiles of theirs; none where there is no text."""
    bits = bits[bits[:, 1] > 0]
    if not len(bits):
        return None, None
    values = np.percentile(_perplexities(bits), PERCENTILES)
    whole = round(float(_perplexities(bits.sum(0, keepdims=True))[0]), DIGITS)
    return whole, {f"p{p}": round(float(value), DIGITS) for p, value in zip(PERCENTILES, values, strict=True)}


def _measure_shard(path: Path, *, out: Path, model: Path) -> tuple[int, int, int]:
    """Judge one shard; returns its rows, the sum in millionths, and how many have a value."""
    docs = pq.read_table(path, columns=["id", "text"])
    packed = np.load(model / "ngrams.npy", mmap_mode="r")  # mapped: all workers of a machine share it
    values = _perplexities(_costs(docs["text"], packed))
    column = pa.array(values, from_pandas=True)  # NaN is null
    write_table(out / path.name, pa.table({"id": docs["id"], "perplexity": column}, schema=schema([PERPLEXITY])))
    return len(values), millionths(values[~np.isnan(values)]), len(values) - column.null_count


@compiled
def symbol(data: Any, i: Any, classes: Any, folded: Any) -> Any:
    """One character as the model sees it, and its width in bytes."""
    point, width = decoded(data, i)
    kind = classes[point]
    return (BLANK if kind == SPACE else (np.uint64(48) if kind == DIGIT else np.uint64(folded[point]))), width


@compiled
def named(value: Any, order: Any) -> Any:
    """An n-gram's name, never 0: the lower bits choose its cell."""
    return mixed(value ^ (np.uint64(order) * SEED)) | ODD


@compiled
def cell_of(keys: Any, name: Any) -> Any:
    """Where an n-gram is, or would go."""
    at = name & MASK
    while keys[at] != 0 and keys[at] != name:
        at = (at + ODD) & MASK
    return np.int64(at)


@compiled
def walk(texts: Any, alphabet: Any, table: Any, learning: Any) -> Any:
    """Go over texts, once to count their n-grams, and once more, when all counts stand, to pack what they say."""
    (data, offsets), (classes, folded) = texts, alphabet
    keys, _, counts, packed = table
    values = np.zeros(ORDER + 1, np.uint64)
    at, before = np.full(ORDER + 1, ROOT), np.full(ORDER + 1, ROOT)  # cells of the n-grams that end here, by order
    for text in range(len(offsets) - 1):
        i, longest, last = offsets[text], 0, BLANK
        values[:] = 0
        while i < offsets[text + 1]:
            char, width = symbol(data, i, classes, folded)
            i += width
            if char == BLANK and last == BLANK:
                continue
            last = char
            for k in range(ORDER, 0, -1):
                values[k] = (values[k - 1] + char) * PRIME
            most, longest = min(longest + 1, ORDER), 0
            for k in range(1, most + 1):
                at[k] = cell_of(keys, named(values[k], k))
                if keys[at[k]] == 0:
                    break
                longest = k
            if learning:
                longest = learn(longest, most, values, at, before, table)
            else:
                tell(longest, at, before, keys, counts, packed)
            at, before = before, at
    if not learning and counts[ROOT, 1] > 0:
        spare = DISCOUNT * counts[ROOT, 2] / counts[ROOT, 1] / (counts[ROOT, 2] + 1)
        packed[ROOT] = np.uint32(round(-np.log2(spare) * UNITS))


@compiled
def learn(longest: Any, most: Any, values: Any, at: Any, before: Any, table: Any) -> Any:
    """Count the longest known n-gram and add the next longer one; returns the order of the longest now."""
    keys, known, counts, _ = table
    if longest > 0:
        counts[at[longest], 0] += 1
        counts[before[longest - 1], 1] += 1
    if longest == most or known[0] >= MOST:
        return longest
    new = longest + 1
    known[0] += 1
    keys[at[new]] = named(values[new], new)
    counts[at[new], 0] = 1
    counts[before[longest], 1] += 1
    counts[before[longest], 2] += 1
    return new


@compiled
def tell(longest: Any, at: Any, before: Any, keys: Any, counts: Any, packed: Any) -> Any:
    """Pack the known n-grams that end here: 14 bits of the name, 10 of -log2 probability, 8 of -log2 back-off."""
    prob = 1.0 / (counts[ROOT, 2] + 1)
    for k in range(1, longest + 1):
        one, context = counts[at[k]], counts[before[k - 1]]
        prob = (one[0] - DISCOUNT + DISCOUNT * context[2] * prob) / context[1]
        back = DISCOUNT * one[2] / one[1] if one[1] > 0 else 1.0
        cost = np.uint32(min(max(round(-np.log2(prob) * UNITS), 1), 1023))
        spare = np.uint32(min(round(-np.log2(back) * UNITS / 2), 255))
        packed[at[k]] = np.uint32(keys[at[k]] >> TAG) << np.uint32(18) | cost << np.uint32(8) | spare


@compiled
def packed_of(packed: Any, name: Any) -> Any:
    """What is packed of an n-gram, 0 if it is unknown."""
    tag, at = np.uint32(name >> TAG), name & MASK
    while packed[at] != 0 and packed[at] >> np.uint32(18) != tag:
        at = (at + ODD) & MASK
    return np.int64(packed[at])


@compiled
def costs(data: Any, offsets: Any, classes: Any, folded: Any, packed: Any) -> Any:
    """Units of -log2 probability and bytes of each text [n, 2]; runs of white space are one byte."""
    found = np.zeros((len(offsets) - 1, 2), np.int64)
    values, old = np.zeros(ORDER + 1, np.uint64), np.zeros(ORDER + 1, np.uint64)
    for text in range(len(found)):
        i, longest, back, last = offsets[text], 0, 0, BLANK
        values[:] = 0
        size: Any = 0
        units: Any = 0
        while i < offsets[text + 1]:
            char, width = symbol(data, i, classes, folded)
            i += width
            if char == BLANK and last == BLANK:
                continue
            last = char
            size += 1 if char == BLANK else width
            for k in range(ORDER, 0, -1):
                old[k] = values[k]
                values[k] = (values[k - 1] + char) * PRIME
            k, known = min(longest + 1, ORDER), 0
            while k > 0:
                known = packed_of(packed, named(values[k], k))
                if known != 0:
                    break
                if k > 1:  # the context is known: it backs off
                    units += 2 * (back if k - 1 == longest else packed_of(packed, named(old[k - 1], k - 1)) & 255)
                k -= 1
            units += known >> 8 & 1023 if k > 0 else np.int64(packed[ROOT])
            longest, back = k, known & 255
        found[text, 0], found[text, 1] = units, size
    return found
