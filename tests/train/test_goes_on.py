"""What goes on from step to step beside weights: guards, averages, optimizer states, budgets; all resume exactly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import KINDS, VOCAB, new_work, tiny_model, training

from aurora_m.core.errors import TrainError, Waiting
from aurora_m.core.facts import to_json
from aurora_m.core.step import Work
from aurora_m.tokens.rows import Row
from aurora_m.train import checkpoint, guard
from aurora_m.train.average import averages, moving
from aurora_m.train.budget import Budget
from aurora_m.train.checkpoint import Checkpoints
from aurora_m.train.curve import Curve, EvalPoint, Rewind
from aurora_m.train.loop import fit
from aurora_m.train.monitor import Monitor
from aurora_m.train.objectives.next_token import NextToken
from aurora_m.train.optim import optimizers
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import Schedule

T, ROWS, STEPS = 12, 3, 32
OPTIMIZERS = ("adamw", "muon")
BAD = (22, 24, 25)  # steps, after enough good ones
CONSTANT = Schedule("constant", 2e-3, 2e-3, 0, 10**9)


class Made:
    """Rows made from their index; at one of them, something happens."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at

    def __getitem__(self, index: int) -> Row:
        if index == self.stop_at:
            raise KeyboardInterrupt
        tokens = np.random.default_rng(index).integers(0, VOCAB, T + 1)
        return Row(tokens, np.arange(T), np.ones(T, np.float32), "ab"[index % 2], 0)


class Learnable:
    """The same few rows again and again, but at some steps noise, or nothing finite; at one row, something happens."""

    def __init__(self, noise: tuple[int, ...] = (), nothing: tuple[int, ...] = (), stop_at: int = -1) -> None:
        self.noise, self.nothing, self.stop_at = noise, nothing, stop_at
        self.read: list[int] = []

    def __getitem__(self, index: int) -> Row:
        self.read.append(index)
        if index == self.stop_at:
            raise KeyboardInterrupt
        step = index // ROWS + 1
        random = np.random.default_rng(1000 + index if step in self.noise else index % ROWS)
        weights = np.full(T, np.inf if step in self.nothing else 1.0, np.float32)
        return Row(random.integers(0, VOCAB, T + 1), np.arange(T), weights, "ab"[index % 2], 0)


def plan(opt_steps: int, **changes: Any) -> Plan:
    schedule = Schedule("cosine", 1e-2, 1e-3, 2 * ROWS * T, opt_steps * ROWS * T)
    of_plan = {key: changes.pop(key) for key in ("schedule", "reuse", "keep") if key in changes}
    return Plan(training(T, ROWS, **changes), 5, opt_steps, **{"schedule": schedule, **of_plan})


def mean_weight(model: Any) -> float:
    return float(next(model.parameters()).detach().double().mean())


