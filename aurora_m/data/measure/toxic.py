"""Toxic words: which share of a text's words stands in a list of rude, sexual and violent words of its language.

A measure, not a verdict: news and novels have such words too, and a page made of them has many.
"""

import unicodedata
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.errors import DataError
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.core.uri import local_files, pinned
from aurora_m.data.columns import TOXIC, schema
from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import I64, ONE, U64, power_of_two, slot
from aurora_m.data.text.rounding import DIGITS, mean, millionths

WORDS = Path(__file__).with_name("words")
TONES = "\u0300\u0301\u0303\u0309\u0323"  # of Vietnamese: older systems write them after a composed letter


class Terms(NamedTuple):
    """Terms as hashes of words: those that begin with one word stand together."""

    words: U64  # of all terms in a row
    bounds: I64  # n + 1, into `words`


@dataclass(frozen=True)
class ToxicFacts:
    """What was looked for in a source, and found."""

    docs: int
    terms: int  # each way of writing counts
    hits: int  # documents with a term
    toxic: float  # the mean share


def toxic(work: Work, *, docs: Artifact, lang: str, words: str, pin: str) -> ToxicFacts:
    """Write `toxic/`, one file for each shard of docs, rows in the same order (column: `TOXIC`).

    `toxic` is the share of words inside listed terms, 0 to 1; words are those of kernels.py, so Japanese counts by
    pieces of two characters. The list is that of `lang` in `words/` where there is one, and the user's own: `words`,
    a `file:` uri or none (""), whose files hold one term a line, "#" before a remark; `pin` is what they held when the
    plan was made.
    DataError where there is no term.
    """
    terms = terms_of(_listed(work, lang, words, pin))
    num_terms = len(terms.bounds) - 1
    if not num_terms:
        hint = "bring a list of your own, one term a line"
        raise DataError(f"there is no list of toxic words for `{lang}`", at="toxic", hint=hint)
    rows = hits = total = 0
    task = partial(_shard, out=work.out / "toxic", terms=terms)
    for count, with_term, summed in map_shards(work, task, shards(docs.path), "toxic"):
        rows, hits, total = rows + count, hits + with_term, total + summed
    return ToxicFacts(rows, num_terms, hits, mean(total, rows))


def languages() -> list[str]:
    """The languages that have a list here."""
    return sorted(path.stem for path in WORDS.glob("*.txt"))


def shares(texts: pa.ChunkedArray, terms: Terms) -> NDArray[np.float64]:
    """The share of each text's words inside a term."""
    hashes, _, bounds = kernels.words(texts)
    marked = mark(hashes, bounds, terms.words, terms.bounds)
    counted = np.diff(np.concatenate([[0], np.cumsum(marked)])[bounds])
    return np.round(counted / np.maximum(np.diff(bounds), 1), DIGITS)


def terms_of(lines: list[str]) -> Terms:
    """The terms of a list's lines, in each way that letters with marks are written: text is not yet normalized."""
    plain = [line.strip() for line in lines if not line.lstrip().startswith("#")]
    forms = sorted({form for line in plain for form in (_composed(line), _composed(line, TONES), _decomposed(line))})
    hashes, _, bounds = kernels.words(pa.array(forms, pa.large_string()))
    found = sorted({tuple(hashes[first:end].tolist()) for first, end in pairwise(bounds) if end > first})
    ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Terms(np.array([word for term in found for word in term], np.uint64), ends)


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _composed(text: str, apart: str = "") -> str:
    """Composed but for some marks that stay apart, after their letter."""
    if not apart:
        return unicodedata.normalize("NFC", text)
    letters = [_decomposed(char) for char in _composed(text)]
    return "".join(
        _composed("".join(c for c in letter if c not in apart)) + "".join(c for c in letter if c in apart)
        for letter in letters
    )


def _listed(work: Work, lang: str, words: str, pin: str) -> list[str]:
    own = local_files(words, work.runtime.root) if words else {}
    files = [path for path in (WORDS / f"{lang}.txt", *own.values()) if path.exists()]
    try:
        with pinned(own, pin, words) if words else nullcontext():
            return [line for path in files for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError("a list of words is not utf-8", at=words, hint="save it as utf-8 text") from error


def _shard(path: Path, *, out: Path, terms: Terms) -> tuple[int, int, int]:
    """Measure one shard; returns its rows, those with a term, and the sum in millionths."""
    docs = pq.read_table(path, columns=["id", "text"])
    found = shares(docs["text"], terms)
    write_table(out / path.name, pa.table({"id": docs["id"], "toxic": found}, schema=schema([TOXIC])))
    return len(found), int(np.count_nonzero(found)), millionths(found)


@compiled
def mark(hashes: Any, bounds: Any, terms: Any, term_bounds: Any) -> Any:
    """For each word, whether it is inside a term, none of which reaches into the next text."""
    size = power_of_two(4 * len(term_bounds))
    keys, marks, firsts = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for term in range(len(term_bounds) - 2, -1, -1):  # backwards: the first of those that begin alike stands last
        key = terms[term_bounds[term]]
        at = slot(keys, marks, ONE, key)
        keys[at], marks[at], firsts[at] = key, 1, term
    marked = np.zeros(len(hashes), np.bool_)
    for text in range(len(bounds) - 1):
        for i in range(bounds[text], bounds[text + 1]):
            at = slot(keys, marks, ONE, hashes[i])
            term = firsts[at] if marks[at] == 1 else len(term_bounds) - 1
            while term < len(term_bounds) - 1 and terms[term_bounds[term]] == hashes[i]:
                k = np.int64(1)
                length = term_bounds[term + 1] - term_bounds[term]
                while k < length and i + k < bounds[text + 1] and hashes[i + k] == terms[term_bounds[term] + k]:
                    k += 1
                if k == length:
                    marked[i : i + k] = True
                term += 1
    return marked
