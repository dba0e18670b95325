"""Models in and out, bit for bit, and errors that say what a folder lacks."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, POSITIONS, new_work, tiny_base, tiny_model, tiny_tokenizer

from aurora_m.core.canon import file_digest
from aurora_m.core.errors import DataError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Runtime
from aurora_m.core.uri import local_files, pin_files
from aurora_m.model.load import device_of, fetch_base, load_model, parameters, positions, save_model
from aurora_m.model.shape import shape_of


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each architecture."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = tiny_tokenizer(folder)
    return {arch: tiny_base(folder, tokenizer, arch).path for arch in ARCHS}


def pin_of(name: str, root: Path) -> str:
    """The pin that a plan gives a folder beside the recipe."""
    return pin_files(local_files(f"file:{name}/*", root))


@pytest.mark.parametrize("arch", ARCHS)
def test_saving_what_was_loaded_gives_the_same_bytes(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    model = load_model(bases[arch])
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"
    assert not model.training
    save_model(model, tmp_path, bases[arch])
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        assert file_digest(tmp_path / name) == file_digest(bases[arch] / name), name


@pytest.mark.parametrize("arch", ARCHS)
def test_a_base_from_a_folder_beside_the_recipe(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    work = new_work(tmp_path / "work", root=bases[arch].parent)
    facts = fetch_base(work, model="file:out", revision="", pin=pin_of("out", bases[arch].parent))
    ours = load_model(bases[arch])
    assert to_json(facts) == {"architecture": arch, "parameters": parameters(ours), "revision": ""}
    theirs = load_model(work.out).state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.state_dict().items())


@pytest.mark.parametrize(
    ("lacking", "what", "hint"),
    [
        ("config.json", "no config.json in the base model's folder", "give a folder saved by transformers"),
        ("tokenizer.json", "no tokenizer.json in the base model's folder", "save a fast tokenizer beside the weights"),
    ],
)
def test_a_folder_that_lacks_a_file(bases: dict[str, Path], tmp_path: Path, lacking: str, what: str, hint: str) -> None:
    shutil.copytree(bases["llama"], tmp_path / "base")
    (tmp_path / "base" / lacking).unlink()
    work = new_work(tmp_path / "work", root=tmp_path)
    with pytest.raises(DataError) as caught:
        fetch_base(work, model="file:base", revision="", pin=pin_of("base", tmp_path))
    assert (caught.value.what, caught.value.at, caught.value.hint) == (what, "file:base", hint)


def charsmap(folder: Path) -> None:
    """A normalizer at whose sight the tokenizers library panics."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}))


def no_merge(folder: Path) -> None:
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["merges"] = [["q", "no such token"]]
    path.write_text(json.dumps(data))


def written(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def a_folder(name: str) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def configured(**changes: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def no_model_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))


