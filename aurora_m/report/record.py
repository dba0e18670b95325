"""Everything that a run measured, read once from its artifacts: no page opens one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from aurora_m.core.files import read_json, read_jsonl
from aurora_m.core.interval import wilson
from aurora_m.core.step import Artifact
from aurora_m.core.table import FetchFacts
from aurora_m.data.dedup.contamination import OverlapFacts
from aurora_m.data.dedup.duplicates import DuplicatesFacts, Repeats
from aurora_m.data.select.decide import DecideFacts
from aurora_m.data.select.rewrite import RewriteFacts
from aurora_m.evals.compare import Change, Key
from aurora_m.evals.interval import middle_95, resample
from aurora_m.evals.items import ITEMS, read_items
from aurora_m.evals.score import RESAMPLES, Rate, ScoreFacts
from aurora_m.evals.task import Item
from aurora_m.recipe import Recipe, loads
from aurora_m.report.accounts import Account, Edit, Removed, Sheet, Size, check, plus
from aurora_m.report.forgetting import FILE as CHANGES
from aurora_m.report.masks import masked, pieces
from aurora_m.report.words import MIXED, Pooled
from aurora_m.review.gate import ReviewFacts
from aurora_m.tokens.fertility import FILE as FERTILITY
from aurora_m.tokens.mixture import MixtureFacts
from aurora_m.train.curve import FILE, Curve

COLOURS = 8  # of languages in page.css; a ninth begins again
REVIEWED = "reviewed"  # the source of tuning rows in a curve
ROWS = "rows"  # what the shares of a tuning are of
NOT_COUNTED = (FetchFacts(0, 0, {}, {}), Repeats(0, 0, 0, 0), 0)  # see `read_sheet`
Artifacts = Mapping[str, Artifact]  # by model or by source


@dataclass(frozen=True)
class Inputs:
    """What a step of this room is given; the model card needs neither answers nor tokenizers."""

    recipe: str
    forgetting: Artifact
    models: Artifacts
    decided: Artifacts
    rewritten: Artifacts
    mixtures: Artifacts
    reviewed: Artifacts
    answers: Artifacts = field(default_factory=dict)
    scores: Artifacts = field(default_factory=dict)
    fertility: Artifact | None = None
    items: Artifact | None = None


@dataclass(frozen=True)
class Model:
    """A model; of one that was not trained all but the size and the digest is empty."""

    digest: str
    parameters: int
    tokens: int
    opt_steps: int
    loss: float
    flop: float
    curve: Curve | None


@dataclass(frozen=True)
class Reading:
    """One source of a training step. Shares are of 1."""

    source: str
    declared: float
    unit: str  # of `declared`
    wanted: float  # what `declared` makes of the step's rows
    achieved: float  # of the tokens learnt from
    tokens: float  # learnt from
    epochs: float | None  # None for replay, which stops where the tuning rows end
    fim: float


@dataclass(frozen=True)
class Record:
    """A run, as its documents need it. Mappings are by model; `chain` ends with the released one."""

    recipe: Recipe
    text: str  # of the recipe
    sheet: Sheet
    chain: list[str]
    names: list[str]  # of all models, in the order they were made
    models: Mapping[str, Model]
    readings: Mapping[str, list[Reading]]  # of the models that were trained
    old: list[str]  # languages that must not be lost
    changes: Mapping[str, list[Change]]  # against the base
    review: ReviewFacts | None  # of the rows of a tuning
    estimates: Mapping[str, Mapping[Key, Rate]]
    rows: Mapping[str, list[Any]]  # scores, item by item
    replies: Mapping[str, Mapping[str, str]]  # by item
    sandbox: str | None  # that ran the code; None where there was none to run
    tokenizers: Mapping[str, Any]  # see tokens/fertility.py
    prompts: list[Item]  # in an order of nobody's choice

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
        measured = [lang for estimates in self.estimates.values() for _, lang, _ in estimates]
        return list(dict.fromkeys([*self.old, *sources, *measured]))

    def colour(self, lang: str) -> int:
        """The one colour that a language has over the whole page; -1, grey, where there is none."""
        return self.langs.index(lang) % COLOURS if lang in self.langs else -1

    def lang_of(self, source: str) -> str:
        """The language of a source; many where the recipe has no such source."""
        return self.recipe.source[source].lang if source in self.recipe.source else MIXED

    @cached_property
    def stages(self) -> list[tuple[str, int, Curve]]:
        """The trained models of the chain, end to end: name, tokens read before it, curve."""
        trained = [(name, curve) for name in self.chain if (curve := self.models[name].curve)]
        starts = np.cumsum([0, *(curve.tokens for _, curve in trained)]).tolist()
        return [(name, start, curve) for (name, curve), start in zip(trained, starts, strict=False)]

    def bits(self, model: str) -> list[Change]:
        """How a model's bits per byte changed against the base, language by language."""
        changes = [change for change in self.changes.get(model, []) if change.metric == "bpb"]
        return sorted(changes, key=lambda change: self.langs.index(change.lang))

    def pooled(self, model: str, metric: str) -> Pooled | None:
        """The rate of a yes-or-no metric over all languages; None where nothing was measured.

        One prompt in several languages is no several prompts, so the bootstrap draws prompts, each with all languages.
        """
        rows = [row for row in self.rows[model] if row["metric"] == metric]
        return _pooled(rows, metric) if rows else None


