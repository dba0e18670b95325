"""The steps that measure: items, tokenizers, answers, scores."""

from aurora_m.core.step import Step
from aurora_m.evals import steps as evals
from aurora_m.evals.sandbox import run as sandbox
from aurora_m.evals.suites import has_programs, pin_suites
from aurora_m.graph.graph import Graph, NamedSteps, pinned
from aurora_m.tokens import steps as tokens
from aurora_m.tokens.fertility import PARALLEL


def add_items(graph: Graph) -> Step:
    """What every model is measured on."""
    recipe = graph.recipe
    suites, safety = [*recipe.evals.suites], recipe.redteam.rows if recipe.redteam else "sample:safety/*"
    pin = pinned(lambda: pin_suites(suites, safety, graph.root))
    return graph.add(evals.collect("items", suites=suites, safety=safety, pin=pin))


def add_fertility(graph: Graph, tokenizers: NamedSteps, clean: NamedSteps) -> Step:
    """What each language costs under each tokenizer."""
    langs, pin = {name: source.lang for name, source in graph.recipe.source.items()}, graph.pin_local(PARALLEL)
    return graph.add(tokens.fertility("fertility", tokenizers=tokenizers, docs=clean, langs=langs, pin=pin))


def add_answers(graph: Graph, models: NamedSteps, items: Step, held_out: NamedSteps) -> NamedSteps:
    """What each model answers."""
    recipe = graph.recipe
    return {
        name: graph.add(
            evals.answer(
                f"answer.{name}",
                model=model,
                items=items,
                held=held_out,
                max_new=recipe.evals.max_new_tokens,
                max_held_bytes=recipe.evals.max_held_bytes,
                seed=recipe.seed,
            )
        )
        for name, model in models.items()
    }


def add_scores(graph: Graph, answers: NamedSteps, items: Step) -> NamedSteps:
    """How many answers of each model are right; of programs that a model wrote, behind this machine's wall."""
    wall = sandbox.wall() if has_programs(graph.recipe.evals.suites, graph.root) else None
    place, python = (wall.name, wall.python) if wall else (None, None)
    return {
        name: graph.add(evals.score(f"score.{name}", answers=given, items=items, wall=place, python=python))
        for name, given in answers.items()
    }
