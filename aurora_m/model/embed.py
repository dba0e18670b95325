"""Rows for the tokens that an extended tokenizer has and its base model does not."""

import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.model.facts import ExtendFacts
from aurora_m.model.load import load_model, parameters, save_model

INITS = ("subtokens", "mean", "random")


def extend(work: Work, *, model: Artifact, tokenizer: Artifact, init: str, seed: int) -> ExtendFacts:
    """Give a base model the rows of an extended tokenizer's new tokens; writes a Hugging Face folder.

    tokenizer  as `tokens.extend:extend_tokenizer` writes it
    init       of `INITS`; see `new_rows`
    """
    net = load_model(model.path)
    added = read_jsonl(tokenizer.path / "added.jsonl")
    add_rows(net, added[0]["id"], [row["parts"] for row in added], init, seed)
    save_model(net, work.out, model.path)
    shutil.copyfile(tokenizer.path / "tokenizer.json", work.out / "tokenizer.json")
    return ExtendFacts(net.config.model_type, parameters(net), len(added), int(net.config.vocab_size))


def add_rows(model: PreTrainedModel, first: int, parts: Sequence[Sequence[int]], init: str, seed: int) -> None:
    """Put rows `first` and on, one for each of `parts`, into a model's embeddings and, where it is not tied, its head.

    Old rows stay as they are, bit for bit. Rows that only padded the vocabulary go, so the model has as many rows as
    there are tokens. DataError if the model has fewer rows than the old tokenizer has tokens.
    """
    old = [layer.weight.detach().clone() for layer in embeddings(model)]
    if len(old[0]) < first:
        what = f"the base has {len(old[0])} rows for the {first} tokens of its tokenizer"
        raise DataError(what, at=model.config.model_type, hint="give a model and a tokenizer that belong together")
    model.resize_token_embeddings(first + len(parts), mean_resizing=False)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer, rows_VD in zip(embeddings(model), old, strict=True):
            layer.weight[:first] = rows_VD[:first]
            layer.weight[first:] = new_rows(rows_VD[:first], parts, init, random)


def new_rows(rows_VD: Tensor, parts: Sequence[Sequence[int]], init: str, random: torch.Generator) -> Tensor:
    """Rows for new tokens that stand for `parts`, tokens of the base.

    subtokens  the mean of the parts' rows: inside the hull of what the model knows (arXiv 2407.05841)
    mean       the mean of all rows
    random     normal, with mean and spread of all rows' values: what resizing without thought does
    """
    shape = (len(parts), rows_VD.shape[1])
    if init == "random":
        return torch.randn(shape, generator=random) * rows_VD.std() + rows_VD.mean()
    if init == "mean":
        return rows_VD.mean(0).expand(shape)
    return torch.stack([rows_VD[list(part)].mean(0) for part in parts])


def embeddings(model: PreTrainedModel) -> list[Any]:
    """The embeddings, and the head where it has weights of its own."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [embeddings] if head.weight is embeddings.weight else [embeddings, head]
