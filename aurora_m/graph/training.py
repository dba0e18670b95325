"""The steps that make models: base, tokenizer, shards, mixtures, stages, merges, tunings."""

from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from aurora_m.core.step import Step
from aurora_m.core.uri import pin_files
from aurora_m.graph.graph import Graph, NamedSteps, pinned
from aurora_m.model import steps as model
from aurora_m.model.base import Lengths, base_ends, base_files
from aurora_m.recipe import Mixture, Stage, Training, Tune
from aurora_m.tokens import steps as tokens
from aurora_m.tokens.megatron import pair_files
from aurora_m.train import steps as train
from aurora_m.train.budget import MOST
from aurora_m.tune import steps as tune


@dataclass(frozen=True)
class Corpus:
    """What training reads."""

    tokenizer: Step
    shards: NamedSteps
    held_out: NamedSteps


Mixed: TypeAlias = tuple[Step, NamedSteps] | tuple[None, None]  # a mixture and its shards, where one is read


# --- what there is before training


def add_base(graph: Graph) -> NamedSteps:
    """The base, if it comes from elsewhere, by its name."""
    recipe, base = graph.recipe, graph.recipe.base
    if base.scratch:
        return {}
    rows = {f"stage[{n}] `{stage.name}`.row_tokens": stage.row_tokens for n, stage in enumerate(recipe.stage)}
    rows |= {f"tune.{name}.row_tokens": tuning.row_tokens for name, tuning in recipe.tune.items()}
    writes = bool(recipe.evals.suites or recipe.redteam)
    lengths = Lengths(rows, {"evals.max_new_tokens": recipe.evals.max_new_tokens} if writes else {})
    lengths.check(graph.root / base.model.removeprefix("file:"))
    pin = "" if base.model.startswith("hf:") else pinned(lambda: pin_files(base_files(base.model, graph.root)))
    shape = asdict(base.shape) if base.shape else None
    base_ends(base.model, graph.root, base.end_token)  # or an error, before anything is made
    end = base.end_token or None
    step = model.fetch_base("base", model=base.model, revision=base.revision, pin=pin, shape=shape, end_token=end)
    return {"base": graph.add(replace(step, suits=lengths.check))}


def add_tokenizers(graph: Graph, base_steps: NamedSteps, clean: NamedSteps) -> NamedSteps:
    """The base's tokenizer, taken or trained, and then the one with more tokens, if there is one: the last is used."""
    scratch, more = graph.recipe.base.scratch, graph.recipe.base.extend
    if scratch:
        docs = {name: clean[name] for name in scratch.tokenizer_sources}
        made = {"base": graph.add(tokens.train_tokenizer("tokenizer", docs=docs, vocab=scratch.vocab))}
    else:
        made = {"base": graph.add(tokens.take_tokenizer("tokenizer", model=base_steps["base"], docs=clean))}
    if more:
        docs = {name: clean[name] for name in more.sources}
        step = tokens.extend_tokenizer("vocabulary", tokenizer=made["base"], docs=docs, tokens=more.tokens)
        made["extended"] = graph.add(step)
    return made


def add_starts(graph: Graph, base_steps: NamedSteps, tokenizers: NamedSteps) -> NamedSteps:
    """What training may start from: the base, with rows for more tokens if there are any, or random weights."""
    recipe, scratch, more = graph.recipe, graph.recipe.base.scratch, graph.recipe.base.extend
    if scratch:
        step = model.init(
            "init",
            tokenizer=tokenizers["base"],
            arch=scratch.arch,
            layers=scratch.layers,
            width=scratch.width,
            heads=scratch.heads,
            kv_heads=scratch.kv_heads,
            positions=scratch.positions,
            seed=recipe.seed,
        )
        return {"scratch": graph.add(step)}
    if more is None:
        return base_steps
    base, tokenizer = base_steps["base"], tokenizers["extended"]
    return {
        "base": graph.add(model.extend("extend", model=base, tokenizer=tokenizer, init=more.init, seed=recipe.seed))
    }


def add_shards(graph: Graph, tokenizers: NamedSteps, clean: NamedSteps) -> NamedSteps:
    """The tokens of every source that something trains on: encoded, or, where they come tokenized, imported."""
    recipe, tokenizer = graph.recipe, [*tokenizers.values()][-1]
    read = {mixture for training in trainings(graph).values() for mixture in recipe.mixtures(training)}
    used = sorted({name for mixture in read for name in recipe.mixture[mixture].reads()})
    return {name: graph.add(_shard(graph, tokenizer, clean, name)) for name in used}


def _shard(graph: Graph, tokenizer: Step, clean: NamedSteps, name: str) -> Step:
    step, imported = f"shards.{name}", graph.recipe.shards.get(name)
    if imported is None:
        return tokens.shard(step, docs=clean[name], tokenizer=tokenizer)
    pin = pinned(lambda: pin_files(pair_files(imported.uri, graph.root)))
    return tokens.import_shards(step, tokenizer=tokenizer, uri=imported.uri, pin=pin)


# --- models: each function returns those that there were and those that it adds


