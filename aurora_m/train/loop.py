"""The training loop: one function, used by every stage and by tuning, that reads from top to bottom."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from aurora_m.core.canon import JSON
from aurora_m.core.machine import processors
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.tasks import shutdown_workers
from aurora_m.core.units import format_count
from aurora_m.model.load import device_of, parameters
from aurora_m.model.selftest import check_head, check_isolation, check_learns, check_positions, check_reference
from aurora_m.model.shard import call_unsharded, gather_into
from aurora_m.recipe import Training
from aurora_m.tokens.stream import Row, combine_keys
from aurora_m.train import checkpoint
from aurora_m.train.average import Share, averaged, averages, merged, moving, settle
from aurora_m.train.budget import Budget
from aurora_m.train.guard import PASSED, Guard, skipped, undone
from aurora_m.train.loss import head_loss
from aurora_m.train.optim import Updates, keep_state, optimizers, reuse_state, update
from aurora_m.train.precision import place, prepared
from aurora_m.train.prefetch import reading_ahead
from aurora_m.train.schedule import Schedule
from aurora_m.train.track import tracking
from aurora_m.train.world import FollowerDone, ParallelLayout, layout

SAVING_SHARE = 0.02  # of the time, at most, goes into checkpoints
DEFAULTS = {f.name: f.default for f in fields(Training) if f.default is not MISSING}

Measure = Callable[[PreTrainedModel], JSON]


class Rows(Protocol):
    """Training rows by index: a pure function."""

    def __getitem__(self, index: int, /) -> Row: ...


class Anchor(Protocol):
    """A term of the loss that holds a model near another one: a pure function of the model and the step."""

    @property
    def name(self) -> str:
        """The key of its value in the curve."""

    @property
    def batch(self) -> int:
        """Tokens that it reads an optimizer step."""

    @property
    def reads(self) -> int:
        """Weights of a frozen model that reads them, too."""

    def backward(self, model: PreTrainedModel, opt_step: int, world: ParallelLayout) -> float:
        """Add the term's gradients to the model's; returns its value before its weight, the same in each process."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    opt_steps: int
    rows_a_step: int
    row_tokens: int
    schedule: Schedule
    optimizer: str
    weight_decay: float
    beta2: float
    clip: float
    seed: int
    guard: Guard = Guard()  # noqa: RUF009
    ema: float = 0.0
    wsm: float = 0.0
    num_marks: int = 4
    reuse: Path | None = None  # the folder of the model whose optimizer state is taken
    keep: bool = False  # whether a later stage takes this one's

    @property
    def batch(self) -> int:
        """Tokens an optimizer step."""
        return self.rows_a_step * self.row_tokens

    @property
    def average(self) -> Share | None:
        """How the weights are averaged, if they are."""
        if self.wsm:
            return merged(round(self.opt_steps * (1 - self.wsm)))
        return moving(self.ema) if self.ema else None

    @property
    def marks(self) -> set[int]:
        """The optimizer steps after which the model is measured."""
        return {round(self.opt_steps * mark / self.num_marks) for mark in range(1, self.num_marks + 1)}

    def where(self, name: str, opt_step: int) -> str:
        """The place of an optimizer step, for people."""
        last = opt_step * self.rows_a_step
        return f"{name}, optimizer step {opt_step}, rows {last - self.rows_a_step} to {last - 1}"


def planned(how: Mapping[str, Any], row_tokens: int, num_rows: int, start: Artifact | None = None) -> Plan:
    """The plan of a training step whose settings (`recipe.Training`, and a seed) are `how`, for so many rows.

    The last rows that do not fill a batch are not read. `start` is the model whose schedule or optimizer state goes on.
    """
    how = {**DEFAULTS, **how}
    batch = how["batch"]
    rows_a_step = batch // row_tokens
    opt_steps = num_rows // rows_a_step
    taken = int(str(start.facts.get("curve_tokens", start.facts["tokens"]))) if start and how["continues"] else 0
    total = how["horizon"] or taken + opt_steps * batch
    curve = (how["schedule"], how["peak_lr"], how["end_lr"], how["warmup"], total, how["decay_share"])
    schedule = Schedule(*curve, how["constant_lr"], how["cooldown"], taken)
    rest = {name: how[name] for name in ("optimizer", "weight_decay", "beta2", "clip", "seed", "ema", "wsm")}
    reuse = start.path if start and how["optimizer_state"] == "reuse" else None
    rest |= {"guard": Guard(how["guard"], how["spike"]), "num_marks": how["marks"]}
    rest |= {"reuse": reuse, "keep": bool(how.get("keep_optimizer"))}
    return Plan(opt_steps, rows_a_step, row_tokens, schedule, **rest)