def read_record(given: Inputs) -> Record:
    """Read a run's artifacts."""
    recipe, changes = loads(given.recipe), read_json(given.forgetting.path / CHANGES)
    names = [name for name in recipe.models() if name in given.models]
    models = {name: read_model(given.models[name]) for name in names}
    trained = [name for name in names if models[name].tokens]
    facts = {name: artifact.read(ScoreFacts) for name, artifact in given.scores.items()}
    replies = {name: read_jsonl(artifact.path / "answers.jsonl") for name, artifact in given.answers.items()}
    return Record(
        recipe=recipe,
        text=given.recipe,
        sheet=read_sheet(given.recipe, given.decided, given.rewritten),
        chain=chain(recipe),
        names=names,
        models=models,
        readings={name: readings(recipe, name, models[name], given.mixtures.get(name)) for name in trained},
        old=changes["old"],
        changes={name: [_change(row) for row in changes["rows"] if row["model"] == name] for name in names},
        review=next((artifact.read(ReviewFacts) for artifact in given.reviewed.values()), None),
        estimates={name: {(r.task, r.lang, r.metric): r for r in part.scores} for name, part in facts.items()},
        rows={name: read_jsonl(artifact.path / "scores.jsonl") for name, artifact in given.scores.items()},
        replies={name: {row["id"]: row["text"] for row in part if "text" in row} for name, part in replies.items()},
        sandbox=next((part.sandbox for part in facts.values() if part.sandbox), None),
        tokenizers=read_json(given.fertility.path / FERTILITY) if given.fertility else {},
        prompts=sorted(read_items(given.items.path / ITEMS), key=lambda i: (i.group, i.id)) if given.items else [],
    )


def read_model(model: Artifact) -> Model:
    """A model's facts and its curve."""
    facts: Any = model.facts
    tokens, opt_steps, loss, flop = (facts.get(name, 0) for name in ("tokens", "opt_steps", "loss", "flop"))
    curve = Curve.read(model.path) if (model.path / FILE).exists() else None
    return Model(model.digest, facts["parameters"], tokens, opt_steps, loss, flop, curve)


def readings(recipe: Recipe, name: str, model: Model, mixture: Artifact | None) -> list[Reading]:
    """The sources of a trained model, reviewed rows first; what they achieved adds up to 1.

    mixture  what a stage reads, and what a tuning replays; None where it replays nothing
    """
    tune = recipe.tune.get(name)
    targets = model.curve.targets() if model.curve else {}
    total = sum(targets.values()) or 1.0
    made = []
    if tune:
        share, read = 1 - tune.replay, targets.get(REVIEWED, 0.0)
        made.append(Reading(REVIEWED, share, ROWS, share, read / total, read, tune.epochs, 0.0))
    if mixture:
        plan = mixture.read(MixtureFacts)
        for source, mix in plan.sources.items():
            read, wanted = targets.get(source, 0.0), mix.token_share * (tune.replay if tune else 1)
            declared, unit, epochs = (wanted, ROWS, None) if tune else (mix.share, plan.unit, mix.epochs)
            made.append(Reading(source, declared, unit, wanted, read / total, read, epochs, mix.fim))
    return made


