"""THE MAP: a recipe as a graph of steps. The only file that knows all the rooms.

source or base ─fetch─> docs ─signals─> columns, (all sources) duplicates, overlap ─decide─> kept ─rewrite─> clean docs
clean docs ─shards─┐
weights ──mixture──┴─> base ─> cap ─> cat ─> safe          each model ─answer─> answers ─score─> scores
safety rows ─review by people─> reviewed ───────┘          scores ─forgetting─> changes ─> report, card ─> release
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from aurora_m.core.canon import JSON
from aurora_m.core.errors import Missing, RecipeError
from aurora_m.core.step import Step
from aurora_m.core.uri import local_files, pin_files
from aurora_m.data.columns import Column, columns_of
from aurora_m.data.measure.toxic import languages as toxic_languages
from aurora_m.data.personal.pii import CODE_KINDS as CODE_MASKS
from aurora_m.data.personal.pii import KINDS as MASKS
from aurora_m.data.read.sources import pin as pin_source
from aurora_m.data.select.expression import column_names
from aurora_m.data.select.keep import check_keep, check_model_names
from aurora_m.data.select.rules import expand
from aurora_m.evals.suites import pin_suites
from aurora_m.model.base import base_files, check_rows
from aurora_m.recipe import Extend, Merge, Recipe, Stage, Tune, dumps, known
from aurora_m.tokens.fertility import PARALLEL
from aurora_m.tokens.megatron import pair_files
from aurora_m.train.budget import MOST

GOALS = ("fertility", "report", "datasheet", "release")

Steps = dict[str, Step]
Given = Mapping[str, Step | Mapping[str, Step]]
Inputs: TypeAlias = dict[str, Step | Mapping[str, Step]]
Param: TypeAlias = "JSON | Missing"


@dataclass(frozen=True)
class Graph:
    """The steps so far, by name."""

    steps: Steps = field(default_factory=dict)

    def add(self, name: str, fn: str, inputs: Given | None = None, version: int = 1, /, **params: Param) -> Step:
        """Add one step. RecipeError if a stage, merge or tuning took the name of another step."""
        if name in self.steps:
            hint = "choose another name for the stage, merge or tuning"
            raise RecipeError(f"two steps are named `{name}`", at=f"`{name}`", hint=hint)
        given = {key: "" if isinstance(value, Missing) else value for key, value in params.items()}
        lacks = next((value for value in params.values() if isinstance(value, Missing)), None)
        self.steps[name] = Step(name, fn, inputs or {}, given, version, lacks)
        return self.steps[name]


@dataclass(frozen=True)
class Curated:
    """The steps that make clean text, by source."""

    kept: Steps
    clean: Steps
    held: Steps  # of the sources that hold documents out


@dataclass(frozen=True)
class Trained:
    """The steps that make models, by model; and what the tokenizers that they read with cost each language."""

    fertility: Step
    models: Steps
    mixtures: Steps
    reviewed: Steps  # none or one


def build(recipe: Recipe, root: Path) -> Steps:
    """All steps of a recipe by name. `root` is the recipe's folder, where its `file:` sources are."""
    graph = Graph()
    suites = list(recipe.evals.suites)
    safety = recipe.redteam.rows if recipe.redteam else "sample:safety/*"
    pin = pinned(lambda: pin_suites(suites, safety, root))
    asked: dict[str, Param] = {"suites": [*suites], "safety": safety, "pin": pin}
    items = graph.add("items", "evals.suites:collect", **asked)
    came = bring(graph, recipe, root)
    curated = curate(graph, recipe, root, items, came)
    trained = train(graph, recipe, root, curated, came)
    release(graph, recipe, items, curated, trained)
    return graph.steps


def pinned(pin: Callable[[], str]) -> str | Missing:
    """What a pin is, or the file that is not there to be pinned: then its step can be planned, and cannot run."""
    try:
        return pin()
    except Missing as missing:
        return missing


def pin_local(uri: str, root: Path) -> str | Missing:
    """The pin of local files."""
    return pinned(lambda: pin_files(local_files(uri, root)))


