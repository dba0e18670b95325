"""A training stage: a model, a mixture and a schedule in; a model and its curve out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aurora_m.core.step import Artifact, Work
from aurora_m.model.load import device_of, load_model, parameters
from aurora_m.recipe import Training
from aurora_m.tokens.mixture import achieved
from aurora_m.tokens.rows import Row, Rows
from aurora_m.tokens.stream import Stream, stage_stream
from aurora_m.train.budget import Budget
from aurora_m.train.curve import Curve
from aurora_m.train.facts import TrainingFacts
from aurora_m.train.loop import fit
from aurora_m.train.monitor import Monitor, bits_per_byte, divergence
from aurora_m.train.objectives.anchors import Anchored, anchors
from aurora_m.train.objectives.next_token import NextToken
from aurora_m.train.objectives.objective import Anchor, Objective
from aurora_m.train.plan import Plan
from aurora_m.train.trainable import learning, load_trainable, save_trained
from aurora_m.train.world import run_on_all_ranks


@run_on_all_ranks
def train(  # noqa: PLR0913  # a step
    work: Work,
    *,
    name: str,
    training: Training,
    seed: int,
    old_langs: Sequence[str],
    keep_optimizer: bool,
    start: Artifact,
    tokenizer: Artifact,
    held_out: dict[str, Artifact],
    mixture: Artifact,
    shards: dict[str, Artifact],
    anchor_mixture: Artifact | None = None,
    anchor_shards: dict[str, Artifact] | None = None,
    base: Artifact | None = None,
    original: Artifact | None = None,
    original_tokenizer: Artifact | None = None,
    more_mixture: Artifact | None = None,
    more_shards: dict[str, Artifact] | None = None,
) -> TrainingFacts:
    """Train `start` on a mixture's stream; writes a Hugging Face folder and curve.jsonl.

    old_langs       that a forgetting budget is for
    keep_optimizer  whether a later stage takes the optimizer's state
    anchor_mixture  with `anchor_shards`: the text that an anchor reads
    base            that a forgetting budget compares with
    original        with `original_tokenizer`: the base as it was before it had more tokens, which a budget compares
                    with then
    more_mixture    with `more_shards`: the replay that the budget may add
    """
    inputs = TrainingInputs(name, training, seed, old_langs, keep_optimizer, start, tokenizer, held_out, base)
    inputs = replace(inputs, original=original, original_tokenizer=original_tokenizer)
    rows = inputs.stream(mixture, shards)
    more = inputs.stream(more_mixture, more_shards, ".more") if more_mixture and more_shards else None
    anchor_rows = inputs.stream(anchor_mixture, anchor_shards, ".anchor") if anchor_mixture and anchor_shards else None
    sources = [*rows.names, *(more.names if more else ())]
    monitor = inputs.monitor(work, more)
    curve, facts = learn(work, inputs, inputs.plan(len(rows)), rows, sources, anchor_rows, monitor)
    read: Any = achieved(rows.plan, curve.targets())
    return replace(facts, read=read)


@dataclass(frozen=True)
class TrainingInputs:
    """What a stage and a tuning have in common: how a model learns, where it starts, and what it is measured on."""

    name: str
    training: Training
    seed: int
    old_langs: Sequence[str]
    keep_optimizer: bool
    start: Artifact
    tokenizer: Artifact
    held_out: Mapping[str, Artifact]
    base: Artifact | None
    original: Artifact | None = None
    original_tokenizer: Artifact | None = None

    def stream(self, mixture: Artifact, shards: Mapping[str, Artifact], part: str = "") -> Stream:
        """The rows of a mixture, in an order of this step's, or of a part of it."""
        return stage_stream(mixture, shards, self.tokenizer, self.seed, self.name + part)

    def plan(self, num_rows: int) -> Plan:
        """How so many rows are trained on."""
        return Plan.of(self.training, self.seed, num_rows, self.start, self.keep_optimizer)

    def monitor(self, work: Work, more: Stream | None = None) -> Monitor:
        """What is measured while the step runs, and its budget, which may add `more` replay; without a base, none."""
        bits = bits_per_byte(self.held_out, self.tokenizer)
        if self.base is None:
            return Monitor(bits)
        model = load_model(self.base.path, device_of(work.runtime))
        of_base, far = bits(model), divergence(model, self.held_out, self.tokenizer, self.old_langs)
        if self.original and self.original_tokenizer:  # the same text, in the tokens that it had
            model = load_model(self.original.path, device_of(work.runtime))
            of_base = bits_per_byte(self.held_out, self.original_tokenizer)(model)
        action = self.training.over_budget
        action = "warn" if action == "pause" and work.runtime.go_on else action
        budget = Budget(self.training.max_old_rise, action, {lang: of_base[lang] for lang in self.old_langs}, more)
        return Monitor(lambda model: {**bits(model), **far(model)}, budget)


def learn(
    work: Work,
    inputs: TrainingInputs,
    plan: Plan,
    rows: Rows[Row],
    sources: Sequence[str],
    anchor_rows: Stream | None,
    monitor: Monitor,
) -> tuple[Curve, TrainingFacts]:
    """Train a model on rows of some sources, held by anchors; writes the model's folder and curve.jsonl."""
    name, training, folder = inputs.name, inputs.training, inputs.start.path
    model = load_trainable(work, inputs.start, name, training, inputs.seed)
    trained = learning(model)
    holding = anchors(training.anchor, model, folder, anchor_rows, work.runtime)
    objective: Objective[Row] = NextToken(tuple(dict.fromkeys(sources)), work.runtime.micro_batch)
    if holding:
        objective = Anchored(objective, holding)
    curve = fit(work, name, model, rows, plan, objective, monitor)
    save_trained(work, folder, model, training)
    curve.write(work.out)
    return curve, facts_of(plan, curve, parameters(model), trained, holding, monitor.budget)


def facts_of(
    plan: Plan,
    curve: Curve,
    size: int,
    trained: int,
    anchors: Sequence[Anchor] = (),
    budget: Budget = Budget(),  # noqa: B008
) -> TrainingFacts:
    """What a finished training step says of itself; the loss is the mean of the last tenth.

    size     weights of the model
    trained  how many of them learned
    """
    losses = [entry.loss for entry in curve.learnt][-max(1, plan.opt_steps // 10) :]
    # Kaplan et al. 2020 (arXiv 2001.08361): forward, and backward to the states and to the weights that learn
    cost = 4 * size + 2 * trained
    anchor_tokens = sum(anchor.batch_tokens for anchor in anchors) * plan.opt_steps
    frozen = sum(2 * anchor.reads * anchor.batch_tokens for anchor in anchors) * plan.opt_steps
    return TrainingFacts(
        opt_steps=plan.opt_steps,
        tokens=plan.tokens,
        loss=round(sum(losses) / len(losses), 6) if losses else None,
        parameters=size,
        flop=cost * (plan.tokens + anchor_tokens) + frozen,
        optimizer_state="reused" if plan.reuse else "fresh",
        curve_tokens=plan.schedule.offset + plan.tokens if plan.schedule.offset else None,
        trained=trained if trained < size else None,
        anchor_tokens=anchor_tokens or None,
        **vars(plan.guard.facts(curve)),
        **vars(budget.facts(curve, plan.num_rows, plan.rows_a_step)),
    )
