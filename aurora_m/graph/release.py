"""The steps at the end: what was lost, what people read, what leaves the house."""

from typing import TypedDict

from aurora_m.core.step import Step
from aurora_m.graph.graph import Graph, NamedSteps
from aurora_m.recipe import dumps
from aurora_m.release import steps as release
from aurora_m.report import steps as report


class Record(TypedDict):
    """The steps that both the card and the report tell of."""

    forgetting: Step
    decided: NamedSteps
    rewritten: NamedSteps
    models: NamedSteps
    mixtures: NamedSteps
    reviewed: NamedSteps


def add_forgetting(graph: Graph, scores: NamedSteps) -> Step:
    """What each model has gained and lost over the base."""
    models, old, margins = [*scores], graph.recipe.evals.old, graph.recipe.evals.margins
    return graph.add(report.forgetting("forgetting", scores=scores, models=models, old=old, margins=margins))


def add_datasheet(
    graph: Graph, fetched: NamedSteps, duplicates: Step, overlap: Step, decided: NamedSteps, rewritten: NamedSteps
) -> None:
    """The datasheet of the text."""
    graph.add(
        report.datasheet(
            "datasheet",
            fetched=fetched,
            duplicates=duplicates,
            overlap=overlap,
            decided=decided,
            rewritten=rewritten,
            recipe=dumps(graph.recipe),
        )
    )


def add_report(
    graph: Graph, record: Record, answers: NamedSteps, scores: NamedSteps, items: Step, fertility: Step
) -> None:
    """The report of the run."""
    graph.add(
        report.page(
            "report",
            **record,
            answers=answers,
            scores=scores,
            items=items,
            fertility=fertility,
            recipe=dumps(graph.recipe),
        )
    )


def add_release(graph: Graph, record: Record) -> None:
    """The released model, with its card."""
    card = graph.add(report.model_card("card", **record, recipe=dumps(graph.recipe)))
    about, models = graph.recipe.release, record["models"]
    graph.add(
        release.export(
            "release",
            model=models[about.model],
            base=models["base"],
            card=card,
            docs=record["rewritten"],
            license=about.license,
            dtype=about.dtype,
        )
    )
