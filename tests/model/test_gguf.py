"""GGUF bases: the logits and the text of the model that was written, and clear words for what would be read wrongly."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny import new_work, tiny_base, tiny_tokenizer
from transformers import AutoTokenizer

from aurora_m.core.ends import ends_of
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.core.uri import local_files, pin_files
from aurora_m.model.export import check_copy
from aurora_m.model.load import fetch_base, load_model, parameters
from aurora_m.tokens.tokenizer import open_tokenizer

Change = Callable[[gguf.GGUFWriter], None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A Llama of two layers."""
    folder = tmp_path_factory.mktemp("base")
    return tiny_base(folder, tiny_tokenizer(folder), "llama")


def nothing(writer: gguf.GGUFWriter) -> None:
    """Leave a file as it is."""


def write(path: Path, base: Artifact, kind: str = "F16", split: str = "gpt-2", more: Change = nothing) -> Path:
    """Write a base as llama.cpp's converter does: its names, its order of rotated rows, its metadata."""
    model, data = load_model(base.path), json.loads((base.path / "tokenizer.json").read_text())
    config, writer = model.config, gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    names = sorted(data["model"]["vocab"], key=data["model"]["vocab"].__getitem__)
    marks = {added["content"] for added in data["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(names)
    writer.add_token_types([3 if name in marks else 1 for name in names])
    writer.add_token_merges([" ".join(pair) for pair in data["model"]["merges"]])
    writer.add_eos_token_id(0)
    more(writer)
    place = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        array = weight.numpy()
        for part, count in heads.items():
            if part in name:  # halves of a head become neighbours
                array = array.reshape(count, 2, -1, array.shape[-1]).swapaxes(1, 2).reshape(array.shape)
        given = f"{place.get_name(name.removesuffix('.weight'))}.weight"
        if array.ndim == 1 or kind == "F32":
            writer.add_tensor(given, array)
        else:
            how = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(given, gguf.quants.quantize(array, how), raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fetched(folder: Path, path: Path) -> tuple[Path, Any]:
    uri = f"file:{path.name}"
    work = new_work(folder, root=path.parent)
    return work.out, fetch_base(work, model=uri, revision="", pin=pin_files(local_files(uri, path.parent)))


@pytest.mark.parametrize(("kind", "most"), [("F32", 0.0), ("F16", 2e-3), ("Q8_0", 0.08)])
def test_logits_are_those_of_the_model_within_what_quantising_costs(
    base: Artifact, tmp_path: Path, kind: str, most: float
) -> None:
    out, facts = fetched(tmp_path / "work", write(tmp_path / "model.gguf", base, kind))
    ours, theirs = load_model(out), load_model(base.path)
    assert to_json(facts) == {"architecture": "llama", "parameters": parameters(theirs), "revision": ""}
    ids = torch.arange(60)[None] * 37 % 280
    with torch.inference_mode():
        off = (ours(ids).logits - theirs(ids).logits).abs()
    spread = float(theirs(ids).logits.detach().std())
    assert float(off.square().mean().sqrt()) <= most * spread
    assert most == 0 or float(off.max()) > 0  # the file is not float32
    weights = theirs.state_dict()
    for name, weight in ours.state_dict().items():
        steps = {"F32": 0.0, "F16": 2**-11, "Q8_0": 1 / 127}[kind]  # of a number, or of the largest of a block
        assert float((weight - weights[name]).abs().max()) <= steps * float(weights[name].abs().max()), name
    assert ours.get_input_embeddings().weight is ours.get_output_embeddings().weight


def test_rows_in_another_order_would_be_seen(base: Artifact) -> None:
    """The control: without the converter's order of rotated rows the logits are others."""
    model = load_model(base.path)
    attention = model.get_submodule("model.layers.0.self_attn.q_proj")
    with torch.no_grad():
        attention.weight.copy_(attention.weight.reshape(4, 2, 4, 32).swapaxes(1, 2).reshape(32, 32))
        ids = torch.arange(60)[None] * 37 % 280
        off = (model(ids).logits - load_model(base.path)(ids).logits).abs().max()
    assert float(off) > 0.1


def test_the_tokenizer_is_that_of_the_file(base: Artifact, tmp_path: Path) -> None:
    out, _ = fetched(tmp_path / "work", write(tmp_path / "model.gguf", base))
    ours, theirs = open_tokenizer(out), open_tokenizer(base.path)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ends_of(out).stops == [0]
    for text in ("the cat sat on the mat", "Yö 日本\n\n", "<|endoftext|>"):
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == text
    assert json.loads((out / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"
    assert check_copy(out, out) == 0.0


@pytest.mark.parametrize("led", [True, False])
def test_texts_begin_as_the_file_says(base: Artifact, tmp_path: Path, led: bool) -> None:
    def mark(writer: gguf.GGUFWriter) -> None:
        writer.add_bos_token_id(1)
        writer.add_add_bos_token(led)

    out, _ = fetched(tmp_path / "work", write(tmp_path / "model.gguf", base, more=mark))
    assert (ends_of(out).start, ends_of(out).end.id) == (1 if led else 0, 0)
    ids = AutoTokenizer.from_pretrained(out)("the cat").input_ids
    assert ids == [*([1] if led else []), *open_tokenizer(out).encode("the cat", add_special_tokens=False).ids]


def test_digits_are_cut_one_by_one_where_the_file_says_so(base: Artifact, tmp_path: Path) -> None:
    def pieces(split: str) -> list[str]:
        path = write(tmp_path / f"{split}.gguf", base, split=split)
        cut = open_tokenizer(fetched(tmp_path / split, path)[0]).pre_tokenizer
        return [piece for piece, _ in cut.pre_tokenize_str("in 1968 it's")]

    assert pieces("smollm") == ["in", "Ġ", "1", "9", "6", "8", "Ġit", "'s"]
    assert pieces("gpt-2") == ["in", "Ġ1968", "Ġit", "'s"]


def test_the_same_file_gives_the_same_bytes(base: Artifact, tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", base, "Q8_0")
    one, two = (fetched(tmp_path / name, path)[0] for name in ("one", "two"))
    assert {file.name: file.read_bytes() for file in one.iterdir()} == {f.name: f.read_bytes() for f in two.iterdir()}
    assert str(tmp_path) not in "".join(file.read_text() for file in one.glob("*.json"))


def test_nothing_is_drawn(base: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "model.gguf", base)
    capfd.readouterr()
    fetched(tmp_path / "work", path)
    assert capfd.readouterr() == ("", "")


def refused(base: Artifact, folder: Path, **how: Any) -> DataError:
    path = write(folder / "model.gguf", base, **how)
    with pytest.raises(DataError) as caught:
        fetched(folder / "work", path)
    assert caught.value.at == "file:model.gguf"
    assert caught.value.hint == "give the folder of the original model, saved by transformers"
    return caught.value


def test_what_would_be_read_as_something_else_is_refused(base: Artifact, tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "split": ({"split": "starcoder"}, "how the file's tokenizer cuts texts into pieces, `starcoder`, is not known"),
        "scaled": (
            {"more": lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)},
            "the file's positions are scaled, which cannot be read",
        ),
        "more": (
            {"more": lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))},
            "1 of the file's 21 tensors have no place in a transformers model",
        ),
    }
    for name, (how, what) in cases.items():
        (tmp_path / name).mkdir()
        assert refused(base, tmp_path / name, **how).what == what


def test_a_file_without_all_weights(base: Artifact, tmp_path: Path) -> None:
    found = refused(
        base, tmp_path, more=lambda writer: writer.add_key_value("llama.block_count", 3, gguf.GGUFValueType.UINT32)
    )
    assert found.what.startswith("the file lacks 9 weights, such as `model.layers.2.")


def test_a_damaged_file(base: Artifact, tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", base)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="the GGUF file cannot be read: "):
        fetched(tmp_path / "work", path)
    path.write_bytes(b"no such format")
    with pytest.raises(DataError, match="the GGUF file cannot be read: "):
        fetched(tmp_path / "work2", path)


def test_without_the_package(base: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.gguf", base)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(RecipeError) as caught:
        fetched(tmp_path / "work", path)
    assert caught.value.hint == "install it: pip install 'aurora-m[gguf]'"
