"""Signals: columns of measures beside each shard of docs. Nothing is dropped here."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import SIGNALS, TEXT, schema
from aurora_m.data.measure import repeats, scan
from aurora_m.data.measure.pieces import SCRIPTS, Pieces, Text, room, split_pieces, traits
from aurora_m.data.measure.scan import Phrases
from aurora_m.data.personal import pii
from aurora_m.data.text import kernels, langid
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import U64
from aurora_m.data.text.rounding import DIGITS, mean, millionths

# Column: what is counted, and of what it is the share or mean (scan.py, repeats.py).
NUMBERS: Mapping[str, int] = {
    "chars": scan.CHARS, "words": scan.WORDS, "pieces": scan.PIECES, "lines": scan.LINES, "longest_line": scan.LONGEST,
    "stop_kinds": scan.STOP_KINDS, "c4_sentences": scan.C4_SENTENCES, "lorem_lines": scan.LOREM,
    "curly_lines": scan.CURLY,
}  # fmt: skip
SHARES: Mapping[str, tuple[int, int]] = {
    "mean_word_chars": (scan.WORD_CHARS, scan.WORDS), "mean_line_chars": (scan.LINE_CHARS, scan.LINES),
    **{name: (what, scan.CHARS) for name, what in (
        ("alpha", scan.ALPHA), ("digits", scan.DIGITS), ("symbols", scan.SYMBOLS), ("upper", scan.UPPER),
    )},
    **{name: (what, scan.PIECES) for name, what in (
        ("alpha_words", scan.LETTER_WORDS), ("hashes", scan.HASHES), ("ellipses", scan.ELLIPSES),
        ("newlines", scan.NEWLINES),
    )},
    **{name: (what, scan.WORDS) for name, what in (
        ("stop_words", scan.STOPS), ("flagged_words", scan.FLAGGED), ("noise_words", scan.NOISE_WORDS),
    )},
    **{name: (what, scan.LINES) for name, what in (
        ("bullet_lines", scan.BULLETS), ("ellipsis_lines", scan.CUT_LINES), ("ended_lines", scan.ENDED),
        ("short_lines", scan.SHORT), ("upper_lines", scan.UPPER_LINES), ("digit_lines", scan.DIGIT_LINES),
        ("counter_lines", scan.COUNTER_LINES), ("c4_lines", scan.C4_LINES), ("javascript_lines", scan.JAVASCRIPT),
        ("policy_lines", scan.POLICY), ("dup_lines", scan.COUNTS + repeats.DUP_LINES),
    )},
    **{name: (scan.SCRIPT + number, scan.COUNTS + repeats.REPEATS) for number, name in enumerate(
        ("other_script", *SCRIPTS)
    )},
    "dup_paras": (scan.COUNTS + repeats.DUP_PARAS, scan.COUNTS + repeats.PARAS),
    **{name: (scan.COUNTS + what, scan.CHARS) for name, what in (
        ("dup_line_chars", repeats.DUP_LINE_CHARS), ("dup_para_chars", repeats.DUP_PARA_CHARS),
        *((f"top_{n}gram", repeats.TOP + n - repeats.LEAST_TOP) for n in range(repeats.LEAST_TOP, repeats.LEAST_DUP)),
        *((f"dup_{n}grams", repeats.DUP + n - repeats.LEAST_DUP) for n in range(5, repeats.MOST_DUP + 1)),
    )},
}  # fmt: skip
MEASURES = [column.name for column in SIGNALS if column.type != TEXT]
LISTS = ("stop_words", "flagged_words", "policy")


@dataclass(frozen=True)
class SignalFacts:
    """What a source is like."""

    docs: int
    mean: Mapping[str, float]  # of each measure


def signals(work: Work, *, docs: Artifact, lang: str) -> SignalFacts:
    """Write `signals/`, one file for each shard of docs, rows in the same order (columns: `SIGNALS`).

    What each column is of: docs/curation.md. Stop and flagged words are those of the declared language in rules.toml.
    `lang_id` and `lang_prob` are fastText's (lid.176, Joulin et al. 2016) for about 1,000 characters from the start,
    middle and end; a source declared `code` is `code`. `pii_<kind>` counts what pii.py finds.
    """
    paths = shards(docs.path)
    count, totals = 0, dict.fromkeys(MEASURES, 0)
    some = pa.chunked_array([["a"]])
    measures(some, lang)  # compiles here, once, not in each worker
    _languages(some, lang)
    shard = partial(_shard, out=work.out / "signals", lang=lang)
    for rows, sums in map_shards(work, shard, paths, "signals"):
        count += rows
        totals = {name: totals[name] + sums[name] for name in MEASURES}
    return SignalFacts(count, {name: mean(totals[name], count) for name in MEASURES})


def _shard(path: Path, *, out: Path, lang: str) -> tuple[int, dict[str, int]]:
    """Measure one shard; returns its rows and each measure's sum in millionths."""
    docs = pq.read_table(path, columns=["id", "text", "lang"])
    columns = {"id": docs["id"], **measures(docs["text"], lang), **_languages(docs["text"], lang)}
    columns |= pii.counts(docs["text"], docs["lang"].to_pylist())
    write_table(out / path.name, pa.table(columns, schema=schema(SIGNALS)))
    return docs.num_rows, {name: millionths(columns[name]) for name in MEASURES}


