"""A release, and proof that it reads as it was trained: `transformers` alone gives equal ids, and equal logits."""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from aurora_m.core.errors import TrainError
from aurora_m.model.load import GENERATION, load_model, parameters, positions, save_model
from aurora_m.model.tokenizer import PROBE, PROBES, read_tokenizer

MAX_DIFFERENCE = 1e-5  # of a logit, in float32
MOST_TOKENS = 256  # of a text, of which logits are compared
FAULT = "this is a fault of the export, not of the recipe: report it"


def write_model(original: Path, copy: Path, dtype: str = "float32") -> int:
    """Write a model's weights and config into a copy of its folder, without the rows that only pad its vocabulary.

    A head that is tied to the embeddings stays tied. Ids that the config names and that have no row go. Returns how
    many weights were left out; if there is nothing to change, nothing is written.

    dtype  of the weights, but for those that their architecture keeps in float32
    """
    num_tokens, left_out = _num_ids(original), 0
    padded = AutoConfig.from_pretrained(original, trust_remote_code=False).get_text_config().vocab_size > num_tokens
    if padded or dtype != "float32":
        model = _load(original, dtype)
        before = parameters(model)
        if padded:
            model.resize_token_embeddings(num_tokens)
        for path in copy.glob("*.safetensors*"):
            path.unlink()
        save_model(model, copy, original)
        left_out = before - parameters(model)
    for name in ("config.json", GENERATION):
        _drop_ids(copy / name, num_tokens)
    return left_out


def _drop_ids(path: Path, rows: int) -> None:
    """Take ids that have no row out of a config, such as that of a padding token in rows that were padding."""
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    config = deepcopy(before)
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in [key for key in part if key.endswith("_token_id")]:
            ids = part[key] if isinstance(part[key], list) else [part[key]]
            kept = [index for index in ids if isinstance(index, int) and 0 <= index < rows]
            if len(kept) < len(ids):
                part[key] = (kept if isinstance(part[key], list) else None) or None
    if config != before:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_copy(original: Path, copy: Path, texts: Sequence[str] = (), dtype: str = "float32") -> float:
    """Load a copy as a user would: its tokenizer must give the ids of training on `texts`, its weights their logits.

    Returns how far the copy's logits are from the original's, whose weights are rounded to `dtype`; padding is left
    out.

    errors  TrainError if that is more than `MAX_DIFFERENCE`, if a token has no logit, or if the tokenizer gives other
            ids or does not give text back
    """
    rows = _check_tokenizer(original, copy, [*PROBES, *texts])
    theirs = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32, trust_remote_code=False)
    difference = _distance(theirs, _rounded(original, dtype), rows, _num_ids(original))
    if not difference <= MAX_DIFFERENCE:  # so that NaN is a difference, too
        raise TrainError(f"the released model's logits differ by {difference:.2g}", at=original.name, hint=FAULT)
    return difference


def rounding(original: Path, dtype: str) -> float:
    """How far logits move when a model's weights are rounded to a type, on a short text."""
    ids = read_tokenizer(original, original.name).encode(PROBE, add_special_tokens=False).ids
    return _distance(load_model(original), _rounded(original, dtype), [ids], _num_ids(original))


@torch.inference_mode()
def _distance(one: Any, other: Any, rows: Sequence[list[int]], num_ids: int) -> float:
    """How far the logits of two models are apart; infinite where they are of two shapes."""
    largest = 0.0
    for ids in rows:
        read_BT = torch.tensor([ids[: min(positions(other), MOST_TOKENS)]])
        one_BTV, other_BTV = (model(read_BT).logits[..., :num_ids] for model in (one, other))
        if one_BTV.shape != other_BTV.shape:
            return float("inf")
        distance = float((one_BTV - other_BTV).abs().max())
        if not distance <= largest:  # or not a number
            largest = distance
        if largest != largest:
            break
    return largest


def _check_tokenizer(original: Path, copy: Path, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts, which a copy's tokenizer must give as the original's does in training, and must give back.

    What the original does not give back, such as text that it cannot spell, the copy need not either.
    """
    theirs: Any = AutoTokenizer.from_pretrained(copy, trust_remote_code=False)
    ours = read_tokenizer(original, original.name)
    ours.encode_special_tokens = True  # as in training: names of special tokens in a text are text
    rows = [row.ids for row in ours.encode_batch([*texts], add_special_tokens=False)]
    found = theirs([*texts], add_special_tokens=False, split_special_tokens=True).input_ids
    for text, ids, others in zip(texts, rows, found, strict=True):
        back, other = (
            t.decode(i, skip_special_tokens=False) for t, i in ((ours, ids), (theirs.backend_tokenizer, others))
        )
        if back == text and other != text:
            what = "the released tokenizer does not give text back"
            raise TrainError(what, at=original.name, hint="the base's tokenizer changes text; choose a lossless one")
        if ids != others:
            raise TrainError("the released tokenizer gives other ids than in training", at=original.name, hint=FAULT)
    return [ids for ids in rows if ids]


def _load(folder: Path, dtype: str) -> PreTrainedModel:
    """A folder's model in a type, as it is written."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return model


def _rounded(folder: Path, dtype: str) -> PreTrainedModel:
    """A folder's model in float32, what is saved of it rounded to a type: a buffer that is not saved is made anew."""
    model = _load(folder, "float32")
    if dtype != "float32":
        model.load_state_dict(_load(folder, dtype).state_dict())
    return model


def _num_ids(folder: Path) -> int:
    """One more than the largest id of a folder's tokenizer."""
    return max(read_tokenizer(folder, folder.name).get_vocab(with_added_tokens=True).values()) + 1
