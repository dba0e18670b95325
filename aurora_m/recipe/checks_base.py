"""Whether the base of a recipe is one model, and its shape one that can be."""

import re

from aurora_m.recipe.checks_data import check_sources
from aurora_m.recipe.shape import Recipe, Scratch, Shape
from aurora_m.recipe.values import check_pinned, known, need

PACKAGED = re.compile(r"python:\w+/.+\.gguf")  # a file of an installed package


def check_base(recipe: Recipe) -> None:
    base, scratch = recipe.base, recipe.base.scratch
    hint = 'write model = "hf:owner/name", or a table [base.scratch]'
    need(bool(base.model) != bool(scratch), "the base needs either `model` or `scratch`", "base", hint)
    if base.model.startswith("hf:"):
        check_pinned(base.revision, "base.revision")
    right = base.model.startswith(("hf:", "file:")) or base.model == "" or PACKAGED.fullmatch(base.model)
    hint = "write hf:owner/name, file:folder, file:model.gguf or python:package/model.gguf"
    need(bool(right), f"`{base.model}` is not a model", "base.model", hint)
    if scratch:
        need(not base.end_token, "a base from scratch has an end token of its own", "base.end_token", "leave it out")
        at = "base.scratch.tokenizer_sources"
        need(bool(scratch.tokenizer_sources), "the tokenizer has nothing to learn from", at, "name a source or more")
        for name in scratch.tokenizer_sources:
            known(name, recipe.source, at, "source")
        _check_shape(scratch, "base.scratch")
    if base.extend:
        hint = "leave [base.extend] out, and write a larger `vocab`"
        need(not scratch, "a base from scratch learns its tokens itself", "base.extend", hint)
        need(base.extend.tokens >= 1, "there are no new tokens", "base.extend.tokens", "write 1 or more")
        check_sources(base.extend.sources, recipe, "base.extend.sources")
    if base.shape:
        need(not scratch, "a base from scratch has two shapes", "base.shape", "leave it out")
        _check_shape(base.shape, "base.shape")


def _check_shape(shape: Scratch | Shape, at: str) -> None:
    one = shape.arch != "gpt_bigcode" or shape.kv_heads == 1
    need(one, "gpt_bigcode has one key-value head", f"{at}.kv_heads", "write kv_heads = 1")
    least = min(shape.layers, shape.width, shape.heads, shape.kv_heads)
    need(least >= 1, "a model has no layers, width or heads", at, "write 1 or more")
    divide = shape.width % shape.heads == 0 and shape.heads % shape.kv_heads == 0
    hint = "heads must divide width, kv_heads must divide heads"
    need(divide, "width, heads and kv_heads do not divide", at, hint)
