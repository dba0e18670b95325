"""A training stage: a model, a mixture and a schedule in; a model and its curve out."""

from collections.abc import Mapping
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.model.load import device_of, load_model
from aurora_m.tokens.mixture import achieved
from aurora_m.tokens.stream import Stream, stage_stream
from aurora_m.train.budget import Budget
from aurora_m.train.loop import Measure, Plan, Rows, fit, planned, training_facts
from aurora_m.train.monitor import bits_per_byte, divergence
from aurora_m.train.objectives.anchors import anchors
from aurora_m.train.trainable import finish, learning, ready
from aurora_m.train.world import run_on_all_ranks

CURVE = "curve.jsonl"


@run_on_all_ranks
def train(
    work: Work,
    *,
    start: Artifact,
    tokenizer: Artifact,
    mixture: Artifact,
    shards: dict[str, Artifact],
    held: dict[str, Artifact],
    name: str,
    how: dict[str, JSON],
    old_mixture: Artifact | None = None,
    old_shards: dict[str, Artifact] | None = None,
    base: Artifact | None = None,
    more_mixture: Artifact | None = None,
    more_shards: dict[str, Artifact] | None = None,
) -> Facts:
    """Train `start` on a mixture's stream; writes a Hugging Face folder and curve.jsonl.

    how           the settings of `recipe.Training`, and `seed`
    old_mixture   with `old_shards`: the text that an anchor reads
    base          that a forgetting budget compares with
    more_mixture  with `more_shards`: the replay that the budget may add
    returns       beside what `learn` does, `read`: see `tokens.mixture.achieved`
    """
    rows = stream(mixture, shards, tokenizer, how, name)
    plan = planned(how, rows.row_tokens, len(rows), start)
    old = stream(old_mixture, old_shards, tokenizer, how, f"{name}.anchor") if old_mixture and old_shards else None
    more = stream(more_mixture, more_shards, tokenizer, how, f"{name}.more") if more_mixture and more_shards else None
    measure, budget = watched(work, how, held, tokenizer, base, more)
    facts = learn(work, start, name, how, rows, plan, measure, old, budget)
    return {**facts, "read": to_json(achieved(rows.plan, targets(read_jsonl(work.out / CURVE))))}


def targets(curve: list[Any]) -> dict[str, float]:
    """The tokens that the steps of a curve learnt from, for each source."""
    found: dict[str, float] = {}
    for entry in curve:
        for source, (_, count) in entry.get("by_source", {}).items():
            found[source] = found.get(source, 0.0) + count
    return found


def stream(
    mixture: Artifact, shards: Mapping[str, Artifact], tokenizer: Artifact, how: Mapping[str, Any], name: str
) -> Stream:
    """The rows that a stage of this name reads."""
    return stage_stream(mixture, shards, tokenizer, how["seed"], name)


def watched(
    work: Work,
    how: Mapping[str, Any],
    held: Mapping[str, Artifact],
    tokenizer: Artifact,
    base: Artifact | None,
    more: Stream | None = None,
) -> tuple[Measure, Budget]:
    """What is measured while a training step runs, and the budget that it is held to; without a base, none."""
    bits = bits_per_byte(held, tokenizer)
    if base is None:
        return bits, Budget()
    model = load_model(base.path, device_of(work.runtime))
    found, far = bits(model), divergence(model, held, tokenizer, how["old"])
    action = "warn" if how["over_budget"] == "pause" and work.runtime.go_on else how["over_budget"]
    budget = Budget(how["max_old_rise"], action, {lang: float(str(found[lang])) for lang in how["old"]}, more)
    return lambda model: {**bits(model), **far(model)}, budget


def learn(
    work: Work,
    start: Artifact,
    name: str,
    how: Mapping[str, Any],
    rows: Rows,
    plan: Plan,
    measure: Measure,
    old: Stream | None,
    budget: Budget,
) -> Facts:
    """Train a model on rows, held by anchors on `old` ones; writes the model's folder and curve.jsonl."""
    model = ready(work, start.path, name, how)
    trained = learning(model)
    holding = anchors(how.get("anchor"), model, start.path, old, work.runtime)
    curve: list[Any] = fit(work, name, model, rows, plan, measure, holding, budget)
    finish(work, start.path, model, how)
    write_jsonl(work.out / CURVE, curve)
    of_budget = budget.facts(curve, plan.opt_steps * plan.rows_a_step, plan.rows_a_step)
    return {**training_facts(model, plan, curve, trained, holding), **of_budget}
