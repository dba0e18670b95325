"""Proof that a model folder reads as it was trained: `transformers` alone loads it, with equal logits."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import TrainError
from aurora_m.model.load import load_model, positions

MAX_DIFFERENCE = 1e-5  # of a logit, float32
PROBE = "The release must read as it was trained: def f(x): return x. 日本語 हिन्दी Tiếng Việt suomi"


def check_copy(original: Path, copy: Path) -> float:
    """Load a copy as a user would and return how far its logits are from the original's.

    errors  TrainError if that is more than `MAX_DIFFERENCE`, or if the tokenizer does not give text back
    """
    tokenizer = AutoTokenizer.from_pretrained(copy)
    theirs = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32)
    ours = load_model(original)
    ids_BT = tokenizer(PROBE, return_tensors="pt").input_ids
    with torch.inference_mode():
        read_BT = ids_BT[:, : positions(ours)]
        difference = float((theirs(read_BT).logits - ours(read_BT).logits).abs().max())
    if not difference <= MAX_DIFFERENCE:  # so that NaN is a difference, too
        what = f"the released model's logits differ by {difference:.2g}"
        raise TrainError(what, at=original.name, hint="this is a fault of the export, not of the recipe: report it")
    if tokenizer.decode(ids_BT[0], skip_special_tokens=True) != PROBE:
        what = "the released tokenizer does not give text back"
        raise TrainError(what, at=original.name, hint="the base's tokenizer changes text; choose a lossless one")
    return difference
