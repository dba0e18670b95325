"""Training over several real processes: the same curve as one process, from the same checkpoints, across a kill."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from processes import plain_model, plan, start, trained
from safetensors.torch import load_file
from tiny import KINDS, new_work, tiny_model

from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.step import Runtime
from aurora_m.model import shard
from aurora_m.model.selftest import check_isolation
from aurora_m.train import precision
from aurora_m.train.world import ParallelLayout, _mesh

CLOSE = 1e-5
LONGEST_S = 300.0  # on a busy machine


def ran(count: int, folder: Path, what: str, code: int = 0) -> None:
    """Start processes that do something, and wait for them."""
    started = start(count, folder, what)
    try:
        for process in started:
            _, said = process.communicate(timeout=LONGEST_S)
            assert process.returncode == code, said[-4000:]
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes, then two, then two again made, and one process."""
    folder = tmp_path_factory.mktemp("made")
    ran(4, folder, "four")
    for kind in KINDS:
        processes.interrupted(folder / f"{kind}_from_1", kind)
        for count in (1, 2):
            shutil.copytree(folder / f"{kind}_half", folder / f"{kind}_on_{count}")
    ran(2, folder, "two", -signal.SIGKILL)
    ran(2, folder, "stopped", 128 + signal.SIGTERM)
    ran(2, folder, "again")
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The curves of one process."""
    folder = tmp_path_factory.mktemp("alone")
    muon = {"wanted": plan(optimizer="muon", ema=0.9, keep=True)}
    found = {kind: trained(folder / kind, kind)[1] for kind in KINDS}
    found["held"] = trained(folder / "held", "llama", held=True)[1]
    return {**found, "muon": trained(folder / "muon", "llama", **muon)[1], "folder": [folder]}


def curve(folder: Path, name: str) -> list[Any]:
    found: list[Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def assert_close(one: list[Any], two: list[Any], within: float = CLOSE) -> None:
    assert len(one) == len(two)
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=within)
        assert a["norm"] == pytest.approx(b["norm"], rel=100 * within)
        assert {name: count for name, (_, count) in a["by_source"].items()} == {
            name: count for name, (_, count) in b["by_source"].items()
        }
    for a, b in zip(one, two, strict=True):
        assert a.get("measure", 0.0) == pytest.approx(b.get("measure", 0.0), abs=within)


def assert_same(folder: Path, one: str, two: str) -> None:
    assert curve(folder, one) == curve(folder, two)
    weights, others = (torch.load(folder / f"{name}.pt") for name in (one, two))
    assert all(torch.equal(weights[name], others[name]) for name in others)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["4", "2", "2x2"])
def test_any_number_of_processes_trains_the_same(made: Path, alone: dict[str, list[Any]], kind: str, how: str) -> None:
    assert_close(curve(made, f"{kind}_{how}"), alone[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_four_goes_on_in_two_and_one(made: Path, alone: dict[str, list[Any]], kind: str) -> None:
    assert_close(curve(made, f"{kind}_on_2"), alone[kind])
    half = curve(made, f"{kind}_on_2")[: processes.HALF + 1]
    assert half == curve(made, f"{kind}_4")[: processes.HALF + 1], "its first half was read, not trained again"
    _, on_1 = trained(made / f"{kind}_on_1", kind, micro_batch=2)
    assert on_1[: processes.HALF + 1] == half
    assert_close(on_1, alone[kind])
    assert_close(curve(made, f"{kind}_from_1"), alone[kind])


def test_replicas_add_up_gradients_once_a_step_however_many_passes(made: Path, alone: dict[str, list[Any]]) -> None:
    for name in ("replicas_0", "replicas_1"):
        assert_close(curve(made, name), alone["held"])
    for rank in (0, 1):
        once, parts = json.loads((made / f"calls_{rank}.json").read_text())
        assert once == parts > 0


def test_divided_matrices_train_the_same(made: Path, alone: dict[str, list[Any]]) -> None:
    assert_close(curve(made, "tensor_2"), alone["llama"])
    on_2 = made / "tensor_half"  # half by two groups of two
    assert_close(trained(on_2, "llama")[1], alone["llama"])


@pytest.mark.parametrize("name", ["muon_4", "muon_2x2t"])
def test_muon_sees_whole_matrices(made: Path, alone: dict[str, list[Any]], name: str) -> None:
    assert_close(curve(made, name), alone["muon"])
    states, wanted = (
        load_file(folder / "out/optimizer.states") for folder in (made / name, alone["folder"][0] / "muon")
    )
    assert list(states) == list(wanted)
    for name, state in wanted.items():
        torch.testing.assert_close(states[name], state, atol=1e-5, rtol=1e-4)


def test_anchors_hold_the_same(made: Path, alone: dict[str, list[Any]]) -> None:
    assert_close(curve(made, "held_2"), alone["held"])
    for one, two in zip(curve(made, "held_2")[1:], alone["held"][1:], strict=True):
        assert one["anchor"] == pytest.approx(two["anchor"], rel=1e-4)
        assert one["anchor"]["kl"] > 1e-3


def test_a_kill_in_the_middle_changes_no_bit(made: Path) -> None:
    assert_same(made, "killed", "whole")


def test_a_stop_that_one_process_is_asked_for_saves_what_all_have(made: Path) -> None:
    assert_same(made, "stopped", "whole")


def test_activations_made_again_change_no_bit(made: Path) -> None:
    assert_same(made, "recomputed_2", "llama_2")


def test_bf16_computes_and_float32_learns(made: Path, alone: dict[str, list[Any]]) -> None:
    found, wanted = curve(made, "bf16_2"), alone["llama"]
    assert_close(found, wanted, 0.05)
    assert all(abs(a["loss"] - b["loss"]) > 1e-6 for a, b in zip(found[1:], wanted[1:], strict=True))
    weights = torch.load(made / "bf16_2.pt")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert any(not torch.equal(value, value.bfloat16().float()) for value in weights.values())


def laid_out(kind: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    return shard.lay_out(plain_model(kind), _mesh("cpu", (1, 1, 1)), dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_what_bf16_must_not_touch(kind: str) -> None:
    """Angles of positions and token weights would be rounded, and gradients lost, silently."""
    net = laid_out(kind)
    seen: dict[str, torch.dtype] = {}
    for name, module in net.named_modules():
        if name.endswith(("rotary_emb", "wpe")):
            module.register_forward_hook(lambda module, args, out: seen.update(out=torch.as_tensor(out[0]).dtype))
    weights_BT = torch.full((1, 8), 1 / 3)
    tokens_BT = torch.arange(8)[None]
    hidden = net.base_model if kind == "bigcode" else net.model

    def total() -> torch.Tensor:
        states = hidden(tokens_BT, use_cache=False).last_hidden_state
        seen.update(states=states.dtype, head=net.get_output_embeddings().weight.dtype, weights=weights_BT.dtype)
        return (states.float().sum(-1) * weights_BT).sum()

    shard.call_unsharded(net, total).backward()
    assert seen["states"] == seen["head"] == torch.bfloat16
    assert seen["weights"] == torch.float32
    if kind == "llama":
        assert net.model.rotary_emb.inv_freq.dtype == torch.float32
    assert (
        {p.dtype for p in net.parameters()}
        == {p.grad.dtype for p in net.parameters() if p.grad is not None}
        == {torch.float32}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_a_root_and_nothing_else(kind: str) -> None:
    net = laid_out(kind, torch.float32)
    units = [name for name, module in net.named_modules() if isinstance(module, shard.FSDPModule)]
    assert units == ["", *(f"{'model.layers' if kind == 'llama' else 'transformer.h'}.{number}" for number in (0, 1))]
    tied = net.get_input_embeddings().weight is net.get_output_embeddings().weight
    assert tied == (kind == "bigcode")
    assert check_isolation(net) == 0.0
    assert all(isinstance(p, shard.DTensor) for p in net.parameters()), "a pass without a way back lets go"


def test_units_that_are_not_as_planned_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shard.blocks
    monkeypatch.setattr(shard, "blocks", lambda model: [*found(model), model.lm_head])
    laid = shard.fully_shard
    monkeypatch.setattr(
        shard, "fully_shard", lambda unit, **how: None if unit.__class__.__name__ == "Linear" else laid(unit, **how)
    )
    with pytest.raises(TrainError, match="the model is in 3 parts with 0 weights left whole, not in 4"):
        laid_out("llama")


def test_a_model_without_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.config.num_hidden_layers = 3
    with pytest.raises(TrainError, match="the model has no list of 3 blocks"):
        shard.blocks(model)


def test_no_plan_for_divided_matrices_is_refused() -> None:
    with pytest.raises(TrainError, match="the model has no plan for tensor parallelism") as caught:
        shard._tensor_plan(tiny_model("bigcode"), 2)
    assert caught.value.hint == "leave --tensor-parallel out"
    with pytest.raises(TrainError, match="num_key_value_heads = 2, not a multiple of 4"):
        shard._tensor_plan(tiny_model("llama"), 4)
    strange = tiny_model("llama")
    strange.config.base_model_tp_plan = {"layers.*.self_attn.q_proj": "colwise", "norm": "sequence_parallel"}
    with pytest.raises(TrainError, match="has a plan of `sequence_parallel`"):
        shard._tensor_plan(strange, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_go_and_come_back(kind: str) -> None:
    model, kept = tiny_model(kind), tiny_model(kind).state_dict()
    net = shard.take_weights(model)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    shard.gather_into(model, shard.lay_out(net, _mesh("cpu", (1, 1, 1)), torch.float32), first=True)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == (kind == "bigcode")


def test_one_process_in_float32_keeps_its_model_whole() -> None:
    model, runtime = tiny_model("llama"), Runtime(Path(), device="cpu")
    world = precision.place(runtime)
    assert world == ParallelLayout()
    assert precision.prepared(model, runtime, world) is model


@pytest.mark.parametrize(("how", "at"), [({"precision": "fp8"}, "--precision fp8"), ({"compile": True}, "--compile")])
def test_what_needs_a_gpu_says_so(tmp_path: Path, how: dict[str, Any], at: str) -> None:
    with pytest.raises(RecipeError, match="needs a GPU") as caught:
        processes.fitted(new_work(tmp_path / "work", **how), tiny_model("llama"), processes.Made(), plan(), [])
    assert caught.value.at == at
