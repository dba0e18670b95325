"""Two-layer models with random weights, for tests of what reads models."""

from typing import Any

import torch
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM, LlamaConfig, LlamaForCausalLM

VOCAB, POSITIONS = 50, 64
KINDS = ("llama", "bigcode")


def tiny_model(kind: str, vocab: int = VOCAB, positions: int = POSITIONS) -> Any:
    """A model of one of `KINDS`, always with the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    if kind == "llama":
        config: Any = LlamaConfig(
            vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.3,
            bos_token_id=None, eos_token_id=0,
        )  # fmt: skip
        return LlamaForCausalLM(config).train(False)
    config = GPTBigCodeConfig(
        vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=positions, initializer_range=0.3,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPTBigCodeForCausalLM(config).train(False)
