"""Two-layer models with random weights and a small tokenizer, for tests of what reads models."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from aurora_m.core.facts import to_json
from aurora_m.core.files import shard_name, write_jsonl
from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Runtime, Work
from aurora_m.core.table import write_docs
from aurora_m.model.init import init
from aurora_m.recipe import Training
from aurora_m.tokens.shards import ShardFacts
from aurora_m.tokens.tokenizer import train_tokenizer

VOCAB, POSITIONS = 50, 64
KINDS = ("llama", "bigcode")
EXPERTS = ("mixtral", "granite", "qwen3", "deepseek")
ARCHS = ("llama", "gpt_bigcode")


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


def tiny_experts(kind: str) -> Any:
    """A mixture of experts of one of `EXPERTS`, always with the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": POSITIONS,
        "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": None,
    }  # fmt: skip
    small: dict[str, Any] = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
    low: dict[str, Any] = {"q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 8, "num_key_value_heads": 4}
    low |= {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
    made: dict[str, Any] = {
        "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4)),
        "granite": lambda: GraniteMoeForCausalLM(GraniteMoeConfig(**sizes, num_local_experts=4)),
        # Both have a dense first layer.
        "qwen3": lambda: Qwen3MoeForCausalLM(
            Qwen3MoeConfig(**sizes, **small, num_experts=4, head_dim=8, mlp_only_layers=[0])
        ),
        "deepseek": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**{**sizes, **small, **low}, n_routed_experts=4)),
    }
    return made[kind]().train(False)


def tiny_tokenizer(folder: Path, vocab: int = 280) -> Artifact:
    """A trained byte-level tokenizer with all marks, as an artifact."""
    docs = folder / "docs_of_tokenizer"
    write_docs(docs, [doc("d", "the cat sat on the mat and the dog ran to the house, 2024\n" * 3)])
    train_tokenizer(new_work(folder / "tokenizer"), docs={"en": Artifact(docs, "", {})}, vocab=vocab)
    return Artifact(folder / "tokenizer/out", "", {})


def tiny_base(folder: Path, tokenizer: Artifact, arch: str) -> Artifact:
    """A base model from scratch of `llama` or `gpt_bigcode`, as an artifact."""
    torch.set_num_threads(1)
    shape = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 1, "positions": POSITIONS, "seed": 3}
    init(new_work(folder / arch), tokenizer=tokenizer, arch=arch, **shape)
    return Artifact(folder / arch / "out", "", {})


def doc(name: str, text: str, lang: str = "en", source: str = "s") -> dict[str, str]:
    """One document."""
    return {"id": name, "text": text, "source": source, "lang": lang, "meta": "{}"}


def new_work(folder: Path, **runtime: Any) -> Work:
    """An empty place for a step function to write to."""
    (folder / "out").mkdir(parents=True)
    (folder / "scratch").mkdir()
    return Work(
        folder / "out", folder / "scratch", Runtime(folder, threads=1, device="cpu", **runtime), Log(quiet=True)
    )


def training(row_tokens: int, rows: int, **settings: Any) -> Training:
    """The settings of a training step of so many rows an optimizer step."""
    size: Any = {"row_tokens": row_tokens, "batch_tokens": rows * row_tokens}
    rates: Any = {"peak_lr": 1e-2, "end_lr": 1e-3, "warmup_tokens": 2 * rows * row_tokens}
    return Training(**{"start": "base", **size, **rates, **settings})


def as_step(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a training step takes; `how` has its settings, and what else a recipe says of it."""
    how = {"seed": 3, "old_langs": (), "keep_optimizer": False, **given["how"], **changes}
    more = {key: how.pop(key) for key in ("seed", "old_langs", "keep_optimizer")}
    return {**{key: value for key, value in given.items() if key != "how"}, **more, "training": training(**how)}


def tiny_shards(folder: Path, files: list[list[list[int]]], dtype: Literal["uint16", "uint32"] = "uint16") -> Artifact:
    """Token shards of one source, written by hand: for each file its documents; ids `d0`, `d1` and so on."""
    number = 0
    for index, docs in enumerate(files):
        name = shard_name(index, len(files), "")
        (folder / "tokens").mkdir(parents=True, exist_ok=True)
        (folder / f"tokens/{name}bin").write_bytes(np.array([t for d in docs for t in d], dtype).tobytes())
        offsets = np.cumsum([0, *(len(d) for d in docs)], dtype=np.int64)
        (folder / f"tokens/{name}idx").write_bytes(offsets.tobytes())
        write_jsonl(folder / f"ids/{name}jsonl", [f"d{number + i}" for i in range(len(docs))])
        number += len(docs)
    tokens = sum(len(d) for docs in files for d in docs)
    return Artifact(folder, "", to_json(ShardFacts(tokens, number, 4 * tokens, 4.0, dtype, 0)))
