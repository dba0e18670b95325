"""Merged models: worked by hand, bit for bit at the ends, and read by `transformers` alone."""

import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHS, new_work, tiny_base, tiny_tokenizer
from torch import Tensor

from aurora_m.core.errors import DataError
from aurora_m.core.facts import to_json
from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact
from aurora_m.model.load import load_model, parameters, save_model
from aurora_m.model.merge import elected, floor_of, merge

FILE = "model.safetensors"
ORIGIN = torch.ones(5)
CHANGES = {"a": torch.tensor([4, -3, 0.5, 2, 0.25]), "b": torch.tensor([-6, -5, 3, 0.25, -2])}


def written(folder: Path, weights: dict[str, Tensor]) -> Artifact:
    """A model of a few weights."""
    folder.mkdir(parents=True)
    save_file(weights, folder / FILE)
    write_json(folder / "config.json", {"model_type": "llama"})
    return Artifact(folder, "", {})


def by_hand(folder: Path) -> dict[str, Artifact]:
    """Two models and what they went on from, in two weights of 2 and 1 x 3 entries."""
    all_of = {"o": ORIGIN, **{name: ORIGIN + change for name, change in CHANGES.items()}}
    return {
        name: written(folder / name, {"first": entries[:2].clone(), "second": entries[2:][None].clone()})
        for name, entries in all_of.items()
    }


def made(folder: Path, models: dict[str, Artifact], **how: Any) -> Path:
    """The folder of a merged model."""
    work = new_work(folder)
    merge(work, models=models, **how)
    return work.out


def entries(folder: Path) -> list[float]:
    weights = load_file(folder / FILE)
    return [*weights["first"].tolist(), *weights["second"][0].tolist()]


# --- by hand


@pytest.mark.parametrize(
    ("weights", "scale", "change"),
    [
        # density 0.6 of 5 keeps a: 4 -3 _ 2 _ and b: -6 -5 3 _ _
        ({"a": 1.0, "b": 1.0}, 1.0, [-6, -4, 3, 2, 0]),
        ({"a": 3.0, "b": 1.0}, 1.0, [4, -3.5, 3, 2, 0]),
        ({"a": 3.0, "b": 1.0}, 0.5, [2, -1.75, 1.5, 1, 0]),
        ({"a": 3.0, "b": 2.0}, 1.0, [0, -3.8, 3, 2, 0]),  # 12 - 12: no sign is stronger
        ({"a": 0.0, "b": 2.0}, 1.0, [-6, -5, 3, 0, 0]),
    ],
)
def test_ties_trims_elects_a_sign_and_takes_the_mean_of_those_that_agree(
    weights: dict[str, float], scale: float, change: list[float], tmp_path: Path
) -> None:
    how: dict[str, Any] = {"weights": weights, "method": "ties", "origin": "o", "density": 0.6, "scale": scale}
    out = made(tmp_path / "m", by_hand(tmp_path), **how)
    assert entries(out) == pytest.approx([1 + entry for entry in change], abs=1e-6)


def test_ties_keeps_everything_at_density_1(tmp_path: Path) -> None:
    how: dict[str, Any] = {"weights": {"a": 1.0, "b": 1.0}, "method": "ties", "origin": "o", "density": 1.0}
    assert entries(made(tmp_path / "m", by_hand(tmp_path), **how)) == [-5, -3, 2.75, 2.125, -1]


def test_linear_is_the_sum_of_models(tmp_path: Path) -> None:
    out = made(tmp_path / "m", by_hand(tmp_path), weights={"a": 0.25, "b": 0.75}, method="linear")
    assert entries(out) == (1 + CHANGES["a"] * 0.25 + CHANGES["b"] * 0.75).tolist()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_linear_with_an_origin_is_the_sum_of_changes(scale: float, tmp_path: Path) -> None:
    how: dict[str, Any] = {"weights": {"a": 1.0, "b": -0.5}, "method": "linear", "origin": "o", "scale": scale}
    out = made(tmp_path / "m", by_hand(tmp_path), **how)
    assert entries(out) == (1 + scale * (CHANGES["a"] - CHANGES["b"] * 0.5)).tolist()


