"""Turn answers into scores; needs no model, so that a new rule costs seconds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import log
from typing import Any, TypeAlias

import numpy as np

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.interval import wilson
from aurora_m.core.machine import processors
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.evals.interval import middle_95, resample
from aurora_m.evals.safety import refuses
from aurora_m.evals.sandbox.run import Result, Sandbox, probe
from aurora_m.evals.suites import read_items
from aurora_m.evals.task import Item

TIMEOUT_S = 10.0  # for one program; the shipped solutions take about 0.1 s
RESAMPLES = 2000

Row: TypeAlias = dict[str, JSON]
Answer: TypeAlias = Mapping[str, Any]


def score(work: Work, *, answers: Artifact, items: Artifact) -> Facts:
    """Write scores.jsonl: {id, task, lang, group, metric, value, weight}, sorted by task, metric and id.

    The rate of a metric is the sum of its values over the sum of its weights. `accuracy`, `pass`, `refusal` and
    `over_refusal` are 0 or 1 with weight 1; `bpb`, `solution_bpb`, `infill_bpb` and `infill_left_bpb` are bits with
    bytes as weight. Code is run only where a sandbox holds; without one `pass` is absent.
    DataError if a reference solution fails its own tests.
    """
    asked = read_items(items.path)
    given = {row["id"]: row for row in read_jsonl(answers.path / "answers.jsonl")}
    rows = [row for item in asked for row in _rows(item, given[item.id])]
    rows += map(_bits_row, read_jsonl(answers.path / "bits.jsonl"))
    codes = [item for item in asked if item.kind == "code"]
    sandbox = probe() if codes else None
    facts: Facts = {}
    if codes:
        facts["sandbox"] = sandbox.name if sandbox else "none"
    if sandbox:
        passed = _passed(work, sandbox, codes, given)
        rows += [_row(item, "pass", float(ok)) for item, ok in zip(codes, passed, strict=True)]
        facts["reference_pass"] = 1.0
    rows.sort(key=lambda row: (str(row["task"]), str(row["metric"]), str(row["id"])))
    write_jsonl(work.out / "scores.jsonl", rows)
    return {**facts, "scores": summary(rows)}


def summary(rows: list[Row]) -> list[JSON]:
    """For each (task, lang, metric): its rate, the 95 % interval, and over how many rows."""
    values: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        values[str(row["task"]), str(row["lang"]), str(row["metric"])].append((row["value"], row["weight"]))  # type: ignore[arg-type]
    found: list[JSON] = []
    for (task, lang, metric), pairs in sorted(values.items()):
        rows_NC = np.array(pairs, dtype=np.float64)
        total, weight = rows_NC.sum(0)
        if metric.endswith("bpb"):
            sums_RC = resample(rows_NC, f"{task}/{lang}/{metric}", RESAMPLES)
            low, high = middle_95(sums_RC[:, 0] / sums_RC[:, 1])
        else:
            low, high = wilson(total, len(pairs))
        numbers = {"value": float(total / weight), "low": low, "high": high}
        rounded: dict[str, JSON] = {name: round(number, 6) for name, number in numbers.items()}
        found.append({"task": task, "lang": lang, "metric": metric, **rounded, "n": len(pairs)})
    return found


def _rows(item: Item, answer: Answer) -> Iterator[Row]:
    """All scores of one answer that need no sandbox."""
    if item.kind in ("choice", "cloze"):
        sizes = answer["bytes"] if item.kind == "choice" else [1] * len(item.choices)
        rates = [nats / size for nats, size in zip(answer["nats"], sizes, strict=True)]
        yield _row(item, "accuracy", float(rates.index(max(rates)) == item.answer))
    elif item.kind == "code":
        yield _row(item, "solution_bpb", _bits(answer["solution_nats"]), answer["solution_bytes"])
    elif item.kind == "infill":
        yield _row(item, "infill_left_bpb", _bits(answer["left_nats"]), answer["bytes"])
        if answer["nats"] is not None:
            yield _row(item, "infill_bpb", _bits(answer["nats"]), answer["bytes"])
    else:
        metric = "refusal" if item.kind == "refuse" else "over_refusal"
        yield _row(item, metric, float(refuses(answer["text"], item.lang)))


def _bits_row(row: Answer) -> Row:
    name = f"{row['source']}/{row['id']}"
    score: Row = {"id": name, "task": "bpb", "lang": row["lang"], "group": row["id"], "metric": "bpb"}
    return {**score, "value": row["bits"], "weight": row["num_bytes"]}


def _row(item: Item, metric: str, value: float, weight: int = 1) -> Row:
    about: Row = {"id": item.id, "task": item.task, "lang": item.lang, "group": item.group, "metric": metric}
    return {**about, "value": value, "weight": weight}


def _bits(nats: float) -> float:
    return round(-nats / log(2), 6)


def _passed(work: Work, sandbox: Sandbox, items: list[Item], given: Mapping[str, Answer]) -> list[bool]:
    """Whether each completion passes its tests; the reference solutions must, and go first."""
    references = [f"{item.prompt}{item.answer}\n{item.tests}" for item in items]
    programs = [f"{item.prompt}{given[item.id]['text']}\n{item.tests}" for item in items]
    results: list[Result] = []
    with (
        work.log.bar("tests", len(items) * 2, "programs") as bar,
        ThreadPoolExecutor(processors()) as pool,
    ):
        for result in pool.map(lambda program: sandbox.run(program, TIMEOUT_S), references + programs):
            results.append(result)
            bar.update(len(results))
    for item, result in zip(items, results[: len(items)], strict=True):
        if not result.ok:
            what = f"the reference solution of `{item.id}` fails its own tests: {result.why}"
            raise DataError(what, at=item.id, hint="mend the item, or leave the suite out")
    return [result.ok for result in results[len(items) :]]