def assert_equal_weights(one: Any, two: Any) -> None:
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes that a tiny model shows after a few steps, and checkpoints as often as they are asked for."""
    for name, value in (("FLOOR", 0.1), ("WINDOW", 8), ("LEAST", 8)):
        monkeypatch.setattr(guard, name, value)
    monkeypatch.setattr(checkpoint, "SAVING_SHARE", 1e9)


def long(action: str, **changes: Any) -> Plan:
    return plan(STEPS, **{"schedule": CONSTANT, "guard": action, "spike": 4.0, **changes})


def fitted(
    work: Work, model: Any, rows: Any, wanted: Plan, measure: Any = mean_weight, budget: Any = None, name: str = "cap"
) -> list[Any]:
    """The curve, line by line."""
    monitor = Monitor(measure, budget or Budget())
    return fit(work, name, model, rows, wanted, NextToken(("a", "b", "replay")), monitor).to_json()


def run(folder: Path, rows: Any, wanted: Plan, kind: str = "llama", saves: bool = True, **more: Any) -> Any:
    """A model and its curve, trained in a new place or, where there is one, in the same."""
    model = tiny_model(kind)
    place = folder / "out"
    every_s = 0.0 if saves else 3600.0
    work = work_of(folder, every_s) if place.exists() else new_work(folder, save_every_s=every_s)
    return model, fitted(work, model, rows, wanted, **more)


def work_of(folder: Path, every_s: float) -> Work:
    new = new_work(folder / "again", save_every_s=every_s)
    return replace(new, out=folder / "out", scratch=folder / "scratch")


def kinds_of(curve: list[Any], key: str) -> dict[int, str]:
    return {n: entry[key] for n, entry in enumerate(curve) if key in entry}


# --- skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_row_is_skipped_with_its_batch_and_named(tmp_path: Path, kind: str) -> None:
    model, curve = run(tmp_path / "bad", Learnable((), (3, 24)), long("skip"), kind)
    assert kinds_of(curve, "skipped") == {3: "not finite", 24: "not finite"}
    assert curve[3]["rows"] == [2 * ROWS, 3 * ROWS - 1]
    assert curve[3]["found"] == "loss nan, gradient norm nan"
    json.dumps(curve, allow_nan=False)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_a_skipped_step_leaves_weights_and_states_as_they_were(tmp_path: Path) -> None:
    skipped, _ = run(tmp_path / "skipped", Learnable((), (5,)), replace(long("skip"), opt_steps=5, keep=True))
    before, _ = run(tmp_path / "before", Learnable(), replace(long("skip"), opt_steps=4, keep=True))
    assert_equal_weights(skipped, before)
    states = [(tmp_path / name / "out/optimizer.states").read_bytes() for name in ("skipped", "before")]
    assert states[0] == states[1]


def test_a_spike_is_skipped_and_a_stop_knows_none(tmp_path: Path) -> None:
    _, curve = run(tmp_path / "skip", Learnable(BAD), long("skip"))
    assert set(kinds_of(curve, "skipped")) == {*BAD}
    assert {*kinds_of(curve, "skipped").values()} <= {"loss", "norm"}
    _, stopped = run(tmp_path / "stop", Learnable(BAD), long("stop"))
    assert not kinds_of(stopped, "skipped")
    assert [set(entry) for entry in stopped] == [set(entry) - {"spike"} for entry in stopped]


# --- rewind


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("saves", [True, False])
def test_a_rewind_is_a_run_that_passed_over_these_steps_from_the_start(
    tmp_path: Path, optimizer: str, saves: bool
) -> None:
    wanted = long("rewind", optimizer=optimizer, ema=0.8)
    rows = Learnable(BAD)
    model, curve = run(tmp_path / "rewound", rows, wanted, saves=saves)
    assert curve[0]["passed_over"] == [*BAD]
    assert curve[0]["rewinds"] == 1
    assert kinds_of(curve, "skipped") == dict.fromkeys(BAD, "passed over")
    assert [entry["tokens"] for entry in curve] == [n * ROWS * T for n in range(STEPS + 1)]
    assert rows.read.count(22 * ROWS) == 2  # from the last checkpoint before the first bad step on
    assert rows.read.count(20 * ROWS) == (1 if saves else 2)
    other, place = tiny_model("llama"), new_work(tmp_path / "passed", save_every_s=3600.0)
    updates = [*optimizers(other, optimizer, 0.1, 0.95), *averages(other.parameters(), moving(0.8))]
    start: Any = EvalPoint(mean_weight(other))  # type: ignore[arg-type]
    Checkpoints(place.scratch, other, updates).save(Curve(start, [], Rewind(BAD, 1)))
    assert fitted(place, other, Learnable(BAD), wanted) == curve
    assert_equal_weights(model, other)


def test_a_run_that_is_killed_after_its_rewind_still_passes_over(tmp_path: Path) -> None:
    whole, curve = run(tmp_path / "whole", Learnable(BAD), long("rewind"))
    rows = Learnable(BAD, stop_at=27 * ROWS)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", rows, long("rewind"))
    model, again = run(tmp_path / "killed", Learnable(BAD), long("rewind"))
    assert again == curve
    assert_equal_weights(model, whole)


def test_a_lone_spike_is_trained_on_and_named(tmp_path: Path) -> None:
    model, curve = run(tmp_path / "one", Learnable(BAD[:1]), long("rewind"))
    plain, others = run(tmp_path / "two", Learnable(BAD[:1]), long("stop"))
    assert [*kinds_of(curve, "spike")] == [22]
    assert curve[22]["rows"] == [21 * ROWS, 22 * ROWS - 1]
    assert [entry.get("loss") for entry in curve] == [entry.get("loss") for entry in others]
    assert_equal_weights(model, plain)


def test_a_loss_that_never_comes_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REWINDS", 2)
    with pytest.raises(TrainError, match="was rewound 2 times and would be again"):
        run(tmp_path, Learnable(tuple(range(20, STEPS + 1))), long("rewind"))


# --- averages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("done", [1, 3, 5])
def test_averages_and_guards_resume_bit_for_bit(tmp_path: Path, kind: str, optimizer: str, done: int) -> None:
    wanted = plan(6, optimizer=optimizer, ema=0.7, guard="rewind")
    whole, curve = run(tmp_path / "whole", Made(), wanted, kind)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Made(done * ROWS + 1), wanted, kind)
    model, again = run(tmp_path / "stopped", Made(), wanted, kind)
    assert again == curve
    assert_equal_weights(model, whole)


def test_the_model_is_the_average_and_so_is_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, step, seen = tiny_model("llama"), torch.optim.AdamW.step, list[dict[str, torch.Tensor]]()

    def watched(self: Any, *given: Any) -> None:
        step(self, *given)
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    curve = fitted(new_work(tmp_path), model, Made(), plan(5, ema=0.6))
    assert len(seen) == 5
    average = seen[0]
    for weights in seen[1:]:
        average = {name: 0.6 * average[name] + 0.4 * weights[name] for name in average}
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), average[name], rtol=1e-5, atol=1e-6)
    assert curve[-1]["measure"] == mean_weight(model)


# --- optimizer states


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_stage_that_reuses_the_state_is_the_same_stage_gone_on(tmp_path: Path, optimizer: str) -> None:
    """And one that lost the state is another: its first update is several times as large."""

    class Later:
        def __getitem__(self, index: int) -> Row:
            return Made()[index + 20 * ROWS]

    def moved(model: Any, before: dict[str, Any]) -> float:
        return float(torch.cat([(p.detach() - before[name]).flatten() for name, p in model.named_parameters()]).norm())

    wanted = long("stop", optimizer=optimizer)
    whole, _ = run(tmp_path / "whole", Made(), replace(wanted, opt_steps=21))
    first, _ = run(tmp_path / "first", Made(), replace(wanted, opt_steps=20, keep=True))
    before = {name: p.detach().clone() for name, p in first.named_parameters()}
    models = {}
    for name, reuse in (("carried", tmp_path / "first/out"), ("lost", None)):
        models[name] = tiny_model("llama")
        models[name].load_state_dict(before)
        one = replace(wanted, opt_steps=1, reuse=reuse)
        fitted(new_work(tmp_path / name), models[name], Later(), one, name="cat")
    assert_equal_weights(models["carried"], whole)
    ratio = moved(models["lost"], before) / moved(models["carried"], before)
    assert ratio > {"adamw": 3.0, "muon": 1.5}[optimizer]


def test_the_log_says_which_state_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, reuse in (("first", None), ("second", tmp_path / "first/out")):
        work = new_work(tmp_path / name)
        work.log.quiet = False
        fitted(work, tiny_model("llama"), Made(), plan(2, reuse=reuse, keep=True), name=name)
    said = capsys.readouterr().err
    assert "first: optimizer state fresh" in said
    assert "second: optimizer state reused" in said


# --- learning rates


def test_a_rate_that_is_not_the_plans_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = torch.optim.AdamW.step

    def doubled(self: Any, *given: Any) -> Any:
        for group in self.param_groups:
            group["lr"] *= 2
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", doubled)
    with pytest.raises(TrainError, match=r"AdamW uses the learning rate 0\.01, and the plan is 0\.005") as caught:
        run(tmp_path, Made(), plan(6))
    assert caught.value.at == "cap, optimizer step 1, rows 0 to 2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_far_too_high_rate_stops_the_stage_and_a_high_one_does_not(tmp_path: Path, kind: str, optimizer: str) -> None:
    schedule = Schedule("cosine", 10.0, 1.0, 2 * ROWS * T, 48 * ROWS * T)
    place = tmp_path / "wild"
    with pytest.raises(
        TrainError, match=r"the loss runs away: it was 5\.\d+, and is \d+ at a learning rate of 9"
    ) as first:
        run(place, Learnable(), plan(48, schedule=schedule, optimizer=optimizer), kind)
    with pytest.raises(TrainError) as again:  # from its checkpoint
        fitted(work_of(place, 0.0), tiny_model(kind), Learnable(), plan(48, schedule=schedule, optimizer=optimizer))
    assert str(again.value) == str(first.value)
    _, curve = run(tmp_path / "tame", Learnable(), plan(48, optimizer=optimizer), kind)
    assert curve[-1]["loss"] < curve[1]["loss"] / 4


# --- budgets


def en(values: list[float]) -> Any:
    """A measure that gives these bits per byte, one mark after another."""
    given = iter(values)
    return lambda model: {"en": next(given)}


def test_a_pause_keeps_its_checkpoint_and_going_on_changes_nothing(tmp_path: Path) -> None:
    wanted, bits = plan(8), [1.0, 1.01, 1.2, 1.01, 1.3]
    warned, asked = (Budget(0.1, action, {"en": 1.0}) for action in ("warn", "pause"))
    model = tiny_model("llama")
    whole = fitted(new_work(tmp_path / "whole"), model, Made(), wanted, en(bits), budget=warned)
    work = new_work(tmp_path / "paused", save_every_s=3600.0)
    with pytest.raises(Waiting, match=r"`en` \+20\.0%"):
        fitted(work, tiny_model("llama"), Made(), wanted, en(bits), budget=asked)
    with pytest.raises(Waiting) as caught:  # the same command waits at the same place, and trains nothing
        fitted(work, tiny_model("llama"), Made(0), wanted, en([]), budget=asked)
    assert caught.value.at == f"cap, after {4 * ROWS * T} tokens"
    other = tiny_model("llama")
    assert fitted(work, other, Made(), wanted, en(bits[3:]), budget=warned) == whole
    assert_equal_weights(model, other)


@pytest.mark.parametrize("saves", [True, False])
def test_a_raise_reads_more_replay_from_its_mark_on_and_resumes(tmp_path: Path, saves: bool) -> None:
    class Replay:
        def __getitem__(self, index: int) -> Row:
            replayed.append(index)
            return Made()[index + 500]._replace(source="replay")

    wanted, bits = plan(20), [1.0, 1.2, 1.0, 1.2, 1.0]
    replayed: list[int] = []
    budget = Budget(0.1, "raise", {"en": 1.0}, Replay())
    model = tiny_model("llama")
    whole = fitted(new_work(tmp_path / "whole"), model, Made(), wanted, en(bits), budget=budget)
    assert kinds_of(whole, "raised") == {5: 0.1, 15: 0.2}
    count = [
        sum(targets for source, (_, targets) in entry.get("by_source", {}).items() if source == "replay")
        for entry in whole
    ]
    assert [n for n, targets in enumerate(count) if targets] == [9, 12, 15, 17, 19, 20]
    assert sorted(set(replayed)) == list(range(3 + 3))
    assert to_json(budget.facts(Curve.from_json(whole, ""), 60, ROWS).raised) == {"rows": 6, "share": 0.1}
    work = new_work(tmp_path / "stopped", save_every_s=0.0 if saves else 3600.0)
    with pytest.raises(KeyboardInterrupt):
        fitted(work, tiny_model("llama"), Made(13 * ROWS), wanted, en(bits), budget=budget)
    other = tiny_model("llama")
    assert fitted(work, other, Made(), wanted, en(bits[3:] if saves else bits), budget=budget) == whole
    assert_equal_weights(model, other)
