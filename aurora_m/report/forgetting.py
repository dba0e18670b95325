"""The forgetting report: every model of the chain against the base, paired, with intervals and verdicts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.files import read_jsonl, write_json
from aurora_m.core.step import Artifact, Work
from aurora_m.evals.compare import Change, compare_scores

FILE = "changes.json"
DIGITS = 6


@dataclass(frozen=True)
class ForgettingFacts:
    """For each model the verdict on each language's bits per byte."""

    verdicts: Mapping[str, Mapping[str, str]]


def forgetting(
    work: Work, *, scores: dict[str, Artifact], models: list[str], old: list[str], margins: Mapping[str, float]
) -> ForgettingFacts:
    """Write changes.json: {models, old, rows}, a row for each model after the base and each task, language and metric.

    margins  for each old language the relative rise of bits per byte that counts as none; for others it is 0
    """
    rows = {name: read_jsonl(scores[name].path / "scores.jsonl") for name in models}
    changed: list[JSON] = []
    verdicts = {}
    for name in models[1:]:
        changes = changes_against(rows[models[0]], rows[name], margins)
        changed += [{"model": name, **_rounded(change)} for change in changes]
        verdicts[name] = {change.lang: change.verdict for change in changes if change.task == "bpb"}
    write_json(work.out / FILE, {"models": list(models), "old": list(old), "rows": changed})
    return ForgettingFacts(verdicts)


def changes_against(
    before: list[dict[str, Any]], after: list[dict[str, Any]], margins: Mapping[str, float]
) -> list[Change]:
    """Compare two models' score rows; bits per byte of each language under its own margin."""
    bits = {row["lang"] for row in before if row["task"] == "bpb"}
    changes = []
    for lang in sorted(bits):
        first, second = ([r for r in rows if r["task"] == "bpb" and r["lang"] == lang] for rows in (before, after))
        changes += compare_scores(first, second, {"bpb": margins.get(lang, 0.0)})
    first, second = ([row for row in rows if row["task"] != "bpb"] for rows in (before, after))
    return changes + compare_scores(first, second, {})


def _rounded(change: Change) -> dict[str, JSON]:
    values = asdict(change).items()
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in values}