def bring(graph: Graph, recipe: Recipe, root: Path) -> Steps:
    """Add the base, if it comes from elsewhere; returns it by its name."""
    base = recipe.base
    if base.scratch:
        return {}
    pin = pinned(lambda: pin_files(base_files(base.model, root))) if not base.model.startswith("hf:") else ""
    rows = {f"stage[{n}] `{stage.name}`.row_tokens": stage.row_tokens for n, stage in enumerate(recipe.stage)}
    rows |= {f"tune.{name}.row_tokens": tune.row_tokens for name, tune in recipe.tune.items()}
    check_rows(base.model, root, rows)
    said: dict[str, Param] = {"shape": asdict(base.shape)} if base.shape else {}
    where: dict[str, Param] = {"model": base.model, "revision": base.revision, "pin": pin}
    return {"base": graph.add("base", "model.load:fetch_base", **where, **said)}


def curate(graph: Graph, recipe: Recipe, root: Path, items: Step, came: Steps) -> Curated:
    """Measure, then decide, then rewrite."""
    docs: Steps = {}
    kept: Steps = {}
    clean: Steps = {}
    for name, s in recipe.source.items():
        step, about = f"fetch.{name}", {"source": name, "lang": s.lang}
        if s.documents:
            size: dict[str, JSON] = {"documents": s.documents, "seed": recipe.seed}
            docs[name] = graph.add(step, "model.write:write", {"model": came["base"]}, **about, **size)
            continue
        pin = pinned(partial(pin_source, s.uri, root))
        place: dict[str, Param] = {"uri": s.uri, "pin": pin, "revision": s.revision, "form": s.form}
        docs[name] = graph.add(step, "data.read.sources:fetch", {}, 4, **place, **about)
    near, order = recipe.duplicates.near, list(docs)  # of two copies, that of the source declared first stays
    duplicates = graph.add(
        "duplicates", "data.dedup.duplicates:duplicates", {"docs": docs}, 3, near=near, order=[*order]
    )
    overlap = graph.add("overlap", "data.dedup.contamination:overlap", {"docs": docs, "items": items}, 2)
    check_model_names(recipe.quality, recipe.register)
    models = learn(graph, recipe, docs)
    for name, s in recipe.source.items():
        rules, at = recipe.curate[s.curate], f"curate.{s.curate}.mask"
        for kind in rules.mask:
            known(
                kind, *((CODE_MASKS, at, "kind to mask in code") if s.lang == "code" else (MASKS, at, "kind to mask"))
            )
        keep = expand(rules.keep, s.lang)
        there = source_columns(recipe, name)
        check_keep(keep, there)
        used = [column for column in there if column.name in column_names(keep)]
        measured = measure(graph, recipe, root, docs, models, name, used)
        found = boilerplate(graph, recipe, docs, duplicates, name)
        columns: Steps = {**measured, "duplicates": duplicates, "overlap": overlap, **found}
        told: Given = {"docs": docs[name], "columns": columns}
        kept[name] = graph.add(f"decide.{name}", "data.select.decide:decide", told, 2, source=name, keep=keep)
        edits: dict[str, JSON] = {"mask": [*rules.mask], "held_out": s.held_out, "seed": recipe.seed}
        edits |= {"repo_marks": rules.repo_marks} if rules.repo_marks and s.lang == "code" else {}
        both: Given = {"docs": docs[name], "kept": kept[name], "signals": measured["signals"], **found}
        clean[name] = graph.add(f"rewrite.{name}", "data.select.rewrite:rewrite", both, 2, source=name, **edits)
    sheet: Given = {"fetched": docs, "duplicates": duplicates, "overlap": overlap, "decided": kept, "rewritten": clean}
    graph.add("datasheet", "report.datasheet:datasheet", sheet, recipe=dumps(recipe))
    return Curated(kept, clean, {name: clean[name] for name, s in recipe.source.items() if s.held_out > 0})


def boilerplate(graph: Graph, recipe: Recipe, docs: Steps, duplicates: Step, name: str) -> Steps:
    """The step that finds the lines which pages of a site share, over all sources of this one's curation; or none."""
    table = recipe.source[name].curate
    pages, step = recipe.curate[table].boilerplate, f"lines.{table}"
    if not pages:
        return {}
    if step not in graph.steps:
        together = {other: docs[other] for other, source in recipe.source.items() if source.curate == table}
        read: Given = {"docs": together, "duplicates": duplicates}
        graph.add(step, "data.dedup.boilerplate:lines", read, 2, min_docs=pages, order=[*together])
    return {"lines": graph.steps[step]}


def source_columns(recipe: Recipe, name: str) -> tuple[Column, ...]:
    """The columns of a source."""
    lang, rules = recipe.source[name].lang, recipe.curate[recipe.source[name].curate]
    return columns_of(
        lang,
        boilerplate=rules.boilerplate > 0,
        toxic=lang in toxic_languages() or bool(rules.words),
        perplexity=lang in recipe.perplexity,
        quality=recipe.quality,
        registers=recipe.register,
    )