def fit(
    work: Work,
    name: str,
    model: PreTrainedModel,
    rows: Rows,
    plan: Plan,
    measure: Measure,
    anchors: Sequence[Anchor] = (),
    budget: Budget = Budget(),  # noqa: B008
) -> list[JSON]:
    """Train a model in place, going on from the last checkpoint in `work.scratch`; returns the curve.

    The curve has an entry an optimizer step (tokens, loss in nats, by source, learning rate, gradient norm, the values
    of the anchors), and what `measure` says of the model at the start and at the plan's marks. A step without an
    update says so, and names its rows. With `ema` or `wsm`, the averages are measured, and are the weights at the end.
    In all processes but the first it ends with `Followed`.
    """
    world = place(work.runtime)
    _check(model, plan, name, world)
    net = prepared(model, work.runtime, world)
    check_isolation(net)
    net.train()
    trained = optimizers(net, plan.optimizer, plan.weight_decay, plan.beta2)
    updates = [*trained, *averages(net.parameters(), plan.average)]
    curve: list[Any] = []
    done = checkpoint.resume(work.scratch, net, updates, curve, world)
    work.log.say(f"  {name}: optimizer state {'reused' if plan.reuse else 'fresh'}")
    if not curve:
        if plan.reuse:
            reuse_state(trained, plan.reuse)
        curve.append({"tokens": 0, "measure": measure(net)})
        if plan.guard.action == "rewind":
            checkpoint.save(work.scratch, 0, net, updates, curve, world)
    saved_s, pause_s = time.monotonic(), work.runtime.save_every_s
    head, limit = budget.told(), plan.opt_steps * plan.rows_a_step
    with tracking(work, name, plan.opt_steps, plan.batch, head) as track, reading_ahead(world, limit) as ahead:
        track.begin(curve)
        budget.hold(name, curve[-1])
        reading = budget.reading(rows, curve, plan.rows_a_step)
        while done < plan.opt_steps:
            opt_step, at = done + 1, plan.where(name, done + 1)
            tokens, lr = opt_step * plan.batch, plan.schedule.lr(opt_step * plan.batch)
            indices = range(done * plan.rows_a_step, opt_step * plan.rows_a_step)
            if opt_step in curve[0].get("passed_over", ()):
                entry = skipped(tokens, lr, PASSED, indices)
            else:
                batch = ahead.take(reading, indices)
                # Dropout, too, depends on nothing but the step, and on who reads the row.
                torch.manual_seed(combine_keys(plan.seed, opt_step, *world.salt))
                loss, by_source = _backward(net, batch, work.runtime.micro_batch or len(batch), world)
                held = {anchor.name: anchor.backward(net, opt_step, world) for anchor in anchors}
                norm = world.clip([*net.parameters()], plan.clip)
                entry = {"tokens": tokens, "loss": loss, "lr": lr, "norm": norm, "by_source": by_source}
                entry |= {"anchor": held} if held else {}
                wrong = plan.guard.judge(curve, loss, norm, plan.schedule.warming(tokens), at)
                if plan.guard.updates(wrong):
                    update(updates, lr, at)
                net.zero_grad(set_to_none=True)
                entry = plan.guard.noted(entry, wrong, indices)
            if opt_step in plan.marks:
                with averaged(updates):
                    entry["measure"] = measure(net)
                entry |= budget.found(entry, curve)
                budget.tell(work, name, entry)
            curve.append(entry)
            if plan.guard.rewinds(curve):
                done = _rewind(work, net, updates, curve, at, world)
                track.begin(curve)
            else:
                done = opt_step
                track.step(opt_step, entry, ahead.waited_s)
                due = time.monotonic() - saved_s > pause_s
                if (world.broadcast(due) or budget.waits(entry)) and plan.guard.saves(curve):
                    took_s = checkpoint.save(work.scratch, opt_step, net, updates, curve, world)
                    saved_s, pause_s = time.monotonic(), max(work.runtime.save_every_s, took_s / SAVING_SHARE)
                if budget.waits(entry):
                    checkpoint.settle(work.scratch)
                budget.hold(name, entry)
            if "raised" in entry or done != opt_step:
                reading = budget.reading(rows, curve, plan.rows_a_step)
    checkpoint.settle(work.scratch)
    settle(updates)
    if plan.keep:
        keep_state(trained, work.out, world.rank == 0)
    if net is not model:
        gather_into(model, net, world.rank == 0)
    if world.rank:
        raise FollowerDone
    model.eval()
    return curve


