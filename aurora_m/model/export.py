"""A release, and proof that it reads as it was trained: `transformers` alone loads it, with equal logits."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import TrainError
from aurora_m.model.load import load_model, parameters, positions, save_model

MAX_DIFFERENCE = 1e-5  # of a logit, float32
PROBE = "The release must read as it was trained: def f(x): return x. 日本語 हिन्दी Tiếng Việt suomi"


def cut_padding(original: Path, copy: Path) -> int:
    """Write a model's weights and config into a copy of its folder without the rows that only pad its vocabulary.

    A head that is tied to the embeddings stays tied. Returns how many weights were left out; if none, nothing is
    written.
    """
    num_tokens = _tokens(original)
    if AutoConfig.from_pretrained(original, trust_remote_code=False).get_text_config().vocab_size <= num_tokens:
        return 0
    model = load_model(original)
    before = parameters(model)
    model.resize_token_embeddings(num_tokens)
    save_model(model, copy, original)
    return before - parameters(model)


def check_copy(original: Path, copy: Path) -> float:
    """Load a copy as a user would and return how far its logits are from the original's, padding left out.

    errors  TrainError if that is more than `MAX_DIFFERENCE`, if a token has no logit, or if the tokenizer does not
            give text back
    """
    tokenizer = AutoTokenizer.from_pretrained(copy, trust_remote_code=False)
    theirs = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32, trust_remote_code=False)
    ours = load_model(original)
    ids_BT = tokenizer(PROBE, return_tensors="pt").input_ids
    with torch.inference_mode():
        read_BT = ids_BT[:, : positions(ours)]
        found_BTV, right_BTV = (model(read_BT).logits[..., : _tokens(original)] for model in (theirs, ours))
        same = found_BTV.shape == right_BTV.shape
        difference = float((found_BTV - right_BTV).abs().max()) if same else float("inf")
    if not difference <= MAX_DIFFERENCE:  # so that NaN is a difference, too
        what = f"the released model's logits differ by {difference:.2g}"
        raise TrainError(what, at=original.name, hint="this is a fault of the export, not of the recipe: report it")
    if tokenizer.decode(ids_BT[0], skip_special_tokens=True) != PROBE:
        what = "the released tokenizer does not give text back"
        raise TrainError(what, at=original.name, hint="the base's tokenizer changes text; choose a lossless one")
    return difference


def _tokens(folder: Path) -> int:
    """How many ids a folder's tokenizer has."""
    vocab = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    return max(vocab.values()) + 1