def learn(graph: Graph, recipe: Recipe, docs: Steps) -> Steps:
    """Train the recipe's classifiers of text."""
    models: Steps = {}
    for name, quality in recipe.quality.items():
        sides = {side: {part: docs[part] for part in getattr(quality, side)} for side in ("positive", "negative")}
        how: dict[str, JSON] = {"seed": recipe.seed, "max_docs": quality.max_docs}
        models[name] = graph.add(f"quality.{name}", "data.measure.classify:train_classifier", sides, **how)
    for name, register in recipe.register.items():
        given = {"docs": {part: docs[part] for part in register.sources}}
        how = {"field": register.label, "seed": recipe.seed, "max_docs": register.max_docs}
        models[name] = graph.add(f"register.{name}", "data.measure.classify:train_registers", given, **how)
    for lang, clean in recipe.perplexity.items():
        given = {"docs": {part: docs[part] for part in clean.sources}}
        how = {"seed": recipe.seed, "max_bytes": clean.max_bytes}
        models[f"perplexity.{lang}"] = graph.add(f"ngrams.{lang}", "data.measure.perplexity:train_ngrams", given, **how)
    return models


def measure(
    graph: Graph, recipe: Recipe, root: Path, docs: Steps, models: Steps, name: str, used: Sequence[Column]
) -> Steps:
    """The steps that measure a source; of the columns that only some sources have, those that are used."""
    read, lang = {"docs": docs[name]}, recipe.source[name].lang
    found = {"signals": graph.add(f"signals.{name}", "data.measure.signals:signals", read, 2, lang=lang)}
    made_by = {column.step for column in used}
    if "code" in made_by:
        found["code"] = graph.add(f"code.{name}", "data.measure.code:code_signals", read)
    if "perplexity" in made_by:
        asked: Given = {**read, "model": models[f"perplexity.{lang}"]}
        found["perplexity"] = graph.add(f"perplexity.{name}", "data.measure.perplexity:perplexity", asked)
    if "toxic" in made_by:
        words = recipe.curate[recipe.source[name].curate].words
        listed: dict[str, Param] = {"words": words, "pin": pin_local(words, root) if words else ""}
        found["toxic"] = graph.add(f"toxic.{name}", "data.measure.toxic:toxic", read, lang=lang, **listed)
    judges = {model: step for model, step in models.items() if any(column.model == model for column in used)}
    if judges:
        asked = {**read, "models": judges}
        found["classes"] = graph.add(f"classes.{name}", "data.measure.classify:classify", asked)
    for model in (column.model for column in used if column.step == "subsample"):
        shares: JSON = {**recipe.register[model].shares}
        asked = {**read, "classes": found["classes"], "model": models[model]}
        thin: dict[str, JSON] = {"column": model, "shares": shares, "seed": recipe.seed}
        found[f"subsample.{model}"] = graph.add(
            f"subsample.{name}.{model}", "data.measure.classify:subsample", asked, **thin
        )
    return found