def add_stages(graph: Graph, corpus: Corpus, models: NamedSteps) -> NamedSteps:
    """A model for each stage."""
    models = {**models}
    for stage in graph.recipe.stage:
        mixture, shards = add_mixture(graph, corpus, stage.name, stage.mixture, stage.row_tokens)
        anchor_mixture, anchor_shards = add_anchor(graph, corpus, stage.name, stage)
        more_mixture, more_shards = add_more_replay(graph, corpus, stage)
        step = train.train(
            stage.name,
            name=stage.name,
            training=stage.settings(),
            seed=graph.recipe.seed,
            old_langs=old_langs(graph, stage),
            keep_optimizer=keeps_optimizer(graph, stage.name),
            start=models[stage.start],
            tokenizer=corpus.tokenizer,
            held_out=corpus.held_out,
            mixture=mixture,
            shards=shards,
            anchor_mixture=anchor_mixture,
            anchor_shards=anchor_shards,
            base=models["base"] if stage.max_old_rise else None,
            **original(graph, stage),
            more_mixture=more_mixture,
            more_shards=more_shards,
        )
        models[stage.name] = graph.add(step)
    return models


def add_merges(graph: Graph, models: NamedSteps) -> NamedSteps:
    """A model for each scale of each merge."""
    models = {**models}
    for name, (merge, scale) in graph.recipe.merges().items():
        step = model.merge(
            name,
            models={other: models[other] for other in merge.reads()},
            weights=merge.models,
            method=merge.method,
            origin=merge.origin,
            scale=scale,
            density=merge.density if merge.method == "ties" else None,
        )
        models[name] = graph.add(step)
    return models


def add_tunings(graph: Graph, corpus: Corpus, models: NamedSteps, reviewed: NamedSteps) -> NamedSteps:
    """A model for each tuning."""
    models = {**models}
    for name, tuning in graph.recipe.tune.items():
        mixture, shards = None, None
        if tuning.replay:
            mixture, shards = add_mixture(graph, corpus, name, tuning.mixture, tuning.row_tokens)
        anchor_mixture, anchor_shards = add_anchor(graph, corpus, name, tuning)
        step = tune.sft(
            name,
            name=name,
            training=tuning.settings(),
            seed=graph.recipe.seed,
            old_langs=old_langs(graph, tuning),
            keep_optimizer=keeps_optimizer(graph, name),
            epochs=tuning.epochs,
            replay=tuning.replay,
            start=models[tuning.start],
            tokenizer=corpus.tokenizer,
            held_out=corpus.held_out,
            reviewed=reviewed["reviewed"],
            mixture=mixture,
            shards=shards,
            anchor_mixture=anchor_mixture,
            anchor_shards=anchor_shards,
            base=models["base"] if tuning.max_old_rise else None,
            **original(graph, tuning),
        )
        models[name] = graph.add(step)
    return models


# --- what a training step takes


def trainings(graph: Graph) -> dict[str, Stage | Tune]:
    """All training steps of the recipe, by name."""
    return {**{stage.name: stage for stage in graph.recipe.stage}, **graph.recipe.tune}


def old_langs(graph: Graph, training: Training) -> tuple[str, ...]:
    """The old languages that there is a forgetting budget for."""
    return graph.recipe.evals.old if training.max_old_rise else ()


def original(graph: Graph, training: Training) -> NamedSteps:
    """The base as it came with its own tokenizer, where a budget would else compare with one that has new tokens."""
    if not (training.max_old_rise and graph.recipe.base.extend):
        return {}
    return {"original": graph.steps["base"], "original_tokenizer": graph.steps["tokenizer"]}


def keeps_optimizer(graph: Graph, name: str) -> bool:
    """Whether another training step takes this one's optimizer state."""
    return any(other.start == name and other.optimizer_state == "reuse" for other in trainings(graph).values())


def add_anchor(graph: Graph, corpus: Corpus, name: str, training: Training) -> Mixed:
    """The mixture that a training step's anchor reads, if it reads one."""
    if not (training.anchor and training.anchor.mixture):
        return None, None
    return add_mixture(graph, corpus, f"{name}.anchor", training.anchor.mixture, training.row_tokens)


def add_more_replay(graph: Graph, corpus: Corpus, stage: Stage) -> Mixed:
    """The mixture of the replay that a forgetting budget may add, if it may."""
    if not (stage.max_old_rise and stage.over_budget == "raise"):
        return None, None
    replay = graph.recipe.mixture[stage.mixture].more_replay(MOST)
    return add_mixture(graph, corpus, f"{stage.name}.more", stage.mixture, stage.row_tokens, replay)


def add_mixture(
    graph: Graph, corpus: Corpus, name: str, which: str, row_tokens: int, mixture: Mixture | None = None
) -> tuple[Step, NamedSteps]:
    """A mixture in rows of some length, and the shards that it is made of; `mixture` instead of the recipe's own."""
    mixture = mixture or graph.recipe.mixture[which]
    shards = {source: corpus.shards[source] for source in mixture.reads()}
    step = tokens.mix(
        f"mixture.{name}",
        shards=shards,
        name=which,
        shares=mixture.shares(),
        unit=mixture.unit,
        tokens=mixture.tokens,
        row_tokens=row_tokens,
        max_epochs=mixture.max_epochs,
        fim=mixture.fim,
        packing=mixture.packing,
        sources=mixture.sources or None,
        alpha=mixture.alpha if mixture.sources else None,
    )
    return graph.add(step), shards


def mixtures_of(graph: Graph, models: NamedSteps) -> NamedSteps:
    """The mixtures that the models read, by model."""
    return {name: graph.steps[f"mixture.{name}"] for name in models if f"mixture.{name}" in graph.steps}
