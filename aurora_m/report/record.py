"""What the page tells of: everything that a run measured, read once from its artifacts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from aurora_m.core.files import read_json, read_jsonl
from aurora_m.core.interval import wilson
from aurora_m.core.step import Artifact, Facts
from aurora_m.evals.compare import Change
from aurora_m.evals.interval import middle_95, resample
from aurora_m.evals.score import RESAMPLES
from aurora_m.evals.suites import read_items
from aurora_m.evals.task import Item
from aurora_m.recipe import Recipe, loads
from aurora_m.report.numbers import Estimate
from aurora_m.tokens.fertility import FILE as FERTILITY
from aurora_m.train.curve import FILE, Curve

COLOURS = 8  # of languages in page.css; a ninth begins again
CODE, MIXED = "code", "mul"
NAMES = {
    "ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
    CODE: "code", MIXED: "many languages",
}  # fmt: skip

Scores: TypeAlias = Mapping[tuple[str, str, str], Estimate]  # by task, language and metric


@dataclass(frozen=True)
class Stage:
    """A trained model of the released chain and where its tokens lie on the way."""

    name: str
    start: int  # tokens seen before it
    tokens: int
    curve: Curve


@dataclass(frozen=True)
class Pooled(Estimate):
    """A rate over all languages; `n` answers."""

    prompts: int
    langs: int


@dataclass(frozen=True)
class Record:
    """A run, as the page needs it. Mappings are by model or by source; `chain` ends with the released model."""

    recipe: Recipe
    text: str  # of the recipe
    chain: list[str]
    names: list[str]  # of all models, in the order they were made
    old: list[str]
    changes: Mapping[str, list[Change]]
    scores: Mapping[str, Scores]
    sandbox: str | None  # that ran the code; None where there was none to run
    models: Mapping[str, Artifact]
    decided: Mapping[str, Artifact]
    rewritten: Mapping[str, Artifact]
    fertility: Mapping[str, Any]  # by tokenizer: see tokens/fertility.py
    mixtures: Mapping[str, Artifact]
    answers: Mapping[str, Artifact]
    judged: Mapping[str, Artifact]  # scores
    items: list[Item]
    reviewed: Facts | None

    @property
    def base(self) -> str:
        """The model that all others are compared with."""
        return self.names[0]

    @property
    def released(self) -> str:
        """The model that leaves the house."""
        return self.chain[-1]

    @property
    def before_tuning(self) -> str:
        """The model that the released one was tuned from; the base where it was not tuned."""
        tune = self.recipe.tune.get(self.released)
        return tune.start if tune else self.base

    @cached_property
    def langs(self) -> list[str]:
        """All languages, the old ones first, the others in the order of the recipe."""
        sources = [source.lang for source in self.recipe.source.values() if source.lang != MIXED]
        seen = [lang for scores in self.scores.values() for _, lang, _ in scores]
        return list(dict.fromkeys([*self.old, *sources, *seen]))

    def colour(self, lang: str) -> int:
        """The one colour that a language has over the whole page; -1, grey, where there is none."""
        return self.langs.index(lang) % COLOURS if lang in self.langs else -1

    def lang_of(self, source: str) -> str:
        """The language of a source; many where the recipe has no such source."""
        return self.recipe.source[source].lang if source in self.recipe.source else MIXED

    @cached_property
    def stages(self) -> list[Stage]:
        """The trained models of the chain, end to end."""
        found, at = [], 0
        for name in self.chain:
            folder = self.models[name].path
            if (folder / FILE).exists():
                curve = Curve.read(folder)
                found.append(Stage(name, at, curve.tokens, curve))
                at += curve.tokens
        return found

    def bits(self, model: str) -> list[Change]:
        """How a model's bits per byte changed against the base, language by language."""
        changes = [change for change in self.changes.get(model, []) if change.metric == "bpb"]
        return sorted(changes, key=lambda change: self.langs.index(change.lang))

    @cached_property
    def rows(self) -> Mapping[str, list[Any]]:
        """Each model's scores, item by item."""
        return {name: read_jsonl(artifact.path / "scores.jsonl") for name, artifact in self.judged.items()}

    def pooled(self, model: str, metric: str) -> Pooled | None:
        """The rate of a yes-or-no metric over all languages; None where nothing was measured.

        One prompt in several languages is no several prompts, so the bootstrap draws prompts, each with all languages.
        """
        found = [row for row in self.rows[model] if row["metric"] == metric]
        return _pooled(found, metric) if found else None