def read_sheet(
    text: str,
    decided: Artifacts,
    rewritten: Artifacts,
    fetched: Artifacts | None = None,
    duplicates: Artifact | None = None,
    overlap: Artifact | None = None,
) -> Sheet:
    """Read what became of the documents, and of each source. DataError where figures do not add up.

    fetched, duplicates, overlap  all of them or none: then neither skipped records nor repairs nor copies are counted
    """
    recipe = loads(text)
    repeats = duplicates.read(DuplicatesFacts).sources if duplicates else {}
    items = overlap.read(OverlapFacts) if overlap else None
    accounts, removed, edits = {}, {}, {}
    for name, source in recipe.source.items():
        reasons = read_json(decided[name].path / "reasons.json")
        facts, copies, shared = NOT_COUNTED
        if fetched and items:
            facts, copies, shared = fetched[name].read(FetchFacts), repeats[name], items.docs[name]
        made = (decided[name].read(DecideFacts), reasons, rewritten[name].read(RewriteFacts))
        accounts[name] = account(facts, copies, shared, *made)
        if fetched:
            check(name, accounts[name], facts)
        removed[name] = [_removed(part["clause"], row, source.lang) for part in reasons for row in part["samples"]]
        places = [part[name].path / "samples.jsonl" for part in (fetched, rewritten) if part]
        rows = [row for place in places for row in read_jsonl(place)]
        edits[name] = [Edit(row["kind"], row["id"], pieces(row, source.lang)) for row in rows]
    digests = {name: fetched[name].digest for name in recipe.source} if fetched else {}
    names = ("items", "items_too_short", "items_found")
    counts = {name: getattr(items, name) for name in names if items}
    return Sheet(recipe, text, accounts, removed, edits, digests, counts)


def account(
    fetched: FetchFacts, repeats: Repeats, overlap: int, decided: DecideFacts, reasons: Any, rewritten: RewriteFacts
) -> Account:
    """The account of one source."""
    return Account(
        skipped=fetched.skipped,
        fetched=Size(decided.docs_in, decided.bytes_in),
        left={reason["clause"]: Size(reason["docs"], reason["bytes"]) for reason in reasons},
        kept=Size(decided.docs_kept, decided.bytes_kept),
        training=Size(rewritten.docs, rewritten.bytes),
        held_out=Size(rewritten.held_docs, rewritten.held_bytes),
        emptied=rewritten.emptied,
        exact=repeats.exact,
        near=repeats.near,
        repeated_bytes=repeats.bytes,
        overlap=overlap,
        edits=plus(fetched.repairs, rewritten.edits),
    )


def chain(recipe: Recipe) -> list[str]:
    """The models that the released one came from, the base first; of those merged, the heaviest."""
    starts = {stage.name: stage.start for stage in recipe.stage}
    starts |= {
        name: max(merge.models, key=lambda model: merge.models[model]) for name, (merge, _) in recipe.merges().items()
    }
    starts |= {name: tune.start for name, tune in recipe.tune.items()}
    names = [recipe.release.model]
    while starts.get(names[-1], "scratch") != "scratch":
        names.append(starts[names[-1]])
    return names[::-1]


def _removed(clause: str, row: Mapping[str, Any], lang: str) -> Removed:
    spoken = row["values"].get("lang_id") or lang
    return Removed(clause, row["id"], spoken, masked(row["text"], spoken), row["values"])


def _change(row: Mapping[str, Any]) -> Change:
    return Change(**{key: value for key, value in row.items() if key != "model"})


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