NOT_READ = "the base's file `config.json` is not read: "
NO_TOKENIZER = "the base's tokenizer.json cannot be used: "
DAMAGED = {
    "config empty": (written("config.json", b""), f"{NOT_READ}this is not valid JSON"),
    "config a list": (written("config.json", b"[]"), f"{NOT_READ}this is no JSON object"),
    "config deep": (
        written("config.json", b'{"a":' * 9999),
        f"{NOT_READ}this is not valid JSON: it is nested too deep",
    ),
    "config binary": (written("config.json", b"\xff\xfe{"), f"{NOT_READ}byte 0 is not valid utf-8"),
    "config a folder": (a_folder("config.json"), f"{NOT_READ}Is a directory"),
    "generation": (written("generation_config.json", b"{"), "the base's file `generation_config.json` is not read: "),
    "tokenizer config": (
        written("tokenizer_config.json", b"1"),
        "the base's file `tokenizer_config.json` is not read: ",
    ),
    "unknown type": (configured(model_type="llamma"), "transformers cannot load the base: "),
    "type a list": (configured(model_type=["llama"]), "transformers cannot load the base: "),
    "no type": (no_model_type, "transformers cannot load the base: "),
    "width a word": (configured(hidden_size="wide"), "transformers cannot load the base: "),
    "heads 0": (configured(num_attention_heads=0), "transformers cannot load the base: "),
    "layers a list": (configured(num_hidden_layers=[2]), "transformers cannot load the base: "),
    "quantised oddly": (configured(quantization_config="yes"), "the base's weights are quantised (unknown)"),
    "tokenizer empty": (written("tokenizer.json", b""), NO_TOKENIZER),
    "tokenizer a list": (written("tokenizer.json", b"[]"), NO_TOKENIZER),
    "tokenizer binary": (written("tokenizer.json", b"\xff"), NO_TOKENIZER),
    "tokenizer a folder": (a_folder("tokenizer.json"), NO_TOKENIZER),
    "tokenizer panics": (charsmap, f'{NO_TOKENIZER}Precompiled: Error("Cannot parse precompiled_charsmap"'),
    "tokenizer's merges": (no_merge, NO_TOKENIZER),
    "weights empty": (written("model.safetensors", b""), "the base's file `model.safetensors` is damaged: "),
    "weights' header": (written("model.safetensors", b"\xff" * 99), "the base's file `model.safetensors` is damaged: "),
    "weights a folder": (a_folder("model.safetensors"), "the base's file `model.safetensors` is damaged: "),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_folder_is_an_error_of_ours(
    bases: dict[str, Path], tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, what = DAMAGED[name]
    shutil.copytree(bases["llama"], tmp_path / "base")
    spoil(tmp_path / "base")
    work = new_work(tmp_path / "work", root=tmp_path)
    with pytest.raises(DataError) as caught:
        fetch_base(work, model="file:base", revision="", pin=pin_of("base", tmp_path))
    assert caught.value.what.startswith(what)
    assert caught.value.at == "file:base"
    assert caught.value.hint
    assert "panicked" not in capfd.readouterr().err


def test_a_folder_to_talk_to_that_is_damaged(bases: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(bases["llama"], tmp_path / "base")
    (tmp_path / "base/model.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="transformers cannot load the model: ") as caught:
        load_model(tmp_path / "base")
    assert caught.value.at == str(tmp_path / "base")


@pytest.mark.parametrize("arch", ARCHS)
def test_a_config_without_a_size_has_no_shape(bases: dict[str, Path], arch: str) -> None:
    config = json.loads((bases[arch] / "config.json").read_text())
    sizes = ("n_embd", "n_layer", "vocab_size") if arch == "gpt_bigcode" else ("vocab_size", "num_hidden_layers")
    for name in sizes:
        with pytest.raises(DataError, match=f"the base's config.json lacks `{name}`"):
            shape_of({key: value for key, value in config.items() if key != name})
        for wrong in ("wide", [2], None, 0, -3, float("inf"), float("nan")):
            with pytest.raises(DataError, match="no whole number above 0"):
                shape_of({**config, name: wrong})


@pytest.mark.parametrize("arch", ARCHS)
def test_a_base_is_held_against_the_shape_that_the_recipe_says(
    bases: dict[str, Path], tmp_path: Path, arch: str
) -> None:
    config = json.loads((bases[arch] / "config.json").read_text())
    shape: Any = shape_of(config)
    said = {name: value for name, value in asdict(shape).items() if name != "inner"}
    pin = pin_of("out", bases[arch].parent)

    def fetch(number: int, **changes: Any) -> Any:
        work = new_work(tmp_path / str(number), root=bases[arch].parent)
        return fetch_base(work, model="file:out", revision="", pin=pin, shape={**said, **changes})

    assert fetch(0).parameters == shape.parameters
    for number, change in enumerate(({"layers": 3}, {"positions": 9}, {"inner": 32}, {"tied": False}), 1):
        ((name, value),) = change.items()
        with pytest.raises(DataError) as caught:
            fetch(number, **change)
        there = json.dumps(getattr(shape, name))
        assert caught.value.what == f"the base has {name} = {there}, and the recipe says {json.dumps(value)}"
        assert caught.value.at == "base.shape"


def test_a_base_of_another_family_has_no_shape_to_say(bases: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(bases["llama"], tmp_path / "base")
    (tmp_path / "base/config.json").write_text('{"model_type": "qwen3"}')
    work, said = new_work(tmp_path / "work", root=tmp_path), {"arch": "llama", "layers": 1, "width": 2, "heads": 1}
    said |= {"kv_heads": 1, "positions": 8, "vocab": 9}
    with pytest.raises(DataError, match="the base is a `qwen3`, whose shape Aurora does not know"):
        fetch_base(work, model="file:base", revision="", pin=pin_of("base", tmp_path), shape=said)


def test_a_folder_that_changed_after_the_pin_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(bases["llama"], tmp_path / "base")
    work, pin = new_work(tmp_path / "work", root=tmp_path), pin_of("base", tmp_path)
    with (tmp_path / "base/config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError) as caught:
        fetch_base(work, model="file:base", revision="", pin=pin)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        "files changed while the run was on its way",
        "file:base",
        "run again; the new files will be taken",
    )


def test_what_configs_say(model: Any) -> None:
    assert positions(model) == POSITIONS


def test_tied_weights_count_once() -> None:
    model = tiny_model("bigcode")
    assert parameters(model) == sum(w.numel() for name, w in model.state_dict().items() if name != "lm_head.weight")


def test_the_runtime_names_device_and_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert device_of(Runtime(tmp_path, device="cpu", threads=3)) == torch.device("cpu")
        assert torch.get_num_threads() == 3
        assert device_of(Runtime(tmp_path, device="meta")) == torch.device("meta")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert device_of(Runtime(tmp_path)) == torch.device(expected)
