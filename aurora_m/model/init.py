"""Base models from scratch: a small Llama or GPTBigCode with random weights."""

import json

import torch
from tokenizers import Tokenizer
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from aurora_m.core.step import Artifact, Work
from aurora_m.model.facts import ModelFacts
from aurora_m.model.load import parameters, save_model
from aurora_m.model.shape import inner_width

INIT_STD = 1.0  # over the square root of the width; with 0.02, as at large widths, small models learn slowly (LOG.md)


def init(  # noqa: PLR0913  # a step
    work: Work,
    *,
    tokenizer: Artifact,
    arch: str,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    positions: int,
    seed: int,
) -> ModelFacts:
    """Make a model with random weights from a seed; embeddings and head are tied."""
    vocab = Tokenizer.from_file(str(tokenizer.path / "tokenizer.json"))
    eos = vocab.token_to_id("<|endoftext|>")
    assert eos is not None, "our own tokenizers have it"
    torch.manual_seed(seed)
    model = (_llama if arch == "llama" else _gpt_bigcode)(
        vocab.get_vocab_size(), eos, layers, width, heads, kv_heads, positions
    )
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": positions}
    save_model(model, work.out, tokenizer.path)
    (work.out / "tokenizer_config.json").write_text(json.dumps(about, indent=1) + "\n")
    return ModelFacts(arch, parameters(model))


def _llama(vocab: int, eos: int, layers: int, width: int, heads: int, kv_heads: int, positions: int) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=inner_width("llama", width),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=positions,
        initializer_range=INIT_STD / width**0.5,
        tie_word_embeddings=True,
        bos_token_id=eos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return LlamaForCausalLM(config)


def _gpt_bigcode(
    vocab: int, eos: int, layers: int, width: int, heads: int, kv_heads: int, positions: int
) -> PreTrainedModel:
    assert kv_heads == 1
    config = GPTBigCodeConfig(
        vocab_size=vocab,
        n_embd=width,
        n_inner=inner_width("gpt_bigcode", width),
        n_layer=layers,
        n_head=heads,
        n_positions=positions,
        multi_query=True,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        initializer_range=INIT_STD / width**0.5,
        tie_word_embeddings=True,
        bos_token_id=eos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return GPTBigCodeForCausalLM(config)
