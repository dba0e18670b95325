"""THE MAP: a recipe as a graph of steps. The only file that knows all the rooms.

source ─fetch─> docs ─signals─> columns ─(all sources) duplicates, overlap─> columns ─decide─> kept ─rewrite─> clean docs
clean docs ─shards─┐
weights ──mixture──┴─> base ─> cap ─> cat ─> safe          each model ─answer─> answers ─score─> scores
safety rows ─review by people─> reviewed ───────┘          scores ─forgetting─> changes ─> report, card ─> release
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from aurora_m.core.canon import JSON
from aurora_m.core.step import Step
from aurora_m.core.uri import local_files, pin_files
from aurora_m.data.decide import check_keep
from aurora_m.data.sources import pin as pin_source
from aurora_m.evals.suites import pin as pin_suites
from aurora_m.recipe import Recipe, Stage, Tune, dumps

GOALS = ("report", "release")


def build(recipe: Recipe, root: Path) -> dict[str, Step]:
    """All steps of a recipe by name. `root` is the recipe's folder, where its `file:` sources are."""
    steps: dict[str, Step] = {}

    def add(
        name: str, fn: str, inputs: Mapping[str, "Step | Mapping[str, Step]"] | None = None, **params: JSON
    ) -> Step:
        steps[name] = Step(name, fn, inputs or {}, params)
        return steps[name]

    # --- what every model will be measured on, fixed before anything is trained
    suites: list[JSON] = list(recipe.evals.suites)
    items = add("items", "evals.suites:collect", suites=suites, pin=pin_suites(list(recipe.evals.suites), root))

    # --- curation: measure, then decide, then rewrite
    docs, kept, clean = {}, {}, {}
    for name, s in recipe.source.items():
        place: dict[str, JSON] = {"uri": s.uri, "pin": pin_source(s.uri, root), "revision": s.revision}
        docs[name] = add(f"fetch.{name}", "data.sources:fetch", source=name, lang=s.lang, form=s.form, **place)
    order: list[JSON] = list(docs)
    duplicates = add("duplicates", "data.dedup:duplicates", {"docs": docs}, near=recipe.duplicates.near, order=order)
    overlap = add("overlap", "data.overlap:overlap", {"docs": docs, "items": items})
    for name, s in recipe.source.items():
        curate = recipe.curate[s.curate]
        check_keep(curate.keep)
        signals = add(f"signals.{name}", "data.signals:signals", {"docs": docs[name]}, lang=s.lang)
        columns = {"docs": docs[name], "signals": signals, "duplicates": duplicates, "overlap": overlap}
        kept[name] = add(f"decide.{name}", "data.decide:decide", columns, source=name, keep=curate.keep)
        rewritten: dict[str, JSON] = {"mask": list(curate.mask), "held_out": s.held_out, "seed": recipe.seed}
        both = {"docs": docs[name], "kept": kept[name]}
        clean[name] = add(f"rewrite.{name}", "data.rewrite:rewrite", both, source=name, **rewritten)
    held = {name: clean[name] for name, s in recipe.source.items() if s.held_out > 0}

    # --- tokens
    models: dict[str, Step] = {}
    scratch = recipe.base.scratch
    if scratch:
        learn = {name: clean[name] for name in scratch.tokenizer_sources}
        tokenizer = add("tokenizer", "tokens.tokenizer:train_tokenizer", {"docs": learn}, vocab=scratch.vocab)
        shape = {key: value for key, value in asdict(scratch).items() if key not in ("vocab", "tokenizer_sources")}
        models["scratch"] = add("init", "model.init:init", {"tokenizer": tokenizer}, seed=recipe.seed, **shape)
    else:
        pinned = pin_base(recipe.base.model, root)
        fetched: dict[str, JSON] = {"model": recipe.base.model, "revision": recipe.base.revision, "pin": pinned}
        models["base"] = add("base", "model.load:fetch_base", **fetched)
        tokenizer = add("tokenizer", "tokens.tokenizer:take_tokenizer", {"model": models["base"]})
    used = sorted({name for stage in recipe.stage for name in recipe.stage_sources(stage)})
    shards = {
        name: add(f"shards.{name}", "tokens.shards:shard", {"docs": clean[name], "tokenizer": tokenizer})
        for name in used
    }

    # --- training: base, CAP, CAT, safety
    mixtures = {}
    for stage in recipe.stage:
        mixture, shares = recipe.mixture[stage.mixture], recipe.stage_sources(stage)
        mine = {name: shards[name] for name in shares}
        budget: dict[str, JSON] = {
            "tokens": mixture.tokens,
            "row_tokens": stage.row_tokens,
            "max_epochs": mixture.max_epochs,
        }
        split: dict[str, JSON] = {"shares": dict(shares), "unit": mixture.unit, "fim": dict(mixture.fim)}
        mixtures[stage.name] = add(
            f"mixture.{stage.name}", "tokens.mixture:mix", {"shards": mine}, name=stage.mixture, **budget, **split
        )
        start = {"start": models[stage.start], "tokenizer": tokenizer, "held": held}
        rows = {"mixture": mixtures[stage.name], "shards": mine}
        models[stage.name] = add(stage.name, "train.stage:train", {**start, **rows}, **training(stage, recipe.seed))
    reviewed = None
    if recipe.redteam and recipe.review:
        rows_pin = pin_files(local_files(recipe.redteam.rows, root))
        decisions_pin = pin_files(local_files(recipe.review.decisions, root))
        who: dict[str, JSON] = {
            "decisions": recipe.review.decisions,
            "decisions_pin": decisions_pin,
            "reviewers": recipe.review.reviewers,
        }
        reviewed = add("reviewed", "review.ledger:gate", rows=recipe.redteam.rows, rows_pin=rows_pin, **who)
    for name, tune in recipe.tune.items():
        assert reviewed is not None, "the recipe's check asks for it"
        start = {"start": models[tune.start], "tokenizer": tokenizer, "held": held, "reviewed": reviewed}
        settings = {**training(tune, recipe.seed), "name": name, "epochs": tune.epochs, "row_tokens": tune.row_tokens}
        models[name] = add(name, "tune.sft:sft", start, **settings)

    # --- evaluation: answers first, scores later, every model against the base
    limits: dict[str, JSON] = {
        "max_new": recipe.evals.max_new_tokens,
        "max_held_bytes": recipe.evals.max_held,
        "seed": recipe.seed,
    }
    chain: list[JSON] = list(recipe.models())
    answers, scores = {}, {}
    for name in recipe.models():
        asked = {"model": models[name], "items": items, "held": held}
        answers[name] = add(f"answer.{name}", "evals.answer:answer", asked, **limits)
        scores[name] = add(f"score.{name}", "evals.score:score", {"answers": answers[name], "items": items})
    bounds: dict[str, JSON] = {"old": list(recipe.evals.old), "margins": dict(recipe.evals.margins)}
    forgetting = add("forgetting", "report.forgetting:forgetting", {"scores": scores}, models=chain, **bounds)

    # --- what leaves the house
    made = {name: models[name] for name in recipe.models()}
    facts = {"forgetting": forgetting, "models": made, "decided": kept, "rewritten": clean, "mixtures": mixtures}
    if reviewed:
        facts["reviewed"] = {"reviewed": reviewed}
    text = dumps(recipe)
    card = add("card", "report.cards:model_card", facts, recipe=text)
    add(
        "release",
        "report.publish:export",
        {"model": models[recipe.release.model], "card": card},
        license=recipe.release.license,
    )
    seen = {"answers": answers, "scores": scores, "items": items}
    add("report", "report.page:page", {**facts, **seen}, recipe=text)
    return steps


def training(stage: Stage | Tune, seed: int) -> dict[str, JSON]:
    """The parameters of a training step that stages and tuning share."""
    left_out = {"start", "mixture", "row_tokens", "epochs"}
    return {**{key: value for key, value in asdict(stage).items() if key not in left_out}, "seed": seed}


def pin_base(model: str, root: Path) -> str:
    """A digest of a local base model's files; a hub model is pinned by its revision."""
    return pin_files(local_files(f"{model}/*", root)) if model.startswith("file:") else ""
