"""The loop: a killed run goes on bit for bit, the planned rate is used, and any split of a batch trains the same."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import ARCHS, KINDS, VOCAB, new_work, tiny_base, tiny_model, tiny_tokenizer, training
from torch.distributed import HashStore

from aurora_m.core.errors import TrainError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Work
from aurora_m.model.load import load_model, parameters
from aurora_m.tokens.rows import Row
from aurora_m.train import checkpoint, trainable
from aurora_m.train.checkpoint import ALONE, Checkpoints
from aurora_m.train.curve import Curve, Entry, EvalPoint
from aurora_m.train.loop import fit
from aurora_m.train.monitor import Monitor
from aurora_m.train.muon import Muon
from aurora_m.train.objectives.next_token import NextToken
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import Schedule
from aurora_m.train.stage import facts_of
from aurora_m.train.trainable import start_model
from aurora_m.train.world import RankCoordinator

T, ROWS, STEPS = 12, 3, 6
OPTIMIZERS = ("adamw", "muon")
ROOT = Path(__file__).parents[2]


class Made:
    """Rows made from their index; at one of them, something happens."""

    def __init__(self, stop_at: int = -1, how: str = "error", vocab: int = VOCAB) -> None:
        self.stop_at, self.how, self.vocab = stop_at, how, vocab

    def __getitem__(self, index: int) -> Row:
        weights = np.ones(T, np.float32)
        if index == self.stop_at:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "error":
                raise KeyboardInterrupt
            weights[3] = np.inf
        random = np.random.default_rng(index)
        weights[: index % 4] = 0.0
        start = index % 7
        positions = np.array([*range(start), *range(T - start)])
        return Row(random.integers(0, self.vocab, T + 1), positions, weights, "ab"[index % 2], 0)


def plan(opt_steps: int = STEPS, **changes: Any) -> Plan:
    schedule = Schedule("cosine", 1e-2, 1e-3, 2 * ROWS * T, opt_steps * ROWS * T)
    of_plan = {key: changes.pop(key) for key in ("schedule", "reuse", "keep") if key in changes}
    return Plan(training(T, ROWS, **changes), 5, opt_steps, **{"schedule": schedule, **of_plan})


def mean_weight(model: Any) -> float:
    assert not model.eval().training
    model.train()
    return float(next(model.parameters()).detach().double().mean())


def trained(work: Work, kind: str, rows: Any, wanted: Plan | None = None) -> tuple[Any, list[Any]]:
    """A tiny model and its curve; its configuration has dropout for `bigcode`."""
    model = tiny_model(kind)
    return model, fitted(work, model, rows, wanted or plan())


def fitted(work: Work, model: Any, rows: Any, wanted: Plan, measure: Any = mean_weight) -> list[Any]:
    """The curve, line by line."""
    objective = NextToken("ab", work.runtime.micro_batch)
    return fit(work, "cap", model, rows, wanted, objective, Monitor(measure)).to_json()


def test_the_models_differ_in_dropout() -> None:
    assert tiny_model("bigcode").config.resid_pdrop == 0.1


def assert_equal_weights(one: Any, two: Any) -> None:
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name


def child(kind: str, folder: Path) -> None:
    """Train with both optimizers in a process that kills itself when it reads the fourth batch."""
    checkpoint.SAVING_SHARE = 1e9
    trained(new_work(folder, save_every_s=0.0), kind, Made(3 * ROWS + 1, "kill"), plan(optimizer="muon"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_goes_on_bit_for_bit(tmp_path: Path, kind: str) -> None:
    paths = [str(ROOT), str(ROOT / "tests/model"), str(ROOT / "tests/train")]
    code = f"import sys; sys.path[:0] = {paths}\nfrom test_loop import Path, child\nchild({kind!r}, Path(sys.argv[1]))"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    killed = new_work(tmp_path / "again")
    (tmp_path / "killed/scratch/checkpoint").rename(killed.scratch / "checkpoint")
    read: list[int] = []

    class Watched(Made):
        def __getitem__(self, index: int) -> Row:
            read.append(index)
            return super().__getitem__(index)

    wanted = plan(optimizer="muon")
    model, curve = trained(killed, kind, Watched(), wanted)
    assert read == list(range(read[0], STEPS * ROWS))  # from the batch that was trained on when the next was read
    assert read[0] in (2 * ROWS, 3 * ROWS)
    whole_model, whole_curve = trained(new_work(tmp_path / "whole"), kind, Made(), wanted)
    assert curve == whole_curve
    assert_equal_weights(model, whole_model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("done", [1, 3, 5])
def test_stopping_anywhere_changes_nothing(
    tmp_path: Path, kind: str, optimizer: str, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SAVING_SHARE", 1e9)
    wanted = plan(optimizer=optimizer)
    whole_model, whole_curve = trained(new_work(tmp_path / "whole"), kind, Made(), wanted)
    work = new_work(tmp_path / "stopped", save_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(work, kind, Made(done * ROWS + 2), wanted)
    model, curve = trained(work, kind, Made(), wanted)
    assert curve == whole_curve
    assert_equal_weights(model, whole_model)
    same, again = trained(work, kind, Made(0), wanted)  # a finished stage reads no row
    assert again == whole_curve
    assert_equal_weights(same, whole_model)


def test_checkpoints_take_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def slow(self: Checkpoints, curve: Curve) -> None:
        saved.append(curve.done)
        later_s.append(later_s[-1] + 3600.0)

    later_s, now_s = [0.0], checkpoint.time.monotonic
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now_s() + later_s[-1])
    monkeypatch.setattr(Checkpoints, "write", slow)
    trained(new_work(tmp_path / "slow", save_every_s=0.0), "llama", Made())
    assert saved == [1]
    later_s.append(0.0)
    trained(new_work(tmp_path / "never", save_every_s=3600.0), "llama", Made())
    assert saved == [1]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("micro", [1, 2])
def test_any_micro_batch_trains_the_same(tmp_path: Path, arch: str, micro: int) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    base = tiny_base(tmp_path, tokenizer, arch)
    curves: list[Any] = []
    for name, rows in (("whole", 0), ("split", micro)):
        work = new_work(tmp_path / name, micro_batch=rows)
        curves.append(fitted(work, load_model(base.path), Made(), plan(), lambda model: None))
    for one, two in zip(*(curve[1:] for curve in curves), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
        assert one["norm"] == pytest.approx(two["norm"], rel=1e-3)


@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_of_any_split_are_equal(tmp_path: Path, arch: str) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), arch)
    batch = [Made()[index] for index in range(5)]
    found = []
    for micro in (1, 2, 3, 5):
        model = load_model(base.path)
        total = NextToken("ab", micro).backward(model, batch, 1, ALONE)
        sums = torch.tensor([total.mean, *(loss for loss, _ in total.by_source.values())])
        found.append((sums, [p.grad for p in model.parameters()]))
    for sums, grads in found[1:]:
        torch.testing.assert_close(sums, found[0][0], atol=1e-5, rtol=1e-6)
        for grad, first in zip(grads, found[0][1], strict=True):
            torch.testing.assert_close(grad, first, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_loss_is_that_of_each_document_alone(tmp_path: Path, arch: str) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), arch)
    model = load_model(base.path)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)  # so that what a token sees matters
    total = count = 0.0
    for row in (Made()[index] for index in range(ROWS)):
        begins = [*np.flatnonzero(row.positions == 0).tolist(), T]
        for a, b in pairwise(begins):
            with torch.inference_mode():
                logp = model(torch.from_numpy(row.tokens[None, a:b])).logits[0].double().log_softmax(-1)
            total -= float((logp[range(b - a), row.tokens[a + 1 : b + 1]] * torch.from_numpy(row.weights[a:b])).sum())
        count += float(row.weights.sum())
    curve = fitted(new_work(tmp_path / "work"), model, Made(), plan(1), lambda model: None)
    assert curve[1]["loss"] == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path, kind: str) -> None:
    constant = Schedule("constant", 1e-2, 1e-2, 0, 100)
    model = tiny_model(kind)
    with pytest.raises(TrainError) as caught:
        fitted(new_work(tmp_path / "bad"), model, Made(2 * ROWS, "inf"), plan(4, schedule=constant))
    assert caught.value.what == "the loss is nan and the gradient norm nan"
    assert caught.value.at == "cap, optimizer step 3, rows 6 to 8"
    good, _ = trained(new_work(tmp_path / "good"), kind, Made(), plan(2, schedule=constant))
    assert_equal_weights(model, good)


def test_all_optimizers_use_the_planned_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[Any, list[set[float]]] = {torch.optim.AdamW: [], Muon: []}
    for kind in used:

        def watched(self: Any, *given: Any, step: Any = kind.step) -> Any:
            used[type(self)].append({group["lr"] for group in self.param_groups})
            return step(self, *given)

        monkeypatch.setattr(kind, "step", watched)
    _, curve = trained(new_work(tmp_path / "work"), "llama", Made(), plan(optimizer="muon"))
    planned = [plan().schedule.lr(number * ROWS * T) for number in range(1, STEPS + 1)]
    assert used == {kind: [{lr} for lr in planned] for kind in used}
    assert [entry["lr"] for entry in curve[1:]] == planned


def test_the_curve(tmp_path: Path) -> None:
    work = new_work(tmp_path / "work")
    model, curve = trained(work, "llama", Made(), plan(8))
    assert [entry["tokens"] for entry in curve] == [number * ROWS * T for number in range(9)]
    assert [number for number, entry in enumerate(curve) if "measure" in entry] == [0, 2, 4, 6, 8]
    assert curve[8]["measure"] == mean_weight(model)
    rows = [Made()[index] for index in range(ROWS)]
    by_source = curve[1]["by_source"]
    assert {name: found[1] for name, found in by_source.items()} == {
        name: sum(float(row.weights.sum()) for row in rows if row.source == name) for name in "ab"
    }
    total, count = (sum(found[part] for found in by_source.values()) for part in (0, 1))
    assert curve[1]["loss"] == pytest.approx(total / count, rel=1e-6)
    size = parameters(model)
    facts = to_json(facts_of(plan(8), Curve.from_json(curve, ""), size, size))
    tokens = 8 * ROWS * T
    assert facts == {
        "opt_steps": 8,
        "tokens": tokens,
        "loss": round(curve[8]["loss"], 6),
        "parameters": parameters(model),
        "flop": 6 * parameters(model) * tokens,
        "optimizer_state": "fresh",
    }
    long = Curve(EvalPoint({}), [Entry(n, float(n), 0.1, 1.0, {}) for n in range(1, 31)])
    assert facts_of(plan(30), long, size, size).loss == 29.0  # the mean of 28, 29, 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_batch_is_learned_by_heart(tmp_path: Path, kind: str, optimizer: str) -> None:
    class Same(Made):
        def __getitem__(self, index: int) -> Row:
            return super().__getitem__(index % ROWS)

    constant = Schedule("constant", 1e-2, 1e-2, 0, 10**6)
    wanted = plan(40, schedule=constant, optimizer=optimizer, weight_decay=0.0)
    _, curve = trained(new_work(tmp_path / "work"), kind, Same(), wanted)
    assert curve[1]["loss"] > 3
    assert curve[-1]["loss"] < 0.2 * curve[1]["loss"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradients_are_clipped_together(tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    model = tiny_model("llama")
    step = torch.optim.AdamW.step

    def watched(self: Any, *given: Any) -> Any:
        norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    wanted = plan(2, clip=0.25, optimizer=optimizer)
    curve = fitted(new_work(tmp_path / "work"), model, Made(), wanted)
    assert all(entry["norm"] > 0.25 for entry in curve[1:])
    assert norms == [pytest.approx(0.25, rel=1e-4)] * 2
    assert all(p.grad is None for p in model.parameters())  # no update's gradients are left for the next


def test_a_model_that_leaks_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurora_m.model.selftest.packing_leak", lambda model: 0.5)
    with pytest.raises(TrainError, match="packed documents see each other"):
        trained(new_work(tmp_path / "work"), "llama", Made(0))


def test_a_model_that_changes_its_logits_is_not_trained(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.lm_head.register_forward_hook(lambda module, args, logits: 2 * logits)
    with pytest.raises(TrainError, match="the logits are not the last states times the head"):
        fitted(new_work(tmp_path / "work"), model, Made(), plan())


def test_a_model_goes_to_the_runs_device(tmp_path: Path) -> None:
    model = start_model(new_work(tmp_path / "work"), tiny_model("llama"), "cap")
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize(("size", "device"), [(1, "meta"), (2, "cpu")])
def test_a_model_that_will_be_divided_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, device: str
) -> None:
    monkeypatch.setattr(trainable, "device_of", lambda _: torch.device("meta"))
    team = RankCoordinator(HashStore(), 0, size)
    work = new_work(tmp_path / "work", team=team)
    assert start_model(work, tiny_model("llama"), "cap").device == torch.device(device)
