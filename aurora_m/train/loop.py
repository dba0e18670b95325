"""The training loop: one function, used by every stage and by tuning, that reads from top to bottom."""

from dataclasses import replace
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from aurora_m.core import interrupt
from aurora_m.core.machine import processors
from aurora_m.core.step import Work
from aurora_m.model.selftest import check_head, check_isolation, check_learns, check_positions, check_reference
from aurora_m.model.shard import gather_into
from aurora_m.tokens.rows import Rows
from aurora_m.tokens.stream import combine_keys
from aurora_m.train.average import averages, share_of, swap_averages
from aurora_m.train.budget import Budget
from aurora_m.train.checkpoint import Checkpoints, Updates, wait_for_write
from aurora_m.train.curve import Curve, Entry, Skip
from aurora_m.train.guard import Guard, passed_over, undone
from aurora_m.train.monitor import Monitor
from aurora_m.train.objectives.objective import Objective, Sums
from aurora_m.train.optim import keep_state, optimizers, reuse_state, shares, update
from aurora_m.train.plan import Plan
from aurora_m.train.precision import place, prepared
from aurora_m.train.prefetch import prefetching
from aurora_m.train.schedule import OptStep
from aurora_m.train.track import tracking
from aurora_m.train.world import FollowerDone, ParallelLayout

STOPPING = 2.0  # what is due: a checkpoint, and then the end

T = TypeVar("T")


def fit(
    work: Work, name: str, model: PreTrainedModel, rows: Rows[T], plan: Plan, objective: Objective[T], monitor: Monitor
) -> Curve:
    """Train a model in place, going on from the last checkpoint in `work.scratch`; returns the curve.

    The model is measured at the start and at the plan's evaluation points. With `ema` or `wsm`, the averages are
    measured, and are the weights at the end. In all processes but the first it ends with `FollowerDone`.
    """
    world, guard, budget = place(work.runtime), plan.guard, monitor.budget
    _check(work, model, plan, name, world)
    net = prepared(model, work.runtime, world)
    check_isolation(net)
    net.train()
    trained = optimizers(net, plan.training.optimizer, plan.training.weight_decay, plan.training.beta2)
    updates = [*trained, *averages(net.parameters(), share_of(plan.training, plan.opt_steps))]
    checkpoints = Checkpoints(work.scratch, net, updates, world, work.runtime.save_every_s)
    work.log.say(f"  {name}: optimizer state {'reused' if plan.reuse else 'fresh'}{shares(trained)}")
    curve = _resumed(work, name, plan, checkpoints) or _begin(trained, plan, monitor, checkpoints)
    tracked, prefetched = tracking(work, name, plan, budget.metadata()), prefetching(world, plan.num_rows)
    with interrupt.finishing(), tracked as track, prefetched as reader:
        track.begin(curve)
        budget.raise_if_paused(name, curve)
        for step in plan.remaining(curve):
            entry: Entry | Skip = passed_over(step)
            due = 0.0
            if step.number not in curve.rewind.passed_over:
                batch = reader.take(budget.rows(rows, curve, plan.rows_a_step), step.rows)
                # Dropout, too, depends on nothing but the step, and on who reads the row.
                torch.manual_seed(combine_keys(plan.seed, step.number, *world.salt))
                sums = objective.backward(net, batch, step.number, world)
                stats, due = _agree(sums, step, plan, checkpoints)
                verdict = guard.judge(curve, stats, step, name)
                if verdict.update:
                    update(updates, step.lr, step.at(name))
                net.zero_grad(set_to_none=True)
                entry = verdict.step
            if step.number in plan.eval_steps:
                entry = replace(entry, eval_point=monitor.evaluate(net, updates, curve))
            curve.add(entry)
            if guard.rewinds(curve):
                checkpoints.rewind(curve, undone(curve, step.at(name)))
                track.rewound(curve, step.at(name))
                continue
            track.step(curve, reader.waited_s)
            budget.warn(work, name, curve)
            _save(checkpoints, guard, budget, curve, due)
            budget.raise_if_paused(name, curve)
    wait_for_write(work.scratch)
    swap_averages(updates)
    if plan.keep:
        keep_state(trained, work.out, world.rank == 0)
    if net is not model:
        gather_into(model, net, world.rank == 0)
    if world.rank:
        raise FollowerDone
    model.eval()
    return curve


def _check(work: Work, model: PreTrainedModel, plan: Plan, name: str, world: ParallelLayout) -> None:
    """What a whole model must prove, in float32; in the first process only, for it is dear."""
    world.check(plan.rows_a_step, name)
    check_positions(model, plan.training.row_tokens, name)
    model.eval()
    if world.rank == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(threads if world.size == 1 else processors())  # the other processes wait
        check_head(model)
        if not check_reference(model):
            work.log.say(
                f"  {name}: not checked: attention moves no logit enough to show a kernel that computes it wrongly"
            )
        check_learns(model)
        torch.set_num_threads(threads)


def _resumed(work: Work, name: str, plan: Plan, checkpoints: Checkpoints) -> Curve | None:
    """The curve of the last checkpoint, if there is one."""
    curve = checkpoints.resume()
    if curve is not None and curve.done:
        work.log.say(f"  {name}: resumed at step {min(curve.done + 1, plan.opt_steps)} of {plan.opt_steps}")
    return curve


def _begin(trained: Updates, plan: Plan, monitor: Monitor, checkpoints: Checkpoints) -> Curve:
    """The curve of a model that has not trained yet, with the optimizer state that it starts with."""
    if plan.reuse:
        reuse_state(trained, plan.reuse)
    curve = monitor.start(checkpoints.model)
    if plan.guard.action == "rewind":
        checkpoints.write(curve)
    return curve


def _save(checkpoints: Checkpoints, guard: Guard, budget: Budget, curve: Curve, due: float) -> None:
    """Save what is due; where people must decide, or asked the run to stop, all of it before the stage stops."""
    pauses, saves = budget.pauses(curve), guard.saves(curve)
    if (due or pauses) and saves:
        checkpoints.save(curve)
    if pauses or due >= STOPPING:
        wait_for_write(checkpoints.folder)
    if due >= STOPPING:
        interrupt.stop(f"saved after step {curve.done}" if saves else "which goes back to its last checkpoint")


def _agree(sums: Sums, step: OptStep, plan: Plan, checkpoints: Checkpoints) -> tuple[Entry, float]:
    """Clip the gradients; returns what all processes found in a step, and whether a checkpoint is due or a stop.

    One all-reduce of a few numbers: the parts of the norm, of the losses, and what the first process's clock says, or
    whoever asked it to stop.
    """
    world = checkpoints.world
    due = float(world.rank == 0 and (STOPPING if interrupt.requested() else checkpoints.due()))
    parameters = [*checkpoints.model.parameters()]
    norm, (*parts, due) = world.clip(parameters, plan.training.clip, [*sums.parts(), due])
    sums = sums.summed(parts)
    return Entry(step.tokens, sums.mean, step.lr, norm, sums.by_source, sums.anchor), due