def train(graph: Graph, recipe: Recipe, root: Path, curated: Curated, came: Steps) -> Trained:
    """Take or begin a base, then train it: CAP, CAT, merges, and tuning on reviewed rows."""
    models: Steps = {**came}
    mixtures: Steps = {}
    tokenizer = start(graph, recipe, curated, models)
    base, tokenizers = models.get("base"), {"base": tokenizer}
    if recipe.base.extend:
        tokenizer = tokenizers["extended"] = extend(graph, recipe, recipe.base.extend, curated, models, tokenizer)
    fertility = compare(graph, recipe, root, curated, tokenizers)
    trainings: list[Stage | Tune] = [*recipe.stage, *recipe.tune.values()]
    read = {mixture for training in trainings for mixture in recipe.mixtures(training)}
    used = sorted({name for mixture in read for name in recipe.mixture[mixture].reads()})
    shards = {name: tokens(graph, recipe, root, curated, tokenizer, name) for name in used}
    for stage in recipe.stage:
        begin: Given = {"start": models[stage.start], "tokenizer": tokenizer, "held": curated.held}
        rows = mix(graph, recipe, stage.name, stage, shards, mixtures)
        rows |= hold(graph, recipe, stage.name, stage, shards)
        rows |= limit(graph, recipe, stage.name, stage, models, shards)
        how = recipe.settings(stage.name, stage)
        models[stage.name] = graph.add(stage.name, "train.stage:train", {**begin, **rows}, 2, name=stage.name, how=how)
    for name, (merged, scale) in recipe.merges().items():
        models[name] = merge(graph, name, merged, scale, models)
    reviewed: Steps = {}
    if recipe.redteam and recipe.review:
        pins = [pin_local(uri, root) for uri in (recipe.redteam.rows, recipe.review.decisions)]
        asked: dict[str, Param] = {"rows": recipe.redteam.rows, "rows_pin": pins[0], "decisions_pin": pins[1]}
        who: dict[str, JSON] = {"decisions": recipe.review.decisions, "reviewers": recipe.review.reviewers}
        reviewed["reviewed"] = graph.add("reviewed", "review.decisions:gate", **asked, **who)
    for name, tune in recipe.tune.items():
        begin = {"start": models[tune.start], "tokenizer": tokenizer, "held": curated.held, **reviewed}
        size: dict[str, JSON] = {"epochs": tune.epochs, "row_tokens": tune.row_tokens, "replay": tune.replay}
        how = recipe.settings(name, tune)
        rows = mix(graph, recipe, name, tune, shards, mixtures) if tune.replay else {}
        rows |= hold(graph, recipe, name, tune, shards)
        rows |= limit(graph, recipe, name, tune, models, shards)
        models[name] = graph.add(name, "tune.sft:sft", {**begin, **rows}, 2, name=name, how=how, **size)
    made = {name: models[name] for name in recipe.models()}
    return Trained(fertility, {**made, "base": base or made["base"]}, mixtures, reviewed)  # the base as it came


def tokens(graph: Graph, recipe: Recipe, root: Path, curated: Curated, tokenizer: Step, name: str) -> Step:
    """Add the token shards of a source: encoded, or, where they come tokenized, imported."""
    if name in recipe.shards:
        uri = recipe.shards[name].uri
        where: dict[str, Param] = {"uri": uri, "pin": pinned(lambda: pin_files(pair_files(uri, root)))}
        return graph.add(f"shards.{name}", "tokens.megatron:import_shards", {"tokenizer": tokenizer}, **where)
    text = {"docs": curated.clean[name], "tokenizer": tokenizer}
    return graph.add(f"shards.{name}", "tokens.shards:shard", text, 2)


def extend(graph: Graph, recipe: Recipe, how: Extend, curated: Curated, models: Steps, tokenizer: Step) -> Step:
    """Add new tokens to the base that training starts from; returns the tokenizer that has them."""
    learned: Given = {"tokenizer": tokenizer, "docs": {name: curated.clean[name] for name in how.sources}}
    more = graph.add("vocabulary", "tokens.extend:extend_tokenizer", learned, tokens=how.tokens)
    grown: Given = {"model": models["base"], "tokenizer": more}
    models["base"] = graph.add("extend", "model.embed:extend", grown, init=how.init, seed=recipe.seed)
    return more


def compare(graph: Graph, recipe: Recipe, root: Path, curated: Curated, tokenizers: Steps) -> Step:
    """Measure what each language costs under each tokenizer."""
    read: Given = {"tokenizers": tokenizers, "docs": curated.clean}
    langs: JSON = {name: source.lang for name, source in recipe.source.items()}
    return graph.add("fertility", "tokens.fertility:fertility", read, langs=langs, pin=pin_local(PARALLEL, root))


def mix(graph: Graph, recipe: Recipe, name: str, training: Stage | Tune, shards: Steps, mixtures: Steps) -> Inputs:
    """Add the mixture that a training step reads; returns the inputs that the stream is made from."""
    mixtures[name], mine = _mixed(graph, recipe, name, training.mixture, training.row_tokens, shards)
    return {"mixture": mixtures[name], "shards": mine}


def hold(graph: Graph, recipe: Recipe, name: str, training: Stage | Tune, shards: Steps) -> Inputs:
    """Add the mixture that a training step's anchor reads, if it reads one; returns the inputs that it is made from."""
    if not (training.anchor and training.anchor.mixture):
        return {}
    old, mine = _mixed(graph, recipe, f"{name}.anchor", training.anchor.mixture, training.row_tokens, shards)
    return {"old_mixture": old, "old_shards": mine}