def test_changes_that_cancel_elect_nothing() -> None:
    assert elected([(1.0, torch.tensor([2.0, 4.0])), (2.0, torch.tensor([-1.0, 1.0]))]).tolist() == [0.0, 2.0]


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 0.999, 1.0])
def test_the_floor_is_that_of_a_sort(density: float) -> None:
    torch.manual_seed(5)
    weights = {"a": torch.randn(40, 30), "b": 1e-5 * torch.randn(77), "c": torch.zeros(11), "d": torch.full((9,), -0.5)}
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()]).sort(descending=True).values
    wanted = float(sizes[max(1, round(density * len(sizes))) - 1])
    assert floor_of(weights.__getitem__, [*weights], density) == wanted


# --- the ends, bit for bit


def same(one: Path, other: Path) -> bool:
    return (one / FILE).read_bytes() == (other / FILE).read_bytes()


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_the_ends_of_the_way_are_the_models_bit_for_bit(method: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    models = {name: written(tmp_path / name, {"w": torch.randn(9, 7)}) for name in ("o", "a", "b")}
    models["o"] = written(tmp_path / "zero", {"w": torch.cat([torch.full((1, 7), -0.0), torch.randn(8, 7)])})
    go = partial(made, models=models, method=method, origin="o")
    assert same(go(tmp_path / "m0", weights={"a": 0.7, "b": 0.3}, scale=0.0), models["o"].path)
    assert not same(go(tmp_path / "m1", weights={"a": 0.7, "b": 0.3}), models["o"].path)
    if method == "linear":
        assert same(go(tmp_path / "m2", weights={"a": 1.0, "b": 0.0}), models["a"].path)
        soup = made(tmp_path / "m3", {"a": models["a"], "b": models["b"]}, weights={"a": 0.0, "b": 1.0}, method=method)
        assert same(soup, models["b"].path)


def test_the_order_in_which_models_are_named_changes_nothing(tmp_path: Path) -> None:
    torch.manual_seed(3)
    models = {name: written(tmp_path / name, {"w": torch.randn(9, 7)}) for name in ("o", "a", "b", "c")}
    shares = {"a": 0.1, "b": 0.2, "c": 0.7}
    for method in ("linear", "ties"):
        outs = [
            made(tmp_path / f"{method}{way}", dict([*models.items()][::way]), weights=dict([*shares.items()][::way]),
                 method=method, origin="o", density=0.5)
            for way in (1, -1)
        ]  # fmt: skip
        assert same(*outs)


def test_sums_are_float32_and_the_dtype_stays(tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights = [torch.randn(64, dtype=torch.bfloat16) for _ in range(3)]
    models = {name: written(tmp_path / name, {"w": w}) for name, w in zip("abc", weights, strict=True)}
    shares = {"a": 0.3, "b": 0.3, "c": 0.4}
    found = load_file(made(tmp_path / "m", models, weights=shares, method="linear") / FILE)["w"]
    exact = torch.stack([w.float() * share for w, share in zip(weights, shares.values(), strict=True)]).sum(0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())
    rough = weights[0] * 0.3 + weights[1] * 0.3 + weights[2] * 0.4
    assert not torch.equal(found, rough), "which sums in bfloat16 would give"


# --- whole models


def moved(model: Artifact, folder: Path, seed: int, **how: Any) -> Artifact:
    """A model that has learnt something, as a training step writes it."""
    net = load_model(model.path)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.01 * torch.randn_like(weight)
    net.save_pretrained(folder, **how)
    save_model(net, folder, model.path) if not how else None
    return Artifact(folder, "", {})


@pytest.mark.parametrize("method", ["linear", "ties"])
@pytest.mark.parametrize("arch", ARCHS)
def test_a_merged_model_is_a_model(arch: str, method: str, tmp_path: Path) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), arch)
    models = {"base": base, **{name: moved(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}}
    work = new_work(tmp_path / "m")
    how: dict[str, Any] = {"method": method, "origin": "base", "density": 0.5, "scale": 0.5}
    facts = merge(work, models=models, weights={"a": 0.5, "b": 0.5}, **how)
    net, parts = load_model(work.out), [dict(load_model(model.path).named_parameters()) for model in models.values()]
    assert to_json(facts) == {"architecture": arch, "parameters": parameters(net)}
    assert {path.name for path in work.out.iterdir()} == {path.name for path in base.path.iterdir()}
    head, embeddings = net.get_output_embeddings(), net.get_input_embeddings()
    assert (head.weight is embeddings.weight) == bool(net.config.tie_word_embeddings)
    if method == "linear":
        for name, weight in net.named_parameters():
            wanted = parts[0][name] * 0.5 + parts[1][name] * 0.25 + parts[2][name] * 0.25
            torch.testing.assert_close(weight, wanted, atol=1e-7, rtol=0)
    assert not torch.equal(head.weight, parts[0][next(n for n, p in net.named_parameters() if p is embeddings.weight)])


def test_models_in_several_files(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), "llama")
    whole, cut = moved(base, tmp_path / "whole", 1), moved(base, tmp_path / "cut", 1, max_shard_size="20KB")
    assert len([*cut.path.glob("*.safetensors")]) > 2
    one = made(tmp_path / "one", {"a": cut, "b": base}, weights={"a": 0.5, "b": 0.5}, method="linear")
    other = made(tmp_path / "other", {"a": whole, "b": base}, weights={"a": 0.5, "b": 0.5}, method="linear")
    assert {path.name for path in one.glob("model*")} == {path.name for path in cut.path.glob("model*")}
    pairs = zip(load_model(one).parameters(), load_model(other).parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_what_a_stage_leaves_beside_its_model_stays_there(tmp_path: Path) -> None:
    models = by_hand(tmp_path)
    for name in ("curve.jsonl", "optimizer.states", "manifest.json"):
        (models["a"].path / name).write_text("")
    out = made(tmp_path / "m", models, weights={"a": 0.5, "b": 0.5}, method="linear")
    assert {path.name for path in out.iterdir()} == {"config.json", FILE}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"w": torch.zeros(2, 4)}, "`w` is 2 x 3, and 2 x 4"),
        ({"w": torch.zeros(2, 3), "v": torch.zeros(1)}, "`v` is absent, and 1"),
        ({"v": torch.zeros(1)}, "`v` is absent, and 1"),
        ({"u": torch.zeros(2, 3)}, "`u` is absent, and 2 x 3"),
    ],
)
def test_models_of_two_shapes_are_not_merged(other: dict[str, Tensor], words: str, tmp_path: Path) -> None:
    models = {"a": written(tmp_path / "a", {"w": torch.zeros(2, 3)}), "b": written(tmp_path / "b", other)}
    for how in ({"origin": "a", "weights": {"b": 1.0}}, {"weights": {"a": 0.5, "b": 0.5}}):
        work = new_work(tmp_path / f"m{len(how)}")
        with pytest.raises(DataError) as caught:
            merge(work, models=models, method="linear", **how)  # type: ignore[arg-type]
        assert caught.value.what == f"`a` and `b` are of two shapes: {words}"
        assert "one side of the stage" in str(caught.value.hint)
        assert [*work.out.iterdir()] == []


def test_a_file_is_like_that_of_the_library(tmp_path: Path) -> None:
    out = made(tmp_path / "m", by_hand(tmp_path), weights={"a": 0.5, "b": 0.5}, method="linear")
    content = (out / FILE).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert len(content) == 8 + length + 4 * 5
