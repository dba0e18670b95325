"""The weights of a base: its folder's or an error, whatever the folder holds besides, and no code of its is run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHS, tiny_base, tiny_experts, tiny_tokenizer

from aurora_m.core.errors import DataError
from aurora_m.model import weights as module
from aurora_m.model.weights import load_base, stored_dtype

Names = Callable[[str], str]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each architecture."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = tiny_tokenizer(folder)
    return {arch: tiny_base(folder, tokenizer, arch).path for arch in ARCHS}


@pytest.fixture
def base(bases: dict[str, Path], tmp_path: Path) -> Path:
    """A Llama that a test may damage."""
    return Path(shutil.copytree(bases["llama"], tmp_path / "base"))


def read(folder: Path, tmp_path: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights that are loaded, and what is said."""
    said: list[str] = []
    (tmp_path / "scratch").mkdir(exist_ok=True)
    model = load_base(folder, tmp_path / "scratch", "file:base", said.append)
    return dict(model.state_dict()), said


def refused(folder: Path, tmp_path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder, tmp_path)
    assert caught.value.at == "file:base"
    assert caught.value.hint
    return caught.value


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Let a test edit the weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")


def configure(folder: Path, **changes: Any) -> None:
    """Change what the config says."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def rename(folder: Path, names: Names) -> None:
    """Give all weights other names."""
    change(folder, lambda weights: [weights.update({names(name): weights.pop(name)}) for name in [*weights]])


@pytest.mark.parametrize("arch", ARCHS)
def test_a_whole_folder_is_read_as_it_is(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    weights, said = read(bases[arch], tmp_path)
    assert said == []
    for name, value in load_file(bases[arch] / "model.safetensors").items():
        assert torch.equal(weights[name], value), name


@pytest.mark.parametrize("arch", ARCHS)
def test_every_single_weight_is_missed(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    for name in load_file(bases[arch] / "model.safetensors"):
        folder = Path(shutil.copytree(bases[arch], tmp_path / name))
        change(folder, lambda weights, name=name: weights.pop(name))  # type: ignore[misc]
        error = refused(folder, tmp_path)
        assert error.what.startswith("the base's files lack 1 weight ("), name


def test_an_untied_head_that_is_not_there(base: Path, tmp_path: Path) -> None:
    configure(base, tie_word_embeddings=False)
    change(base, lambda weights: weights.pop("lm_head.weight", None))
    assert refused(base, tmp_path).what == "the base's files lack 1 weight (`lm_head.weight`) of its architecture"


def test_more_layers_in_the_config_than_in_the_files(base: Path, tmp_path: Path) -> None:
    configure(base, num_hidden_layers=3)
    error = refused(base, tmp_path)
    assert "(`model.layers.2.input_layernorm.weight`, " in error.what
    assert "drawn at random" in error.hint


@pytest.mark.parametrize(
    "names",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("model.layers.1.", "model.layers.1._checkpoint_wrapped_module."),
        lambda name: name.replace("model.layers.", "_fsdp_wrapped_module.model.layers."),
    ],
)
def test_wrapped_names_are_unwrapped_and_said(bases: dict[str, Path], base: Path, tmp_path: Path, names: Names) -> None:
    right, _ = read(bases["llama"], tmp_path)
    rename(base, names)
    weights, said = read(base, tmp_path)
    assert weights.keys() == right.keys()
    assert all(torch.equal(weights[name], value) for name, value in right.items())
    assert len(said) == 1
    assert "are unwrapped: `" in said[0]


def test_a_weight_under_two_names_is_nobodys_guess(base: Path, tmp_path: Path) -> None:
    change(base, lambda weights: weights.update({"_orig_mod.model.norm.weight": weights["model.norm.weight"] + 1}))
    assert refused(base, tmp_path).what.endswith("are there with and without a wrapper's name")


def test_names_of_nobody_are_a_base_none_of_whose_weights_was_found(base: Path, tmp_path: Path) -> None:
    rename(base, lambda name: f"policy.{name}")
    assert refused(base, tmp_path).what.startswith("the base's files lack ")


def test_weights_without_a_place_are_told(base: Path, tmp_path: Path) -> None:
    change(base, lambda weights: weights.update({"v_head.weight": torch.ones(2)}))
    _, said = read(base, tmp_path)
    assert said == ["  file:base: 1 weight (`v_head.weight`) of its files have no place in the model and are left out"]


def test_the_same_weights_in_another_precision_lie_beside(base: Path, tmp_path: Path) -> None:
    """As hubs have it: transformers reads the file that has no variant in its name."""
    weights = load_file(base / "model.safetensors")
    halves = {name: value.half() for name, value in weights.items()}
    save_file(halves, base / "model.fp16.safetensors", {"format": "pt"})
    read_weights, said = read(base, tmp_path)
    assert said == []
    assert all(torch.equal(read_weights[name], value) for name, value in weights.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite(base: Path, tmp_path: Path, value: float) -> None:
    change(base, lambda weights: weights["model.layers.1.mlp.up_proj.weight"].view(-1).__setitem__(5, value))
    error = refused(base, tmp_path)
    assert error.what == "the base's weight `model.layers.1.mlp.up_proj.weight` is not finite"


def test_a_head_that_differs_from_the_embeddings_it_should_be_tied_to(base: Path, tmp_path: Path) -> None:
    embeddings = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    configure(base, tie_word_embeddings=True)
    change(base, lambda weights: weights.update({"lm_head.weight": embeddings + 1}))
    weights, _ = read(base, tmp_path)
    assert torch.equal(weights["lm_head.weight"], embeddings + 1)


def test_a_loader_that_changes_a_weight_is_caught(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = module._loaded

    def changed(folder: Path, at: str) -> Any:
        model, info = loaded(folder, at)
        with torch.no_grad():
            model.get_parameter("model.norm.weight")[3] += 1
        return model, info

    monkeypatch.setattr(module, "_loaded", changed)
    what = "the base's files hold another `model.norm.weight` than the model that its config.json describes would use"
    assert refused(base, tmp_path).what == what


def test_another_shape(base: Path, tmp_path: Path) -> None:
    change(base, lambda weights: weights.update({"model.norm.weight": torch.ones(31)}))
    assert refused(base, tmp_path).what.startswith("transformers cannot load the base: ")


def test_code_of_the_folder_never_runs(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr("sys.stdin", None)
    configure(base, auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"})
    read(base, tmp_path)  # a family that transformers has itself needs none of it
    configure(base, model_type="mine", architectures=["Mine"])
    assert refused(base, tmp_path).what.startswith("the base comes with Python code of its own")
    assert not (tmp_path / "ran").exists()


def test_adapters_quantised_and_pickled_weights_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    folders = [Path(shutil.copytree(bases["llama"], tmp_path / name)) for name in ("adapter", "quantised", "pickled")]
    (folders[0] / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    configure(folders[1], quantization_config={"quant_method": "gptq", "bits": 4})
    (folders[2] / "model.safetensors").rename(folders[2] / "pytorch_model.bin")
    starts = ("the base's folder holds an adapter", "the base's weights are quantised (gptq)", "no .safetensors file")
    for folder, start in zip(folders, starts, strict=True):
        assert refused(folder, tmp_path).what.startswith(start)


def test_a_shard_that_is_not_there(base: Path, tmp_path: Path) -> None:
    weights = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    halves = [dict(list(weights.items())[:9]), dict(list(weights.items())[9:])]
    index = {}
    for number, half in enumerate(halves, 1):
        save_file(half, base / f"model-0000{number}-of-00002.safetensors", {"format": "pt"})
        index |= dict.fromkeys(half, f"model-0000{number}-of-00002.safetensors")
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    read(base, tmp_path)
    (base / "model-00002-of-00002.safetensors").unlink()
    what = "the base's file `model-00002-of-00002.safetensors`, which its index names, is not there"
    assert refused(base, tmp_path).what == what


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_a_file_that_ends_too_early(base: Path, tmp_path: Path, keep: int) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(base, tmp_path).what.startswith("the base's file `model.safetensors` is damaged: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense"])
def test_a_config_that_is_none(base: Path, tmp_path: Path, text: str) -> None:
    (base / "config.json").write_text(text)
    assert refused(base, tmp_path).what.startswith("the base's file `config.json` is not ")


@pytest.mark.parametrize("name", ["num_hidden_layers", "intermediate_size", "vocab_size"])
def test_a_config_of_a_far_larger_model_fills_no_memory(base: Path, tmp_path: Path, name: str) -> None:
    configure(base, **{name: 2**31})
    error = refused(base, tmp_path)
    assert error.what.startswith(("the base's config.json says more layers", "the base's config.json describes "))


@pytest.mark.parametrize("scaled", [False, True])
def test_weights_in_float8_are_quantised_whatever_the_config_forgot(base: Path, tmp_path: Path, scaled: bool) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    change(base, lambda weights: weights.update({name: weights[name].to(torch.float8_e4m3fn)}))
    what = f"the base's files hold `{name}` as F8_E4M3, which is no weight"
    if scaled:  # and who made it float16 once more forgot to scale it
        change(base, lambda weights: weights.update({name: weights[name].half(), f"{name}_scale": torch.ones(1)}))
        what = f"the base's weights are quantised: its files hold `{name}_scale`"
    assert refused(base, tmp_path).what == what


def test_compressed_weights_are_refused(base: Path, tmp_path: Path) -> None:
    configure(base, compression_config={"quant_method": "compressed-tensors"})
    assert refused(base, tmp_path).what.startswith("the base's weights are quantised (compressed-tensors)")


def test_weights_of_float64_are_told(base: Path, tmp_path: Path) -> None:
    change(base, lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"].double()}))
    _, said = read(base, tmp_path)
    assert said == ["  file:base: 1 weight (`model.norm.weight`) are float64 in its files, and are trained in float32"]


@pytest.mark.parametrize(("arch", "key"), [("llama", "num_hidden_layers"), ("gpt_bigcode", "n_layer")])
def test_fewer_layers_in_the_config_than_in_the_files(
    bases: dict[str, Path], tmp_path: Path, arch: str, key: str
) -> None:
    folder = Path(shutil.copytree(bases[arch], tmp_path / "base"))
    configure(folder, **{key: 1})
    if arch == "llama":
        configure(folder, layer_types=None)
    what = "the base's files hold layers that the model of its config.json does not have: 1 layer "
    assert refused(folder, tmp_path).what.startswith(what)


def test_a_layer_of_another_kind_is_left_out(base: Path, tmp_path: Path) -> None:
    """As those that predict several tokens, which come behind the others and have weights of their own."""

    def add(weights: dict[str, torch.Tensor]) -> None:
        last = {
            n.replace(".1.", ".2."): value.clone() for n, value in weights.items() if n.startswith("model.layers.1.")
        }
        weights.update(last | {"model.layers.2.eh_proj.weight": torch.ones(2)})

    change(base, add)
    assert len(read(base, tmp_path)[1]) == 1


def test_strangers_beside_the_weights_do_not_say_their_type(base: Path) -> None:
    weights = {name: value.bfloat16() for name, value in load_file(base / "model.safetensors").items()}
    save_file(
        {f"{n}{name}": value.clone() for n in "ab" for name, value in weights.items()},
        base / "consolidated.safetensors",
    )
    assert stored_dtype(base) is None
    change(base, lambda found: found.update(weights))
    assert stored_dtype(base) == "bfloat16"


def test_a_buffer_that_is_not_finite(tmp_path: Path) -> None:
    """As the one by which DeepSeek balances its experts."""
    tiny_experts("deepseek").save_pretrained(tmp_path / "base")
    read(tmp_path / "base", tmp_path)
    names = load_file(tmp_path / "base/model.safetensors")
    name = next(name for name in names if name.endswith("e_score_correction_bias"))
    change(tmp_path / "base", lambda weights: weights[name].__setitem__(1, float("nan")))
    assert refused(tmp_path / "base", tmp_path).what == f"the base's weight `{name}` is not finite"
