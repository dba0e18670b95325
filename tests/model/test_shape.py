"""Shapes: parameters counted without a model are those of the model, and what is kept for the backward pass is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM, LlamaConfig, LlamaForCausalLM

from aurora_m.model.shape import Shape, declared, inner_width, shape_of

SIZES = (
    {"layers": 3, "width": 64, "heads": 4, "positions": 50, "vocab": 97, "inner": 200},
    {"layers": 2, "width": 96, "heads": 6, "positions": 128, "vocab": 301, "inner": 96},
)


def model_of(arch: str, size: dict[str, int], kv_heads: int, tied: bool, device: str = "meta") -> Any:
    """A model of `transformers`; on the device `meta` it has no weights."""
    more = {"vocab_size": size["vocab"], "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": 0}
    with torch.device(device):
        if arch == "llama":
            config: Any = LlamaConfig(
                hidden_size=size["width"], intermediate_size=size["inner"], num_hidden_layers=size["layers"],
                num_attention_heads=size["heads"], num_key_value_heads=kv_heads,
                max_position_embeddings=size["positions"], **more,
            )  # fmt: skip
            return LlamaForCausalLM(config)
        drops = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
        config = GPTBigCodeConfig(
            n_embd=size["width"], n_inner=size["inner"], n_layer=size["layers"], n_head=size["heads"],
            n_positions=size["positions"], multi_query=kv_heads == 1, **more, **drops,
        )  # fmt: skip
        return GPTBigCodeForCausalLM(config)


def counted(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("arch", "kv_heads"), [("llama", 1), ("llama", 2), ("gpt_bigcode", 1), ("gpt_bigcode", 0)])
def test_every_weight_is_counted_once(
    tmp_path: Path, arch: str, kv_heads: int, size: dict[str, int], tied: bool
) -> None:
    kv_heads = kv_heads or size["heads"]
    model = model_of(arch, size, kv_heads, tied)
    shape = Shape(arch, kv_heads=kv_heads, tied=tied, **size)
    assert shape.parameters == counted(model)
    blocks = model.base_model.layers if arch == "llama" else model.base_model.h
    assert shape.block_parameters == counted(blocks[0])
    linear = [module for module in blocks[0].modules() if isinstance(module, nn.Linear)]
    assert shape.block_matrices == sum(layer.weight.numel() for layer in linear)
    assert shape.block_edges == sum(layer.in_features + layer.out_features for layer in linear)
    used = {id(p) for module in model.modules() if isinstance(module, nn.Linear) for p in module.parameters()}
    assert shape.looked_up == sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in used)

    model.config.save_pretrained(tmp_path)
    assert shape_of(json.loads((tmp_path / "config.json").read_text())) == shape


@pytest.mark.parametrize(("positions", "parameters"), [(8192, 15_517_456_384), (2048, 15_479_707_648)])
def test_starcoder(positions: int, parameters: int) -> None:
    size = {"layers": 40, "width": 6144, "heads": 48, "positions": positions, "vocab": 49_152, "inner": 24_576}
    shape = Shape("gpt_bigcode", kv_heads=1, **size)
    assert shape.parameters == parameters == counted(model_of("gpt_bigcode", size, 1, True))


def test_a_recipe_says_a_shape() -> None:
    said = {"arch": "llama", "layers": 2, "width": 128, "heads": 4, "kv_heads": 2, "positions": 512, "vocab": 99}
    assert declared(said) == Shape("llama", 2, 128, 4, 2, 512, 99, inner=352, tied=True)
    assert declared({**said, "inner": 7, "tied": False}) == Shape("llama", 2, 128, 4, 2, 512, 99, inner=7, tied=False)
    assert inner_width("gpt_bigcode", 128) == 512


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "qwen3"},
        {},
        {**LlamaConfig().to_dict(), "attention_bias": True},
        {**LlamaConfig().to_dict(), "head_dim": 96},
    ],
)
def test_what_is_of_another_family_has_no_shape(config: dict[str, Any]) -> None:
    assert shape_of(config) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("arch", "kv_heads"), [("llama", 2), ("gpt_bigcode", 1)])
def test_what_a_block_keeps_is_what_autograd_keeps(
    arch: str, kv_heads: int, size: dict[str, int], dtype: torch.dtype
) -> None:
    rows, row_tokens = 2, 32
    models = [model_of(arch, {**size, "layers": layers}, kv_heads, True, "cpu").to(dtype) for layers in (1, 2)]
    kept = [_kept_bytes(model, rows, row_tokens) for model in models]
    shape = Shape(arch, kv_heads=kv_heads, **size)
    assert kept[1] - kept[0] == rows * row_tokens * shape.kept_bytes(row_tokens, dtype.itemsize)


def _kept_bytes(model: Any, rows: int, row_tokens: int) -> int:
    """Bytes that autograd keeps of a forward pass over packed rows, weights left out."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found: dict[int, torch.Tensor] = {}  # holds them, so that no memory is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    positions = torch.arange(row_tokens).repeat(rows, 1) % (row_tokens // 2)
    tokens = torch.arange(rows * row_tokens).view(rows, row_tokens) % 97
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(tokens, position_ids=positions, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())