def _mixed(graph: Graph, recipe: Recipe, name: str, which: str, row_tokens: int, shards: Steps) -> tuple[Step, Steps]:
    mixture = recipe.mixture[which]
    mine = {source: shards[source] for source in mixture.reads()}
    split: dict[str, JSON] = {"shares": {**mixture.shares()}, "unit": mixture.unit, "fim": {**mixture.fim}}
    if mixture.sources:
        split |= {"sources": [*mixture.sources], "alpha": mixture.alpha}
    size: dict[str, JSON] = {"tokens": mixture.tokens, "max_epochs": mixture.max_epochs}
    rows: dict[str, JSON] = {"row_tokens": row_tokens, "packing": mixture.packing}
    wanted: dict[str, JSON] = {"name": which, **split, **size, **rows}
    return graph.add(f"mixture.{name}", "tokens.mixture:mix", {"shards": mine}, 2, **wanted), mine


def start(graph: Graph, recipe: Recipe, curated: Curated, models: Steps) -> Step:
    """Take the base's tokenizer, or train one for a base from scratch and add that; returns the tokenizer."""
    scratch = recipe.base.scratch
    if scratch is None:
        return graph.add("tokenizer", "tokens.tokenizer:take_tokenizer", {"model": models["base"]})
    learn = {name: curated.clean[name] for name in scratch.tokenizer_sources}
    train_it = "tokens.tokenizer:train_tokenizer"
    tokenizer = graph.add("tokenizer", train_it, {"docs": learn}, vocab=scratch.vocab)
    shape = {key: value for key, value in asdict(scratch).items() if key not in ("vocab", "tokenizer_sources")}
    models["scratch"] = graph.add("init", "model.init:init", {"tokenizer": tokenizer}, seed=recipe.seed, **shape)
    return tokenizer


def limit(graph: Graph, recipe: Recipe, name: str, training: Stage | Tune, models: Steps, shards: Steps) -> Inputs:
    """What a forgetting budget needs: the base, and the replay that it may add, whose mixture is added here."""
    if not training.max_old_rise:
        return {}
    if training.over_budget != "raise":
        return {"base": models["base"]}
    which = training.mixture
    only = replace(recipe, mixture={which: recipe.mixture[which].more_replay(MOST)})
    more, mine = _mixed(graph, only, f"{name}.more", which, training.row_tokens, shards)
    return {"base": models["base"], "more_mixture": more, "more_shards": mine}


def merge(graph: Graph, name: str, how: Merge, scale: float, models: Steps) -> Step:
    """Add a model made of others' weights."""
    read: Given = {"models": {model: models[model] for model in how.reads()}}
    said: dict[str, JSON] = {"weights": {**how.models}, "method": how.method, "origin": how.origin, "scale": scale}
    trim: dict[str, JSON] = {"density": how.density} if how.method == "ties" else {}
    return graph.add(name, "model.merge:merge", read, **said, **trim)


def release(graph: Graph, recipe: Recipe, items: Step, curated: Curated, trained: Trained) -> None:
    """Measure every model (answers first, scores later), compare with the base, and write what leaves the house."""
    answers: Steps = {}
    scores: Steps = {}
    evals = recipe.evals
    limits: dict[str, JSON] = {"max_new": evals.max_new_tokens, "max_held_bytes": evals.max_held, "seed": recipe.seed}
    for name, model in trained.models.items():
        asked: Given = {"model": model, "items": items, "held": curated.held}
        answers[name] = graph.add(f"answer.{name}", "evals.answer:answer", asked, **limits)
        scores[name] = graph.add(f"score.{name}", "evals.score:score", {"answers": answers[name], "items": items})
    bounds: dict[str, JSON] = {"models": [*trained.models], "old": [*evals.old], "margins": {**evals.margins}}
    forgetting = graph.add("forgetting", "report.forgetting:forgetting", {"scores": scores}, **bounds)
    made: Given = {"models": trained.models, "mixtures": trained.mixtures, "reviewed": trained.reviewed}
    facts: Given = {"forgetting": forgetting, "decided": curated.kept, "rewritten": curated.clean, **made}
    card = graph.add("card", "report.cards:model_card", facts, recipe=dumps(recipe))
    leaving: Given = {"model": trained.models[recipe.release.model], "card": card}
    graph.add("release", "release.export:export", leaving, license=recipe.release.license)
    seen: Given = {"answers": answers, "scores": scores, "items": items, "fertility": trained.fertility}
    graph.add("report", "report.page:page", {**facts, **seen}, recipe=dumps(recipe))
