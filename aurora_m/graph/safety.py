"""The steps between drafted safety rows and what may be trained on."""

from aurora_m.graph.graph import Graph, NamedSteps
from aurora_m.review import steps as review


def add_review(graph: Graph) -> NamedSteps:
    """The rows that people let pass: one step, or none."""
    redteam, ledger = graph.recipe.redteam, graph.recipe.review
    if not (redteam and ledger):
        return {}
    reviewed = review.gate(
        "reviewed",
        rows=redteam.rows,
        rows_pin=graph.pin_local(redteam.rows),
        decisions=ledger.decisions,
        decisions_pin=graph.pin_local(ledger.decisions),
        reviewers=ledger.reviewers,
    )
    return {"reviewed": graph.add(reviewed)}
