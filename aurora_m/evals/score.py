"""Turn answers into scores; needs no model, so that a new rule costs seconds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.interval import Estimate, wilson
from aurora_m.core.machine import processors
from aurora_m.core.step import Artifact, Work
from aurora_m.evals.held_out import score_document
from aurora_m.evals.interval import middle_95, resample
from aurora_m.evals.items import ITEMS, read_items
from aurora_m.evals.kinds import KINDS
from aurora_m.evals.kinds.kind import Answer, Score
from aurora_m.evals.sandbox import run as sandbox
from aurora_m.evals.sandbox.run import Program, Wall
from aurora_m.evals.task import Item

RESAMPLES = 2000

ScoreRow: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Rate(Estimate):
    """A metric of a task in a language."""

    task: str
    lang: str
    metric: str


@dataclass(frozen=True)
class ScoreFacts:
    """All rates; and, where there is code, the sandbox that it ran in and how many reference solutions passed."""

    scores: tuple[Rate, ...]
    sandbox: str | None = None  # or "none"
    reference_pass: float | None = None


def score(work: Work, *, answers: Artifact, items: Artifact, wall: str = "", python: str = "") -> ScoreFacts:
    """Write scores.jsonl: {id, task, lang, group, metric, value, weight}, sorted by task, metric and id.

    The rate of a metric is the sum of its values over the sum of its weights. `accuracy`, `pass`, `refusal` and
    `over_refusal` are 0 or 1 with weight 1; `bpb`, `solution_bpb`, `infill_bpb` and `infill_left_bpb` are bits with
    bytes as weight. Code is run only behind the wall that was there when the run was planned; without one `pass` is
    absent. DataError if a reference solution fails its own tests, or the wall does not hold any more.
    """
    all_items = read_items(items.path / ITEMS)
    answered = {row["id"]: row for row in read_jsonl(answers.path / "answers.jsonl")}
    rows = [_row(item, score) for item in all_items for score in KINDS[item.kind].score(item, answered[item.id])]
    rows += map(score_document, read_jsonl(answers.path / "bits.jsonl"))
    runnable = [item for item in all_items if KINDS[item.kind].program]
    if runnable and wall:
        passed = _passed(work, Wall(wall, python), runnable, answered)
        rows += [_row(item, Score("pass", float(ok))) for item, ok in passed]
    elif runnable:
        work.log.say(f"  no program is run: no sandbox holds here; {sandbox.HINT}")
    rows.sort(key=lambda row: (row["task"], row["metric"], row["id"]))
    write_jsonl(work.out / "scores.jsonl", rows)
    if not runnable:
        return ScoreFacts(rates(rows))
    return ScoreFacts(rates(rows), wall or "none", 1.0 if wall else None)


def rates(rows: list[ScoreRow]) -> tuple[Rate, ...]:
    """For each (task, lang, metric): its rate, the 95 % interval, and over how many rows."""
    pairs_of: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        pairs_of[row["task"], row["lang"], row["metric"]].append((row["value"], row["weight"]))
    return tuple(_rate(*key, pairs) for key, pairs in sorted(pairs_of.items()))


def _rate(task: str, lang: str, metric: str, pairs: list[tuple[float, float]]) -> Rate:
    rows_NC = np.array(pairs, dtype=np.float64)
    total, weight = rows_NC.sum(0)
    if metric.endswith("bpb"):
        sums_RC = resample(rows_NC, f"{task}/{lang}/{metric}", RESAMPLES)
        low, high = middle_95(sums_RC[:, 0] / sums_RC[:, 1])
    else:
        low, high = wilson(total, len(pairs))
    return Rate(round(float(total / weight), 6), round(low, 6), round(high, 6), len(pairs), task, lang, metric)


def _row(item: Item, score: Score) -> ScoreRow:
    about = {"id": item.id, "task": item.task, "lang": item.lang, "group": item.group, "metric": score.metric}
    return {**about, "value": score.value, "weight": score.weight}


def _passed(
    work: Work, wall: Wall, items: Sequence[Item], answered: Mapping[str, Answer]
) -> Iterator[tuple[Item, bool]]:
    """Whether each completion passes its tests; the reference solutions must, as the tokenizer spells them: first."""
    if sandbox.wall() != wall:
        what = f"the sandbox that this run was planned with, {wall.name} with Python {wall.python}, does not hold here"
        raise DataError(what, at="scores of programs", hint=sandbox.HINT)
    programs = [_program(item, answered[item.id].get("reference", item.right)) for item in items]
    programs += [_program(item, answered[item.id]["text"]) for item in items]
    with work.log.bar("tests", len(programs), "programs") as bar, ThreadPoolExecutor(processors()) as pool:
        results = []
        for result in pool.map(sandbox.run, programs):
            results.append(result)
            bar.update(len(results))
    # Load does not decide: what was still running beside others is run alone.
    results = [sandbox.run(program) if r.late else r for program, r in zip(programs, results, strict=True)]
    for item, result in zip(items, results, strict=False):
        if not result.ok:
            spelled = ", as the model's tokenizer spells it" if "reference" in answered[item.id] else ""
            what = f"the reference solution of `{item.id}` fails its own tests{spelled}: {result.why}"
            raise DataError(what, at=item.id, hint="mend the item, or leave the suite out; see docs/sandbox.md")
    yield from ((item, result.ok) for item, result in zip(items, results[len(items) :], strict=True))


def _program(item: Item, text: str) -> Program:
    program = KINDS[item.kind].program
    assert program, "the item's kind has programs"
    return program(item, text)
