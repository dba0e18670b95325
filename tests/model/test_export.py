"""A released folder reads as it was trained, with `transformers` alone; any change to it is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import small_folder
from tiny import ARCHS, tiny_base, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import TrainError
from aurora_m.model.export import MAX_DIFFERENCE, PROBE, check_copy, rounding, write_model
from aurora_m.model.load import load_model, parameters, save_model
from aurora_m.model.weights import stored_dtype


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each architecture."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = tiny_tokenizer(folder)
    return {arch: tiny_base(folder, tokenizer, arch).path for arch in ARCHS}


def changed(original: Path, copy: Path, change: Callable[[torch.nn.Parameter], object]) -> Path:
    model = load_model(original)
    with torch.no_grad():
        change(next(model.parameters()))
    save_model(model, copy, original)
    return copy


@pytest.mark.parametrize("arch", ARCHS)
def test_transformers_alone_reads_the_copy(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    copy = Path(shutil.copytree(bases[arch], tmp_path / "copy"))
    assert check_copy(bases[arch], copy) < MAX_DIFFERENCE
    tokenizer = AutoTokenizer.from_pretrained(copy)
    ids = tokenizer(PROBE, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == PROBE
    assert tokenizer.eos_token == "<|endoftext|>"
    theirs = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32)
    with torch.inference_mode():
        difference = (theirs(ids[:, :64]).logits - load_model(bases[arch])(ids[:, :64]).logits).abs().max()
    assert float(difference) < MAX_DIFFERENCE


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("change", [lambda w: w.mul_(1.01), lambda w: w.fill_(float("nan"))])
def test_other_weights_are_refused(
    bases: dict[str, Path], tmp_path: Path, arch: str, change: Callable[[torch.nn.Parameter], object]
) -> None:
    with pytest.raises(TrainError) as caught:
        check_copy(bases[arch], changed(bases[arch], tmp_path / "copy", change))
    assert caught.value.what.startswith("the released model's logits differ by ")
    assert caught.value.at == bases[arch].name
    assert caught.value.hint == "this is a fault of the export, not of the recipe: report it"


def test_a_tokenizer_that_changes_text_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bases["llama"], tmp_path / "copy"))
    path = copy / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": {"type": "Lowercase"}}))
    with pytest.raises(TrainError) as caught:
        check_copy(bases["llama"], copy)
    assert caught.value.what == "the released tokenizer does not give text back"
    assert caught.value.hint == "the base's tokenizer changes text; choose a lossless one"


def padded(original: Path, folder: Path, tied: bool = True, rows: int = 320) -> Path:
    """The same model with more rows than its tokenizer has tokens; the head may have weights of its own."""
    model = load_model(original)
    if not tied:
        model.config.tie_word_embeddings = False
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone() * 1.5)
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
            layer.weight[280:] = 7.0  # what must not leave the house
    save_model(model, folder, original)
    return Path(shutil.copytree(folder, f"{folder}_copy"))


@pytest.mark.parametrize(("arch", "tied"), [*((arch, True) for arch in ARCHS), ("llama", False)])
def test_padding_is_left_out(bases: dict[str, Path], tmp_path: Path, arch: str, tied: bool) -> None:
    copy = padded(bases[arch], tmp_path / "padded", tied)
    whole, width = load_model(tmp_path / "padded"), 32
    assert write_model(tmp_path / "padded", copy) == 40 * width * (1 if tied else 2)
    cut = load_model(copy)
    assert (cut.config.vocab_size, whole.config.vocab_size) == (280, 320)
    assert (cut.get_input_embeddings().weight is cut.get_output_embeddings().weight) == tied
    for name, weight in cut.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name][: len(weight)]), name
    assert check_copy(tmp_path / "padded", copy) < MAX_DIFFERENCE
    assert parameters(whole) - parameters(cut) == 40 * width * (1 if tied else 2)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_model_without_padding_is_left_alone(bases: dict[str, Path], tmp_path: Path, arch: str) -> None:
    (tmp_path / "copy").mkdir()
    assert write_model(bases[arch], tmp_path / "copy") == 0
    assert not list((tmp_path / "copy").iterdir())


def test_a_token_that_was_cut_away_is_missed(bases: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(bases["llama"])
    model.resize_token_embeddings(279)
    save_model(model, tmp_path / "copy", bases["llama"])
    with pytest.raises(TrainError, match="the released model's logits differ by inf"):
        check_copy(bases["llama"], tmp_path / "copy")


def test_a_head_that_left_its_embeddings_is_found(bases: dict[str, Path], tmp_path: Path) -> None:
    copy = padded(bases["llama"], tmp_path / "padded", tied=False)
    write_model(tmp_path / "padded", copy)
    model = load_model(copy)
    with torch.no_grad():
        model.get_output_embeddings().weight.copy_(model.get_input_embeddings().weight)
    save_model(model, tmp_path / "wrong", copy)
    with pytest.raises(TrainError, match="the released model's logits differ by "):
        check_copy(tmp_path / "padded", tmp_path / "wrong")


def test_a_buffer_that_is_not_saved_is_not_rounded(tmp_path: Path) -> None:
    """As the scale that Gemma 3 gives its embeddings, which no bfloat16 is."""
    base = small_folder("gemma3_text", tmp_path / "base")
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    write_model(base, copy, "bfloat16")
    assert stored_dtype(copy) == "bfloat16"
    assert check_copy(base, copy, dtype="bfloat16") < MAX_DIFFERENCE
    rounded = load_model(base)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_(weight.bfloat16())
    save_model(rounded, tmp_path / "rounded", base)
    assert rounding(tmp_path / "rounded", "bfloat16") == 0
