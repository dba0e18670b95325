"""GGUF files as base models: their weights de-quantised to float32, and the tokenizer that they hold."""

import io
import json
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.faults import words_of

SPLIT = "tokenizer.ggml.pre"
FOLDER = "give the folder of the original model, saved by transformers"
DIGITS = ("smollm",)  # of llama.cpp: digits one by one, the rest as GPT-2; transformers does not know it
MARKS = ("bos_token", "eos_token", "pad_token", "unk_token")


def unpack(path: Path, folder: Path, at: str) -> None:
    """Write the model and the tokenizer of a GGUF file as a Hugging Face folder, in float32.

    errors  RecipeError if the package `gguf` is not installed; DataError, with `at`, for what transformers cannot read,
            and for what it would read as something else: weights without a place or missing, scaled positions, and
            texts cut into pieces in a way it does not know
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        hint = "install it: pip install 'aurora-m[gguf]'"
        raise RecipeError("the package that reads GGUF files is not installed", at=at, hint=hint) from error
    try:
        file = GGUFReader(path)
        _check(file, at)
        with redirect_stderr(io.StringIO()):  # it draws bars of its own
            model = _model(path, len(file.tensors), at)
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
        if _text_of(file, SPLIT) in DIGITS:
            pieces = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
            tokenizer.backend_tokenizer.pre_tokenizer = Sequence(pieces)
    except DataError:
        raise
    except Exception as error:  # the libraries have no errors of their own
        said = words_of(error)
        raise DataError(f"the GGUF file cannot be read: {said}", at=at, hint=FOLDER) from error
    model.save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    named = {mark: getattr(tokenizer, mark) for mark in MARKS if getattr(tokenizer, mark)}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **named}
    if tokenizer.chat_template:
        about["chat_template"] = tokenizer.chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _model(path: Path, num_tensors: int, at: str) -> PreTrainedModel:
    config = AutoConfig.for_model(**load_gguf_checkpoint(str(path))["config"])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    if len(weights) < num_tensors:
        what = f"{num_tensors - len(weights)} of the file's {num_tensors} tensors have no place in a transformers model"
        raise DataError(what, at=at, hint=FOLDER)
    head = {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = {*model.load_state_dict(weights, strict=False).missing_keys} - head
    if missing:
        raise DataError(f"the file lacks {len(missing)} weights, such as `{min(missing)}`", at=at, hint=FOLDER)
    return model


def _check(file: Any, at: str) -> None:
    """DataError for what transformers reads without a word as something else."""
    split = _text_of(file, SPLIT)
    known = {"gpt-2", *DIGITS, *GGUF_PRE_TOKENIZER_SPLITS}
    if _text_of(file, "tokenizer.ggml.model") == "gpt2" and split not in known:
        what = f"how the file's tokenizer cuts texts into pieces, `{split}`, is not known"
        raise DataError(what, at=at, hint=FOLDER)
    scaled = [name for name in file.fields if name.endswith(".rope.scaling.type") and _text_of(file, name) != "none"]
    if scaled:
        raise DataError("the file's positions are scaled, which cannot be read", at=at, hint=FOLDER)


def _text_of(file: Any, name: str) -> str:
    """A text of the file's metadata; empty where there is none."""
    field = file.fields.get(name)
    return "" if field is None else str(field.contents())
