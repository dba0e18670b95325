"""Estimates: the published run's figures, and what models and optimizers really hold."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import training
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM, LlamaConfig, LlamaForCausalLM

from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import write_json
from aurora_m.core.run import PlanEntry, plan
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store
from aurora_m.core.typed import Count
from aurora_m.foresight.devices import KINDS, Machines
from aurora_m.foresight.estimate import Estimate, estimates, memory, trained
from aurora_m.graph.build import GOALS, build
from aurora_m.model.shape import Shape, shape_of
from aurora_m.recipe import Anchor, Base, Extend, Lora, Recipe, load
from aurora_m.recipe import Shape as Said
from aurora_m.train.loss import head_loss
from aurora_m.train.optim import optimizers
from aurora_m.train.plan import Plan

RECIPES = Path(__file__).parents[2] / "recipes"
LUMI = Machines("mi250x", 128, recompute="blocks")


def rows_of(recipe: Recipe, folder: Path) -> list[PlanEntry]:
    """The plan of a recipe in an empty folder with an empty store."""
    steps = build(recipe, folder)
    return plan([steps[name] for name in GOALS], Store(folder / "store"))


def costs(recipe: Recipe, folder: Path, machines: Machines = Machines()) -> Mapping[str, Any]:  # noqa: B008
    return estimates(rows_of(recipe, folder), machines, folder)


# --- the published run


def test_the_run_of_aurora_m_costs_what_is_known_of_it(tmp_path: Path) -> None:
    found = costs(load(RECIPES / "aurora_m.toml"), tmp_path, LUMI)
    assert list(found) == ["cap", "cat"]
    cap, cat = found["cap"], found["cat"]
    assert (cap.opt_steps, cat.opt_steps) == (90_000, 13_900)
    assert cap.rows == 90_000 * 2048
    assert cap.parameters == cap.trained == 15_517_456_384
    assert cap.tokens / 1e9 == pytest.approx(377.5, abs=0.05)
    assert cat.tokens / 1e9 == pytest.approx(58.3, abs=0.05)
    assert (cap.tokens + cat.tokens) / 1e9 == pytest.approx(435.8, abs=0.05)
    assert cap.flop + cat.flop == pytest.approx(4.05e22, rel=0.005)
    assert cap.flop == 6 * cap.parameters * cap.tokens
    assert cap.attention_flop == 12 * 40 * 6144 * 2048 * cap.tokens
    assert (cap.seconds + cat.seconds) / 86400 == pytest.approx(48, abs=0.5)
    assert LUMI.flop_s / 1e12 == pytest.approx(76, abs=1)
    assert cap.memory["optimizer"] == 8 * cap.parameters // 128
    assert cap.memory["activations"] == 16 * 2048 * 2 * 6144 * 40
    assert cap.memory_bytes < 64 * 2**30  # half a module, which torch sees as a device
    assert cap.fits


def test_its_learning_rate_is_one_cosine_through_both_stages() -> None:
    recipe = load(RECIPES / "aurora_m.toml")
    step = 2048 * 2048
    first = Plan.of(recipe.stage[0].settings(), 1, 90_000 * 2048).schedule
    assert first.lr(2_000 * step) == pytest.approx(1e-4)
    assert first.lr(1_000 * step) == pytest.approx(5e-5)
    assert first.lr(90_000 * step) == pytest.approx(2.36e-5, rel=0.01)
    assert first.lr(120_000 * step) == pytest.approx(1e-5)
    size = {"opt_steps": 90_000, "tokens": 90_000 * step, "parameters": 1, "flop": 1}
    done = Artifact(Path(), "", {**size, "optimizer_state": "fresh"})
    second = Plan.of(recipe.stage[1].settings(), 1, 13_900 * 2048, done).schedule
    assert second.lr(0) == pytest.approx(first.lr(90_000 * step))
    assert second.lr(13_900 * step) == pytest.approx(1.41e-5, rel=0.01)


def test_it_can_be_planned_without_a_file_of_it(tmp_path: Path) -> None:
    rows = {row.step.name: row for row in rows_of(load(RECIPES / "aurora_m.toml"), tmp_path)}
    assert rows["fetch.fi"].state == rows["base"].state == "wait"
    assert rows["fetch.fi"].why == "no file matches `data/fi/**/*.parquet`"
    assert rows["items"].state == "run"
    assert not (tmp_path / "store").exists()


# --- shapes


def test_the_tiny_recipe(tmp_path: Path) -> None:
    found = costs(load(RECIPES / "tiny.toml"), tmp_path)
    assert list(found) == ["base", "cap", "cat", "safe"]
    assert (found["base"].opt_steps, found["base"].tokens) == (195, 195 * 1024)
    assert found["base"].parameters == Shape("llama", 3, 128, 4, 2, 512, 6144, 352).parameters
    assert found["safe"].opt_steps is found["safe"].seconds is None
    assert found["safe"].memory_bytes > 0


def small(tmp_path: Path, **base: Any) -> Recipe:
    tiny = load(RECIPES / "tiny.toml")
    return replace(tiny, base=Base(**base), stage=tiny.stage[1:])


def test_a_base_that_is_not_there_has_no_known_cost(tmp_path: Path) -> None:
    found = costs(small(tmp_path, model="hf:a/b", revision="0" * 40), tmp_path)
    assert set(found.values()) == {"unknown until the base is there; a table [base.shape] would say it"}


def test_the_shape_of_a_folder_is_read(tmp_path: Path) -> None:
    config = LlamaConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=4, vocab_size=100)
    (tmp_path / "mine").mkdir()
    config.save_pretrained(tmp_path / "mine")
    found = costs(small(tmp_path, model="file:mine"), tmp_path)
    shape = shape_of(config.to_dict())
    assert shape is not None
    assert found["cap"].parameters == found["cat"].parameters == shape.parameters
    write_json(tmp_path / "mine" / "config.json", {"model_type": "qwen3"})
    assert costs(small(tmp_path, model="file:mine"), tmp_path)["cap"] == "unknown: `qwen3` models are not estimated"


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "llama"}', '{"model_type": "llama", "hidden_size": "x"}'])
def test_a_config_that_says_no_shape_is_told_in_the_plan(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(text)
    with pytest.raises(DataError) as caught:
        costs(small(tmp_path, model="file:mine"), tmp_path)
    assert "config.json" in f"{caught.value.what} {caught.value.at}"


def test_new_tokens_are_weights_too(tmp_path: Path) -> None:
    shape = Said("llama", 2, 64, 4, 2, Count(512), Count(1000))
    before = costs(small(tmp_path, model="file:mine", shape=shape), tmp_path)["cap"]
    more = Extend(Count(50), ("fi",))
    after = costs(small(tmp_path, model="file:mine", shape=shape, extend=more), tmp_path)["cap"]
    assert after.parameters == before.parameters + 50 * 64


def test_a_model_that_is_there_is_looked_at_and_no_estimate_is_made_of_what_is_done(tmp_path: Path) -> None:
    rows = rows_of(load(RECIPES / "tiny.toml"), tmp_path)
    small = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    LlamaConfig(vocab_size=60, **small).save_pretrained(tmp_path)
    done = Artifact(tmp_path, "0" * 64, {})
    rows = [replace(row, state="have", artifact=done) if row.step.name in ("base", "init") else row for row in rows]
    found = estimates(rows, Machines(), tmp_path)
    assert list(found) == ["cap", "cat", "safe"]
    cap = found["cap"]
    assert isinstance(cap, Estimate)
    assert cap.parameters == Shape("llama", 1, 32, 2, 2, 2048, 60, 64, False).parameters


SHAPE = Shape("llama", 4, 64, 4, 2, 128, 100, 192)


def test_what_learns() -> None:
    assert trained(SHAPE, training(64, 1)) == SHAPE.parameters
    assert trained(SHAPE, training(64, 1, lora=Lora(8))) == 8 * 4 * SHAPE.block_edges
    assert trained(SHAPE, training(64, 1, expand=2)) == 2 * SHAPE.block_parameters
    assert trained(SHAPE, training(64, 1, expand=2, train=("*",))) == SHAPE.parameters


def test_rows_of_new_tokens_learn_beside_adapters_and_new_blocks(tmp_path: Path) -> None:
    shape = Said("llama", 2, 64, 4, 2, Count(512), Count(1000))
    for more, rows in ((None, 0), (Extend(Count(50), ("fi",)), 1050 * 64)):
        recipe = small(tmp_path, model="file:mine", shape=shape, extend=more)
        for how in ({"lora": Lora(8)}, {"expand": 1}):
            stages = tuple(replace(stage, **how) if stage.name == "cap" else stage for stage in recipe.stage)
            cap = costs(replace(recipe, stage=stages), tmp_path)["cap"]
            of_how = 8 * 2 * Shape("llama", 2, 64, 4, 2, 512, 1000, 192).block_edges
            block = Shape("llama", 2, 64, 4, 2, 512, 1000, 192).block_parameters
            assert cap.trained == (of_how if "lora" in how else block) + rows
            assert cap.memory["gradients"] == 4 * cap.trained


def test_grown_blocks_stay_and_only_they_learn(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")
    before = costs(tiny, tmp_path)
    stages = tuple(replace(stage, expand=1) if stage.name == "cap" else stage for stage in tiny.stage)
    after = costs(replace(tiny, stage=stages), tmp_path)
    block = Shape("llama", 3, 128, 4, 2, 512, 6144, 352).block_parameters
    assert after["base"] == before["base"]
    assert (after["cap"].trained, after["cap"].parameters) == (block, before["cap"].parameters + block)
    assert after["cap"].flop == (4 * after["cap"].parameters + 2 * block) * after["cap"].tokens
    assert after["cat"].trained == after["cat"].parameters == before["cat"].parameters + block


def test_an_anchor_reads_rows_of_its_own_with_a_second_model(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")
    before = costs(tiny, tmp_path)["cap"]
    held = Anchor(kl=0.1, mixture="base", batch_tokens=Count(512))
    stages = tuple(replace(stage, anchor=held) if stage.name == "cap" else stage for stage in tiny.stage)
    after = costs(replace(tiny, stage=stages), tmp_path)["cap"]
    assert after.flop == before.flop + 8 * before.parameters * 512 * before.opt_steps
    assert after.memory["anchor"] == 4 * before.parameters


# --- memory


def model_of(shape: Shape) -> Any:
    torch.manual_seed(1)
    ends = {"vocab_size": shape.vocab, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}
    if shape.arch == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=shape.width, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
                max_position_embeddings=shape.positions, **ends,
            )
        )  # fmt: skip
    drops = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    return GPTBigCodeForCausalLM(
        GPTBigCodeConfig(
            n_embd=shape.width, n_inner=shape.inner, n_layer=shape.layers, n_head=shape.heads,
            n_positions=shape.positions, **drops, **ends,
        )
    )  # fmt: skip


def steps(model: Any, updates: list[torch.optim.Optimizer], rows: int, row_tokens: int, count: int) -> None:
    """Optimizer steps as the loop makes them."""
    for _ in range(count):
        tokens = torch.randint(0, model.config.vocab_size, (rows, row_tokens + 1))
        positions = torch.arange(row_tokens).repeat(rows, 1) % (row_tokens // 2)
        hidden = model.base_model(tokens[:, :-1], position_ids=positions, use_cache=False).last_hidden_state
        head, weights = model.get_output_embeddings().weight, torch.ones(rows * row_tokens)
        total, _ = head_loss(hidden.flatten(0, 1), head, tokens[:, 1:].flatten(), weights)
        del hidden
        (total / len(weights)).backward()
        del total
        for optimizer in updates:
            optimizer.step()
        model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("arch", ["llama", "gpt_bigcode"])
def test_weights_and_optimizer_states_are_counted_to_the_byte(arch: str, kind: str) -> None:
    shape = Shape(arch, 2, 64, 4, 1, 64, 100, 192)
    model = model_of(shape)
    updates = optimizers(model, kind, 0.1, 0.95)
    steps(model, updates, 1, 64, 1)
    _, parts = memory(shape, training(64, 1, optimizer=kind), Machines())
    assert parts["weights"] == sum(p.numel() * p.element_size() for p in model.parameters()) == parts["gradients"]
    states = [value for update in updates for state in update.state.values() for value in state.values()]
    assert parts["optimizer"] == sum(value.numel() * value.element_size() for value in states if value.ndim)


@pytest.mark.parametrize("recompute", ["none", "blocks"])
@pytest.mark.parametrize("arch", ["llama", "gpt_bigcode"])
def test_the_fullest_moment_is_what_is_measured(arch: str, recompute: str) -> None:
    shape, rows, row_tokens = Shape(arch, 2, 64, 4, 1, 64, 1024, 192), 8, 64
    model = model_of(shape)
    if recompute == "blocks":
        model.train()
        model.activation_checkpointing_enable({"use_reentrant": False})
    updates = optimizers(model, "adamw", 0.1, 0.95)
    steps(model, updates, 1, row_tokens, 1)  # so that the optimizer has its states
    tracker = MemTracker()
    tracker.track_external(model, *updates)
    with tracker:
        steps(model, updates, rows, row_tokens, 1)
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    estimated, _ = memory(shape, training(row_tokens, rows), Machines(recompute=recompute))
    assert estimated == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("arch", ["llama", "gpt_bigcode"])
def test_the_end_of_a_backward_pass_may_be_the_fullest_moment(arch: str, tied: bool) -> None:
    """With a large vocabulary and few tokens; without it the estimate of tied weights was a quarter too low."""
    shape = Shape(arch, 1, 64, 4, 1, 64, 8192, 192, tied)
    model = model_of(shape)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    updates = optimizers(model, "adamw", 0.1, 0.95)
    steps(model, updates, 1, 16, 1)
    tracker = MemTracker()
    tracker.track_external(model, *updates)
    with tracker:
        steps(model, updates, 1, 16, 1)
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert memory(shape, training(16, 1), Machines())[0] == pytest.approx(peak, rel=0.02)


def test_the_heads_gradient_is_added_up_in_float32() -> None:
    shape = Shape("llama", 16, 2048, 16, 8, 4096, 128_256, 8192)  # of a billion weights: 2.225 GiB, as rehearsed
    parts = memory(shape, training(2048, 1), Machines("h100", 8))[1]
    assert parts["logits"] == 1.5 * 2**29 + 6 * 128_256 * 2048 + 2 * 2048 * 2048
    assert parts["logits"] / 2**30 == pytest.approx(2.225, abs=0.005)


def test_more_devices_and_smaller_passes_need_less() -> None:
    shape = Shape("llama", 16, 2048, 16, 8, 4096, 49_152, 8192, False)

    def peak(**changes: Any) -> int:
        return memory(shape, training(4096, 64), Machines(**{"kind": "h200", "devices": 8, **changes}))[0]

    assert peak(micro_batch=1) < peak() < peak(devices=4) < peak(devices=1)
    assert peak(recompute="blocks") < peak()
    assert peak(replicas=8) > peak(replicas=2) > peak()
    assert peak(precision="fp32") > peak() == peak(precision="bf16")
    assert memory(shape, training(4096, 64, ema=0.99), Machines("h200"))[1]["average"] == 4 * shape.parameters
    assert memory(shape, training(4096, 64, lora=Lora(8)), Machines("h200"))[1]["gradients"] < 2**28
    alone = memory(shape, training(4096, 64), Machines("h200", precision="fp32"))[1]
    assert (alone["gathered"], alone["weights"]) == (0, 4 * shape.parameters)


def test_time_is_shared_by_the_devices(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")  # 4 rows a step, and 2
    one, two, four = (costs(tiny, tmp_path, Machines(devices=n, tensor=n // 2 or 1))["cap"].seconds for n in (1, 2, 4))
    assert one == 2 * two == 4 * four
    assert costs(tiny, tmp_path, Machines(mfu=0.2))["cap"].seconds == pytest.approx(2 * one)


@pytest.mark.parametrize(("devices", "tensor", "over"), [(3, 1, 3), (8, 1, 8), (6, 2, 3)])
def test_rows_that_devices_cannot_share_are_refused(tmp_path: Path, devices: int, tensor: int, over: int) -> None:
    with pytest.raises(RecipeError) as caught:
        costs(load(RECIPES / "tiny.toml"), tmp_path, Machines(devices=devices, tensor=tensor))
    assert str(caught.value) == (
        f"error: 4 rows an optimizer step cannot be divided over {over} devices\n"
        "  at: base.batch_tokens\n\n"
        "hint: choose another number of `--devices`, or another `batch_tokens`"
    )


def test_what_is_made_again_takes_a_fifth_longer(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")
    once, again = (costs(tiny, tmp_path, Machines(recompute=how))["cap"].seconds for how in ("none", "blocks"))
    assert again == pytest.approx(1.2 * once)
    said = costs(tiny, tmp_path, Machines(recompute="blocks", mfu=0.4))["cap"].seconds  # with what is made again
    assert said == pytest.approx(once)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    assert not costs(load(RECIPES / "aurora_m.toml"), tmp_path, Machines("h100", 2))["cap"].fits


@pytest.mark.parametrize(
    ("changes", "at", "hint"),
    [
        ({"kind": "h20"}, "--device-kind", "did you mean `h200`?"),
        ({"kind": "abacus"}, "--device-kind", f"choose {', '.join(KINDS)}"),
        ({"devices": 0}, "--devices", "write a positive number"),
        ({"mfu": 1.5}, "--mfu", "write a number from 0 to 1"),
        ({"devices": 6, "replicas": 4}, "--devices", "write a number that both divide"),
    ],
)
def test_machines_that_there_are_not(changes: dict[str, Any], at: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        estimates([], Machines(**changes), Path())
    assert (caught.value.at, caught.value.hint) == (at, hint)