def _check(model: PreTrainedModel, plan: Plan, name: str, world: ParallelLayout) -> None:
    """What a whole model must prove, in float32; in the first process only, for it is dear."""
    world.check(plan.rows_a_step, name)
    check_positions(model, plan.row_tokens, name)
    model.eval()
    if world.rank == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(threads if world.size == 1 else processors())  # the other processes wait
        check_head(model)
        check_reference(model)
        check_learns(model)
        torch.set_num_threads(threads)


def _rewind(
    work: Work, model: PreTrainedModel, updates: Updates, curve: list[Any], at: str, world: ParallelLayout
) -> int:
    """Go back to the last checkpoint, which from now on says what to pass over; returns how many steps are done."""
    first_entry = undone(curve, at)
    done = checkpoint.resume(work.scratch, model, updates, curve, world)
    curve[0] |= first_entry
    checkpoint.save(work.scratch, done, model, updates, curve, world)
    work.log.say(f"  {at}: bad, as others before it; back to step {done}")
    work.log.event("rewind", at=at, to=done, passed_over=first_entry["passed_over"])
    return done


def _backward(
    model: PreTrainedModel, batch: Sequence[Row], micro: int, world: ParallelLayout
) -> tuple[float, dict[str, list[float]]]:
    """Add the gradients of the mean loss of the batch, of which each process has rows, `micro` at a time.

    returns  the mean loss, and for each source [sum of losses in nats, targets counted]; of the rows of all processes
    """
    shares = world.all_gather([(row.source, float(row.weights.sum())) for row in batch])
    count = sum(share for _, share in shares)
    sums: list[float] = []
    for start in range(0, len(batch), micro):
        part = batch[start : start + micro]
        total, losses_N = call_unsharded(model, partial(_losses, model, part))
        (total / count).backward()
        sums += losses_N.view(len(part), -1).sum(1).tolist()
    losses = torch.tensor(world.all_gather(sums))
    by_source: dict[str, list[float]] = {}
    for (source, share), of_row in zip(shares, losses.tolist(), strict=True):
        found = by_source.setdefault(source, [0.0, 0.0])
        found[0] += of_row
        found[1] += share
    return float(losses.sum() / count), by_source


def _losses(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    hidden_ND, targets_N, weights_N = read(model, rows)
    return head_loss(hidden_ND, model.get_output_embeddings().weight, targets_N, weights_N)


def read(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The last states of all rows, one after another, with their targets and the weights of these: [N, D], [N], [N]."""
    device = next(model.parameters()).device
    tokens_BT = torch.from_numpy(np.stack([row.tokens for row in rows])).to(device)
    positions_BT = torch.from_numpy(np.stack([row.positions for row in rows])).to(device)
    weights_BT = torch.from_numpy(np.stack([row.weights for row in rows])).to(device)
    hidden_BTD = model.base_model(tokens_BT[:, :-1], position_ids=positions_BT, use_cache=False).last_hidden_state
    return hidden_BTD.flatten(0, 1), tokens_BT[:, 1:].flatten(), weights_BT.flatten()


def training_facts(
    model: PreTrainedModel, plan: Plan, curve: list[Any], trained: int = 0, anchors: Sequence[Anchor] = ()
) -> Facts:
    """What a finished stage says of itself; the loss is the mean of the last tenth.

    trained  how many weights learned, where that is not all of them
    """
    last = [entry["loss"] for entry in curve if "loss" in entry][-max(1, plan.opt_steps // 10) :]
    tokens = plan.opt_steps * plan.batch
    size = parameters(model)
    trained = trained or size
    # Kaplan et al. 2020 (arXiv 2001.08361): forward, and backward to the states and to the weights that learn
    cost = 4 * size + 2 * trained
    held = sum(anchor.batch for anchor in anchors) * plan.opt_steps
    return {
        "opt_steps": plan.opt_steps,
        "tokens": tokens,
        "loss": round(sum(last) / len(last), 6) if last else None,
        "parameters": size,
        "flop": cost * (tokens + held) + sum(2 * anchor.reads * anchor.batch for anchor in anchors) * plan.opt_steps,
        "optimizer_state": "reused" if plan.reuse else "fresh",
        **({"curve_tokens": plan.schedule.offset + tokens} if plan.schedule.offset else {}),
        **plan.guard.facts(curve),
        **({"trained": trained} if trained < size else {}),
        **({"anchor_tokens": held} if held else {}),
    }


def start_model(work: Work, model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Say what is trained, and put it on the run's device; but a model that will be divided may not fit there whole."""
    shutdown_workers()
    device = device_of(work.runtime)
    work.log.say(f"  {name}: {format_count(parameters(model))} parameters on {device}")
    if layout(work.runtime).size == 1:
        model.to(device)  # type: ignore[arg-type]  # its own annotation names the wrong argument
    return model