def measures(texts: pa.ChunkedArray, lang: str = "") -> dict[str, Any]:
    """Everything in `SIGNALS` but personal data and the language, one number a text."""
    data, offsets = kernels.text_buffers(texts)
    counts = _measured(data, offsets, traits(), phrases(lang))
    shares = {name: counts[:, part] / np.maximum(counts[:, whole], 1) for name, (part, whole) in SHARES.items()}
    return {
        "num_bytes": np.diff(offsets),
        **{name: counts[:, number] for name, number in NUMBERS.items()},
        **{name: np.round(values, DIGITS) for name, values in shares.items()},
    }


@compiled
def _measured(data: Any, offsets: Any, traits: Any, phrases: Any) -> Any:
    """Counts of each text: those of scan.py, then those of repeats.py, then the letters of any script."""
    texts, most = len(offsets) - 1, np.int64(1)
    for number in range(texts):
        most = max(most, offsets[number + 1] - offsets[number] + 2)
    counts = np.zeros((texts, scan.COUNTS + repeats.REPEATS + 1), np.int64)
    pieces = Pieces(
        np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.uint8), np.empty(most, np.int32)
    )
    lines = scan.Lines(np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int32))
    table = np.empty(kernels.power_of_two(2 * most), np.uint64)
    room = repeats.Room(np.empty(most + 1, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32), table)
    for number in range(texts):
        row, start = counts[number], offsets[number]
        again = row[scan.COUNTS :]
        text = Text(data, offsets[number + 1], traits)
        count = split_pieces(text, start, pieces)
        rows, paras = scan.count_lines(text, start, pieces, phrases, lines, row)
        row[-1] = row[scan.SCRIPT : scan.COUNTS].sum()
        again[repeats.DUP_LINES], again[repeats.DUP_LINE_CHARS] = repeats.count_lines(lines, rows, table)
        repeats.paragraphs(lines, paras)
        again[repeats.PARAS] = paras
        again[repeats.DUP_PARAS], again[repeats.DUP_PARA_CHARS] = repeats.count_lines(lines, paras, table)
        repeats.count_grams(pieces, count, room, again)
    return counts


@cache
def word_lists() -> dict[str, dict[str, str]]:
    """Thresholds of rules and lists of words by language, as rules.toml has them."""
    lists: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parents[1] / "select" / "rules.toml").read_text("utf-8")
    )
    return lists


@cache
def phrases(lang: str) -> Phrases:
    """What a scan looks for in a language."""
    stops, words, policies = (word_lists()[name] for name in LISTS)
    marks: dict[str, int] = {}
    for number, word in enumerate(stops.get(lang, "").split()):
        marks[word] = scan.STOP_WORD | (1 << scan.KINDS_SHIFT + number if number < 8 else 0)
    own = [word.strip() for word in words.get(lang, "").split(",")]
    policy = [word.strip() for name in dict.fromkeys(("en", lang)) for word in policies.get(name, "").split(",")]
    lists = (own, scan.FLAGGED_WORD), (policy, scan.POLICY_WORDS)
    for some, mark in (*lists, (["javascript"], scan.SCRIPT_WORD), (["lorem ipsum"], scan.LOREM_WORDS)):
        marks |= {word: marks.get(word, 0) | mark for word in some if word}
    return _tables([_hashes(word) for word in sorted(marks)], [mark for _, mark in sorted(marks.items())])


def _hashes(phrase: str) -> U64:
    """Of its pieces."""
    data = np.frombuffer(phrase.encode(), np.uint8)
    pieces = room(len(data) + 2)
    return pieces.hashes[: split_pieces(Text(data, len(data), traits()), 0, pieces)]


def _tables(phrases: list[U64], marks: list[int]) -> Phrases:
    size = kernels.power_of_two(4 * len(phrases))
    keys, used, heads = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
    nexts = np.full(len(phrases), -1, np.int64)
    for number, pieces in enumerate(phrases):
        at = kernels.slot(keys, used, kernels.ONE, pieces[0])
        keys[at], used[at], nexts[number], heads[at] = pieces[0], 1, heads[at], number
    sizes = np.array([len(pieces) for pieces in phrases], np.int64)
    starts = np.cumsum(sizes) - sizes
    return Phrases(keys, used, heads, nexts, starts, sizes, np.array(marks, np.int64), np.concatenate(phrases))


def _languages(texts: pa.ChunkedArray, lang: str) -> dict[str, Any]:
    if lang == "code":
        return {"lang_id": ["code"] * len(texts), "lang_prob": [1.0] * len(texts)}
    names, probs = langid.languages(texts, langid.lid176())
    return {"lang_id": names, "lang_prob": probs}
