"""Bases of other makers, small: a Llama with random weights under a tokenizer of each kind that is in use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

BOS, EOS = "<s>", "</s>"
SPECIAL = ["<unk>", BOS, EOS, "<|turn|>"]
TEXT = [
    "the cat sat on the mat and the dog ran to the house, 2024\n",
    "def add(a, b):\n    return a + b\n\n\nif a:\n\treturn 'x'\n",
    "Yö on pitkä ja päivä lyhyt. Hello world!  Two  spaces.",
]
LEAD = processors.TemplateProcessing(f"{BOS} $A", f"{BOS} $A {BOS} $B", [(BOS, 1)])
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level() -> Tokenizer:
    """As GPT-2, Qwen and Llama 3."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return _trained(made, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet))


def sentence_piece() -> Tokenizer:
    """As Llama 2: a space before the text, which its decoder takes off, and bytes for what it cannot spell."""
    made = _fallback()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    return made


def metaspace() -> Tokenizer:
    """As Llama 2 where transformers 5 saved it."""
    made = _fallback()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    return made


def gemma() -> Tokenizer:
    """As Gemma: spaces are marked, and none is added."""
    made = _fallback()
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _fallback() -> Tokenizer:
    """A BPE of characters, with bytes for others."""
    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.normalizer = normalizers.Replace(" ", "▁")
    _trained(learnt, trainers.BpeTrainer(vocab_size=460, special_tokens=[*SPECIAL, *BYTES]))
    data = json.loads(learnt.to_str())["model"]
    merges = [tuple(pair) for pair in data["merges"]]
    made = Tokenizer(models.BPE(data["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.add_special_tokens(SPECIAL)
    return made


def _trained(made: Tokenizer, trainer: Any) -> Tokenizer:
    trainer.show_progress = False
    made.train_from_iterator(TEXT * 3, trainer)
    return made


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level, "sentence_piece": sentence_piece, "metaspace": metaspace, "gemma": gemma
}  # fmt: skip


def base(folder: Path, tokenizer: Tokenizer, about: dict[str, Any], positions: int = 64, **config: Any) -> Path:
    """Save a base; `about` is its tokenizer_config.json, and `config` changes its config.json."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.3,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(shape)
    model.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        data = json.loads((folder / name).read_text())
        given = {**data, **{key: value for key, value in config.items() if key.startswith(("bos", "eos"))}}
        (folder / name).write_text(json.dumps(given))
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **about}))
    return folder
