"""Classifiers of text: train a quality model or a model of registers, and write what it says beside each document.

The model is our own (linear.py): the packages that train fastText's install the same files as fastText's predictor,
which the language identifier's package needs, and one would overwrite the other.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.errors import DataError, did_you_mean
from aurora_m.core.files import read_json, replacing, write_json
from aurora_m.core.interval import Estimate, wilson
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import quality_columns, register_columns, schema
from aurora_m.data.measure.linear import EPOCHS, Floats, excerpts, held_out, most_rank, probabilities, ranks, trained
from aurora_m.data.text.rounding import DIGITS, mean, millionths

LABELS = ("negative", "positive")  # of a quality model; the column is the probability of the second
HELD_SHARE = 0.2  # of the documents that a model is measured on, drawn by the hash of the id
MIN_DOCS = 10  # of a label, or nothing is learned of it


@dataclass(frozen=True)
class ClassifierFacts:
    """What a model learned from, and how it judges documents that were kept aside."""

    docs: Mapping[str, int]  # by label
    held: Mapping[str, int]  # kept aside, by label
    accuracy: Estimate | None = None  # none where none were kept aside
    auc: Estimate | None = None  # of two labels


@dataclass(frozen=True)
class ClassifyFacts:
    """What a source is like."""

    docs: int
    mean: Mapping[str, float]  # of each model's probability


@dataclass(frozen=True)
class LabelRate:
    """Bytes of text with a label, and the share of the documents that stays."""

    bytes: int
    rate: float


@dataclass(frozen=True)
class SubsampleFacts:
    """What stays."""

    docs_kept: int
    labels: Mapping[str, LabelRate]


def train_classifier(
    work: Work, *, positive: dict[str, Artifact], negative: dict[str, Artifact], seed: int, max_docs: int
) -> ClassifierFacts:
    """Write a model that tells documents of the positive sources from those of the negative ones.

    At most about `max_docs` of each side are drawn by the hash of seed and id and held in memory, 3,000 bytes of each;
    both sides weigh alike, so that 0.5 is as near to one as to the other. Positives are such as the pages that
    reference sites link to (RedPajama's choice for English), in the language that is to be judged.
    Files: `model.npy` (float32 [n-grams, labels]), `model.json` (labels, registers).
    DataError where a side has fewer than `MIN_DOCS` documents.
    """
    drawn = [_draw(work, side, seed, max_docs, "") for side in (negative, positive)]
    table = pa.concat_tables(
        part.append_column("label", pa.array([label] * part.num_rows, pa.string()))
        for label, part in zip(LABELS, drawn, strict=True)
    )
    return _learned(work, table, LABELS, registers=False)


def train_registers(work: Work, *, docs: dict[str, Artifact], field: str, seed: int, max_docs: int) -> ClassifierFacts:
    """Write a model of the labels that stand in the field `field` of the documents' meta (registers, genres).

    As `train_classifier`, but labels weigh as often as they stand, documents without one are passed over, and so are
    labels with fewer than `MIN_DOCS` documents. DataError where fewer than two labels are left.
    """
    table = _draw(work, docs, seed, max_docs, field)
    counts = Counter(table["label"].to_pylist())
    labels = tuple(sorted(label for label, count in counts.items() if count >= MIN_DOCS))
    if len(labels) < 2:
        what = f"there are not two labels with {MIN_DOCS} documents or more in `{field}` of the documents' meta"
        raise DataError(what, at=", ".join(docs), hint="name a field that holds a register or genre")
    return _learned(work, table.filter(pc.is_in(table["label"], pa.array(labels))), labels, registers=True)


def classify(work: Work, *, docs: Artifact, models: dict[str, Artifact]) -> ClassifyFacts:
    """Write `classes/`, one file for each shard of docs, rows in the same order: id, and columns for each model.

    A quality model NAME gives `NAME`: probability of the positive sources, 0 to 1. A model of registers gives `NAME`,
    the likeliest label, and `NAME_prob`. Texts are judged by at most 3,000 bytes.
    """
    paths = shards(docs.path)
    folders = {name: model.path for name, model in models.items()}
    count, totals = 0, dict.fromkeys(models, 0)
    for rows, sums in map_shards(
        work, partial(_classified, out=work.out / "classes", models=folders), paths, "classify"
    ):
        count += rows
        totals = {name: totals[name] + sums[name] for name in models}
    return ClassifyFacts(count, {name: mean(totals[name], count) for name in models})


def subsample(
    work: Work, *, docs: Artifact, classes: Artifact, model: Artifact, column: str, shares: dict[str, float], seed: int
) -> SubsampleFacts:
    """Write `subsample/`, one file for each shard of docs: id, and `<column>_keep`, false for what is too much.

    `shares` gives labels of `column` the most that they may be of the bytes of text that stay; others stay whole. A
    document stays when the hash of seed and id falls below its label's rate, so a smaller share keeps a part of what a
    larger one keeps. DataError for a label that `model` does not know, and where
    no rate reaches the shares.
    """
    known = read_json(model.path / "model.json")["labels"]
    for label in shares:
        if label not in known:
            listed = ", ".join(f"`{name}`" for name in known)
            hint = did_you_mean(label, known, f"those with {MIN_DOCS} documents or more are {listed}")
            raise DataError(f"the model knows no label `{label}`", at=f"register.{column}.shares", hint=hint)
    paths = shards(docs.path)
    sizes: Counter[str] = Counter()
    for part in map_shards(work, partial(_label_bytes, classes=classes.path, column=column), paths, f"{column} sizes"):
        sizes.update(part)
    rates = keep_rates(sizes, shares, column)
    out = work.out / "subsample"
    task = partial(_subsampled, out=out, classes=classes.path, column=column, rates=rates, seed=seed)
    kept = sum(map_shards(work, task, paths, f"{column} subsample"))
    return SubsampleFacts(kept, {x: LabelRate(sizes[x], round(rates[x], DIGITS)) for x in sorted(sizes)})


def keep_rates(sizes: dict[str, int], shares: dict[str, float], column: str) -> dict[str, float]:
    """The rates at which labels of these sizes stay, so that none is more than its share of what stays, in expectation.

    The largest total T with T = sum of min(size, share T) is found from above: once over its share, always over it.
    DataError where T is 0: all labels are given and their shares sum to less than 1.
    """
    total, over = float(sum(sizes.values())), set[str]()
    while more := {label for label, share in shares.items() if sizes.get(label, 0) > share * total} - over:
        over |= more
        left = 1 - sum(shares[label] for label in sorted(over))
        total = sum(size for label, size in sizes.items() if label not in over) / left if left > 0 else 0.0
        if total <= 0:
            hint = "leave a label out, or let the shares sum to 1 and more"
            raise DataError("no document would stay", at=f"shares of `{column}`", hint=hint)
    return {label: shares[label] * total / size if label in over else 1.0 for label, size in sizes.items()}


def _draw(work: Work, docs: dict[str, Artifact], seed: int, max_docs: int, field: str) -> pa.Table:
    """Sampled texts of about `max_docs` of the documents: rank, text, and label where a field of meta is named."""
    paths = [path for name in sorted(docs) for path in shards(docs[name].path)]
    total = sum(pq.read_metadata(path).num_rows for path in paths)
    task = partial(_drawn, seed=seed, most=most_rank(max_docs, total), field=field)
    columns = [("rank", pa.uint64()), ("text", pa.large_string()), *([("label", pa.string())] if field else [])]
    return pa.concat_tables([pa.schema(columns).empty_table(), *map_shards(work, task, paths, "draw")])


def _drawn(path: Path, *, seed: int, most: np.uint64, field: str) -> pa.Table:
    docs = pq.read_table(path, columns=["id", "text", *(["meta"] if field else [])])
    rank = ranks(docs["id"], seed)
    chosen = pa.array(rank <= most)
    docs = docs.filter(chosen)
    columns: dict[str, Any] = {"rank": rank[chosen.to_numpy(zero_copy_only=False)], "text": excerpts(docs["text"])}
    if field:
        columns["label"] = pa.array([_label(meta, field) for meta in docs["meta"].to_pylist()], pa.string())
    return pa.table(columns)


def _label(meta: str, field: str) -> str | None:
    value = json.loads(meta or "{}").get(field)
    return value if isinstance(value, str) and value else None


def _learned(work: Work, table: pa.Table, labels: tuple[str, ...], *, registers: bool) -> ClassifierFacts:
    """Train on the larger part and measure on the rest."""
    order = pc.sort_indices(table, [("rank", "ascending")])  # a shuffle that no split of the shards can change
    table = table.take(order).combine_chunks()
    truth = pc.index_in(table["label"], pa.array(labels)).to_numpy().astype(np.int64)
    held = held_out(table["rank"].to_numpy(), HELD_SHARE)
    counts = [[int(np.sum((truth == k) & (held == side))) for k in range(len(labels))] for side in (False, True)]
    for k, label in enumerate(labels):
        if counts[0][k] + counts[1][k] < MIN_DOCS:
            what = f"{counts[0][k] + counts[1][k]} {label} documents are too few to learn from"
            raise DataError(what, at="the classifier's sources", hint=f"bring {MIN_DOCS} or more")
    gains = np.ones(len(labels)) if registers else len(truth) / (len(labels) * np.bincount(truth))
    with work.log.bar("train", EPOCHS, "epochs") as bar:
        weights = trained(table["text"], truth, gains, np.flatnonzero(~held), bar.update)
    with replacing(work.out / "model.npy") as file:
        np.save(file, weights)
    write_json(work.out / "model.json", {"labels": [*labels], "registers": registers})
    probs = probabilities(table["text"].filter(pa.array(held)), weights)
    docs, held_docs = (dict(zip(labels, side, strict=True)) for side in counts)
    return ClassifierFacts(docs, held_docs, _accuracy(probs, truth[held]), _auc(probs, truth[held]))


def _accuracy(probs: Floats, truth: NDArray[np.int64]) -> Estimate | None:
    return _share(float(np.mean(probs.argmax(1) == truth)), len(truth)) if len(truth) else None


def _auc(probs: Floats, truth: NDArray[np.int64]) -> Estimate | None:
    """How often a document of the second of two labels is given more probability of it than one of the first."""
    if probs.shape[1] != 2 or not 0 < truth.sum() < len(truth):
        return None
    lesser, greater = np.sort(probs[truth == 0, 1]), probs[truth == 1, 1]
    below = np.searchsorted(lesser, greater, "left") + np.searchsorted(lesser, greater, "right")
    # The variance of an AUC is at most that of a share of the smaller side (Birnbaum & Klose 1957).
    return _share(float(below.mean()) / 2 / len(lesser), min(len(lesser), len(greater)))


def _share(share: float, n: int) -> Estimate:
    low, high = wilson(share * n, n)
    return Estimate(round(share, DIGITS), round(low, DIGITS), round(high, DIGITS), n)


def _classified(path: Path, *, out: Path, models: dict[str, Path]) -> tuple[int, dict[str, int]]:
    """Judge one shard; returns its rows and the sum of each model's probability, in millionths."""
    docs = pq.read_table(path, columns=["id", "text"])
    texts = excerpts(docs["text"])
    table = pa.table([docs["id"]], ["id"])
    sums = {}
    for name, folder in models.items():
        about = read_json(folder / "model.json")
        # Mapped, not read: all workers of a machine share one copy.
        found = np.round(probabilities(texts, np.load(folder / "model.npy", mmap_mode="r")), DIGITS)
        likeliest = found.argmax(1)
        prob = found[np.arange(len(found)), likeliest] if about["registers"] else found[:, 1]
        if about["registers"]:
            label, label_prob, _ = register_columns(name)
            table = table.append_column(label.field, [pa.array(about["labels"], label.type).take(pa.array(likeliest))])
            table = table.append_column(label_prob.field, [prob])
        else:
            table = table.append_column(quality_columns(name)[0].field, [prob])
        sums[name] = millionths(prob)
    write_table(out / path.name, table)
    return docs.num_rows, sums


def _label_bytes(path: Path, *, classes: Path, column: str) -> dict[str, int]:
    text = pq.read_table(path, columns=["text"])["text"]
    sizes = pa.table({"label": _column(path, classes, column), "size": pc.binary_length(text)})
    summed = sizes.group_by("label").aggregate([("size", "sum")])
    return dict(zip(summed["label"].to_pylist(), summed["size_sum"].to_pylist(), strict=True))


def _subsampled(path: Path, *, out: Path, classes: Path, column: str, rates: dict[str, float], seed: int) -> int:
    ids = pq.read_table(path, columns=["id"])["id"]
    rate = np.array([rates[label] for label in _column(path, classes, column).to_pylist()], np.float64)
    keep = ranks(ids, seed).astype(np.float64) / 2**64 < rate
    kept = keep | (rate >= 1)
    write_table(out / path.name, pa.table([ids, pa.array(kept)], schema=schema(register_columns(column)[2:])))
    return int(kept.sum())


def _column(path: Path, classes: Path, column: str) -> pa.ChunkedArray:
    return pq.read_table(classes / "classes" / path.name, columns=[column])[column]
