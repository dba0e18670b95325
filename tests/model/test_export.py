"""A released folder reads as it was trained, with `transformers` alone; any change to it is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import ARCHS, tiny_base, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import TrainError
from aurora_m.model.export import MAX_DIFFERENCE, PROBE, check_copy
from aurora_m.model.load import load_model, save_model


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
