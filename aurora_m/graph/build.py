"""THE MAP: a recipe as a graph of steps, from raw text to a release. Each room's `steps.py` says what its steps take.

source or base ─fetch─> docs ─signals─> columns, (all sources) duplicates, overlap ─decide─> kept ─rewrite─> clean docs
clean docs ─shards─┐
weights ──mixture──┴─> base ─> cap ─> cat ─> safe          each model ─answer─> answers ─score─> scores
safety rows ─review by people─> reviewed ───────┘          scores ─forgetting─> changes ─> report, card ─> release
"""

from pathlib import Path

from aurora_m.core.step import Step, ordered
from aurora_m.evals import steps as evals
from aurora_m.graph import curation, evaluation, release, safety, training
from aurora_m.graph.graph import Graph, NamedSteps
from aurora_m.recipe import Recipe
from aurora_m.tokens.steps import mix
from aurora_m.train.steps import train
from aurora_m.tune.steps import sft

GOALS = ("fertility", "report", "datasheet", "release")


def build(recipe: Recipe, root: Path) -> NamedSteps:
    """All steps of a recipe by name. `root` is the recipe's folder, where its `file:` sources are."""
    graph = Graph(recipe, root)
    items = evaluation.add_items(graph)  # what models are measured on; no text that trains them may hold it
    base_steps = training.add_base(graph)  # none for a base from scratch

    # Text: measure first, then decide, then rewrite.
    fetched = curation.add_fetches(graph, base_steps)
    duplicates = curation.add_duplicates(graph, fetched)
    overlap = curation.add_overlap(graph, fetched, items)
    columns = curation.add_columns(graph, fetched, duplicates, overlap)
    decided = curation.add_decisions(graph, fetched, columns)
    clean = curation.add_rewrites(graph, fetched, columns, decided)
    held_out = {name: clean[name] for name, source in recipe.source.items() if source.held_out > 0}

    # Tokens: one tokenizer for all that trains, and the shards that mixtures are made of.
    tokenizers = training.add_tokenizers(graph, base_steps, clean)
    starts = training.add_starts(graph, base_steps, tokenizers)
    fertility = evaluation.add_fertility(graph, tokenizers, clean)
    shards = training.add_shards(graph, tokenizers, clean)

    # Models: each stage, merge and tuning starts from one before it.
    corpus = training.Corpus([*tokenizers.values()][-1], shards, held_out)
    trained = training.add_stages(graph, corpus, starts)
    merged = training.add_merges(graph, trained)
    reviewed = safety.add_review(graph)
    tuned = training.add_tunings(graph, corpus, merged, reviewed)
    models = {name: {**tuned, **base_steps}[name] for name in recipe.models()}  # the base as it came
    mixtures = training.mixtures_of(graph, models)

    # Every model answers first and is scored later; then it is compared with the base.
    answers = evaluation.add_answers(graph, models, items, held_out)
    scores = evaluation.add_scores(graph, answers, items)
    forgetting = release.add_forgetting(graph, scores)

    # What people read, and what leaves the house.
    record = release.Record(
        forgetting=forgetting, decided=decided, rewritten=clean, models=models, mixtures=mixtures, reviewed=reviewed
    )
    release.add_datasheet(graph, fetched, duplicates, overlap, decided, clean)
    release.add_report(graph, record, answers, scores, items, fertility)
    release.add_release(graph, record)
    return graph.steps


def data_first(goals: list[Step]) -> list[Step]:
    """Goals after all mixtures that they need, and after what is measured of models that nothing here trains.

    A budget that the data cannot fill, an item that is too long or a wrong reference is found before anything trains.
    """
    mixtures = [step for step in ordered(goals) if step.fn == mix.fn]
    measured = [step for step in ordered(goals) if step.fn in (evals.answer.fn, evals.score.fn)]
    return [*mixtures, *(step for step in measured if not any(map(_trains, ordered([step])))), *goals]


def _trains(step: Step) -> bool:
    return step.fn in (train.fn, sft.fn)