def read_record(
    forgetting: Artifact,
    models: Mapping[str, Artifact],
    decided: Mapping[str, Artifact],
    rewritten: Mapping[str, Artifact],
    fertility: Artifact,
    mixtures: Mapping[str, Artifact],
    answers: Mapping[str, Artifact],
    scores: Mapping[str, Artifact],
    items: Artifact,
    recipe: str,
    reviewed: Mapping[str, Artifact] | None,
) -> Record:
    """Read a run's artifacts."""
    plan, changes = loads(recipe), read_json(forgetting.path / "changes.json")
    sandboxes = [artifact.facts["sandbox"] for artifact in scores.values() if "sandbox" in artifact.facts]
    return Record(
        recipe=plan,
        text=recipe,
        chain=chain(plan),
        names=[name for name in plan.models() if name in models],
        old=changes["old"],
        changes=_by_model(changes["rows"]),
        scores={name: _estimates(artifact.facts["scores"]) for name, artifact in scores.items()},
        sandbox=str(sandboxes[0]) if sandboxes else None,
        models=models,
        decided=decided,
        rewritten=rewritten,
        fertility=read_json(fertility.path / FERTILITY),
        mixtures=mixtures,
        answers=answers,
        judged=scores,
        items=read_items(items.path),
        reviewed=next(iter(reviewed.values())).facts if reviewed else None,
    )


def chain(recipe: Recipe) -> list[str]:
    """The models that the released one came from, the base first; of those merged, the heaviest."""
    starts = {stage.name: stage.start for stage in recipe.stage}
    starts |= {name: max(how.models, key=lambda model: how.models[model]) for name, (how, _) in recipe.merges().items()}
    starts |= {name: tune.start for name, tune in recipe.tune.items()}
    found = [recipe.release.model]
    while starts.get(found[-1], "scratch") != "scratch":
        found.append(starts[found[-1]])
    return found[::-1]


def name_of(lang: str) -> str:
    """The English name of a language, as it stands inside a sentence."""
    return NAMES.get(lang, lang)


def size_of(rate: Estimate) -> str:
    """How many answers a rate stands on, one over all languages as prompts × languages."""
    return f"{rate.prompts} × {rate.langs}" if isinstance(rate, Pooled) else str(rate.n)


def automated_words(reviewers: Sequence[str]) -> str:
    """The sentence to add where no reviewer is a person; else nothing."""
    automated = bool(reviewers) and all(name.startswith("automated-") for name in reviewers)
    return " These decisions were automated; no person has reviewed these rows." if automated else ""


def title_of(lang: str) -> str:
    """The English name of a language, as it stands in a heading."""
    name = name_of(lang)
    return name[:1].upper() + name[1:]


def _by_model(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for row in rows:
        change = Change(**{key: value for key, value in row.items() if key != "model"})
        found.setdefault(row["model"], []).append(change)
    return found


def _pooled(rows: Sequence[Mapping[str, Any]], metric: str) -> Pooled:
    groups: dict[str, list[float]] = {}
    for row in rows:
        total = groups.setdefault(row["group"], [0.0, 0.0])
        total[0] += row["value"]
        total[1] += row["weight"]
    rows_GC = np.array([groups[name] for name in sorted(groups)])
    hits, weight = rows_GC.sum(0)
    value = float(hits / weight)
    if value in (0.0, 1.0):  # nothing to draw from: as sure as the prompts alone would make it
        ends = wilson(value * len(groups), len(groups))
    else:
        sums_RC = resample(rows_GC, f"all/{metric}", RESAMPLES)
        ends = middle_95(sums_RC[:, 0] / sums_RC[:, 1])
    return Pooled(value, *ends, len(rows), len(groups), len({row["lang"] for row in rows}))


def _estimates(rows: Any) -> Scores:
    return {
        (row["task"], row["lang"], row["metric"]): Estimate(row["value"], row["low"], row["high"], row["n"])
        for row in rows
    }
