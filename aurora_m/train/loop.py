"""The training loop: one function, used by every stage and by tuning, that reads from top to bottom."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from aurora_m.core.canon import JSON
from aurora_m.core.step import Facts, Work
from aurora_m.core.units import format_count
from aurora_m.model.load import device_of, parameters
from aurora_m.model.selftest import check_head, check_isolation
from aurora_m.tokens.stream import Row, mixed
from aurora_m.train import checkpoint
from aurora_m.train.guard import check_finite
from aurora_m.train.loss import head_loss
from aurora_m.train.optim import optimizers, set_lr
from aurora_m.train.schedule import Schedule

SAVING_SHARE = 0.02  # of the time, at most, goes into checkpoints
MARKS = 4  # a stage is measured at its start and then this many times

Measure = Callable[[PreTrainedModel], JSON]


class Rows(Protocol):
    """Training rows by index: a pure function."""

    def __getitem__(self, index: int, /) -> Row: ...


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

    @property
    def batch(self) -> int:
        """Tokens an optimizer step."""
        return self.rows_a_step * self.row_tokens


def fit(work: Work, name: str, model: PreTrainedModel, rows: Rows, plan: Plan, measure: Measure) -> list[JSON]:
    """Train a model in place, going on from the last checkpoint in `work.scratch`; returns the curve.

    The curve has an entry an optimizer step (tokens, loss in nats, by source, learning rate, gradient norm), and
    what `measure` says of the model at the start and at `MARKS` even distances.
    """
    check_isolation(model)
    check_head(model)
    model.train()
    updates = optimizers(model, plan.optimizer, plan.weight_decay, plan.beta2)
    curve: list[Any] = []
    done = checkpoint.resume(work.scratch, model, updates, curve)
    marks = {round(plan.opt_steps * mark / MARKS) for mark in range(1, MARKS + 1)}
    saved_s, pause_s = time.monotonic(), work.runtime.save_every_s
    with work.log.bar(name, plan.opt_steps * plan.batch, "tokens") as bar:
        bar.update(done * plan.batch)
        if done == 0:
            curve.append({"tokens": 0, "measure": measure(model)})
        for opt_step in range(done + 1, plan.opt_steps + 1):
            first = (opt_step - 1) * plan.rows_a_step
            batch = [rows[index] for index in range(first, first + plan.rows_a_step)]
            torch.manual_seed(mixed(plan.seed, opt_step))  # dropout, too, depends on nothing but the step
            losses = _backward(model, batch, work.runtime.micro_batch or len(batch))
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip))
            loss = float(losses.sum() / sum(row.weights.sum() for row in batch))
            check_finite(loss, norm, name, opt_step, range(first, first + plan.rows_a_step))
            lr = plan.schedule.lr(opt_step * plan.batch)
            set_lr(updates, lr)
            for optimizer in updates:
                optimizer.step()
            model.zero_grad(set_to_none=True)
            entry = {
                "tokens": opt_step * plan.batch,
                "loss": loss,
                "lr": lr,
                "norm": norm,
                "by_source": _by_source(batch, losses),
            }
            if opt_step in marks:
                entry["measure"] = measure(model)
            curve.append(entry)
            bar.update(opt_step * plan.batch, f"loss {loss:.3f}  lr {lr:.2e}")
            work.log.event("train", step=name, opt_step=opt_step, tokens=opt_step * plan.batch, loss=loss, lr=lr)
            if time.monotonic() - saved_s > pause_s:
                took_s = checkpoint.save(work.scratch, opt_step, model, updates, curve)
                saved_s, pause_s = time.monotonic(), max(work.runtime.save_every_s, took_s / SAVING_SHARE)
    model.eval()
    return curve


def _backward(model: PreTrainedModel, batch: Sequence[Row], micro: int) -> torch.Tensor:
    """Add the gradients of the whole batch's mean loss, `micro` rows at a time; returns each row's loss sum."""
    device = next(model.parameters()).device
    head = model.get_output_embeddings().weight
    count = float(sum(row.weights.sum() for row in batch))
    sums = []
    for start in range(0, len(batch), micro):
        part = batch[start : start + micro]
        tokens_BT = torch.from_numpy(np.stack([row.tokens for row in part])).to(device)
        positions_BT = torch.from_numpy(np.stack([row.positions for row in part])).to(device)
        weights_BT = torch.from_numpy(np.stack([row.weights for row in part])).to(device)
        hidden_BTD = model.base_model(tokens_BT[:, :-1], position_ids=positions_BT, use_cache=False).last_hidden_state
        total, losses_N = head_loss(hidden_BTD.flatten(0, 1), head, tokens_BT[:, 1:].flatten(), weights_BT.flatten())
        (total / count).backward()
        sums.append(losses_N.view_as(weights_BT).sum(1).cpu())
    return torch.cat(sums)


def _by_source(batch: Sequence[Row], losses: torch.Tensor) -> dict[str, list[float]]:
    """For each source in the batch: [sum of losses in nats, targets counted]."""
    found: dict[str, list[float]] = {}
    for row, loss in zip(batch, losses.tolist(), strict=True):
        total = found.setdefault(row.source, [0.0, 0.0])
        total[0] += loss
        total[1] += float(row.weights.sum())
    return found


def training_facts(model: PreTrainedModel, plan: Plan, curve: list[Any]) -> Facts:
    """What a finished stage says of itself; the loss is the mean of the last tenth."""
    last = [entry["loss"] for entry in curve if "loss" in entry][-max(1, plan.opt_steps // 10) :]
    tokens = plan.opt_steps * plan.batch
    return {
        "opt_steps": plan.opt_steps,
        "tokens": tokens,
        "loss": round(sum(last) / len(last), 6),
        "parameters": parameters(model),
        "flop": 6 * parameters(model) * tokens,  # Kaplan et al. 2020 (arXiv 2001.08361): forward and backward
    }


def start_model(work: Work, model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Put a model on the run's device and say what is trained."""
    device = device_of(work.runtime)
    work.log.say(f"  {name}: {format_count(parameters(model))} parameters on {device}")
    model.to(device)  # type: ignore[arg-type]  # its own annotation names the wrong argument
    return model
