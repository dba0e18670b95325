"""Which architectures Aurora trains: what a small random model of each proves, as the table docs/families.md.

`python -m tests.model.families` makes all of them and writes the page; a test keeps it true. A family that is not in
the table is no less welcome: the same checks run before every training step.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

from aurora_m.model.export import check_copy, write_model
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import load_model, positions, save_model
from aurora_m.model.selftest import check_head, check_isolation, check_learns, check_reference
from aurora_m.model.weights import load_base

PAGE = Path(__file__).parents[2] / "docs/families.md"
COMMAND = "python -m tests.model.families"
ROWS, POSITIONS = 264, 64  # of which 257 have a token: the rest is padding, which a release leaves out
SMALL = {
    **{"vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": POSITIONS},
    **{"initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64, "n_positions": POSITIONS}

# What the small config of a family says besides, or instead. After a comma, a variant of a family.
FAMILIES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bloom": {"n_head": 4, "n_layer": 2},
    "codegen": {**GPT, "rotary_dim": 4},
    "cohere": {},
    "cohere2": HEADS,
    "deepseek_v2": {**ROUTED, **LATENT, "num_key_value_heads": 4, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "deepseek_v3": {**ROUTED, **LATENT, "num_key_value_heads": 4, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "dots1": {**ROUTED, **HEADS, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "ernie4_5": HEADS,
    "exaone4": HEADS,
    "falcon, alibi": {"new_decoder_architecture": False, "alibi": True, "ffn_hidden_size": 64},
    "falcon": {"new_decoder_architecture": False, "alibi": False, "ffn_hidden_size": 64},
    "gemma": HEADS,
    "gemma2": {**HEADS, "query_pre_attn_scalar": 8},
    "gemma3_text": {**HEADS, "query_pre_attn_scalar": 8, "sliding_window": 8},
    "glm": {**HEADS, "partial_rotary_factor": 0.5},
    "glm4": {**HEADS, "partial_rotary_factor": 0.5},
    "glm4_moe": {**ROUTED, **HEADS, "first_k_dense_replace": 1, "n_shared_experts": 1},
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 16},
    "gpt_neox": {},
    "gpt_oss": {**HEADS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gptj": {**GPT, "rotary_dim": 4},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 8.0},
    "helium": HEADS,
    "hunyuan_v1_dense": HEADS,
    "jetmoe": {"num_local_experts": 4, "kv_channels": 8, "num_key_value_heads": 2},
    "llama": {},
    "mamba": {},
    "ministral": HEADS,
    "mistral": {},
    "mistral, sliding_window": {"sliding_window": 8},
    "mixtral": {"num_local_experts": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": POSITIONS, "expansion_ratio": 2},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 8},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "persimmon": {},
    "phi": {},
    "phi3": {"original_max_position_embeddings": POSITIONS},
    "phimoe": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3": HEADS,
    "qwen3_moe": {**EXPERTS, **HEADS},
    "recurrent_gemma": {"lru_width": 32, "num_hidden_layers": 3, "attention_window_size": 16, **HEADS},
    "seed_oss": HEADS,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64},
}


@dataclass(frozen=True)
class Row:
    """What a family proved: a check and whether it held, up to the first that did not, and why that did not."""

    family: str
    held: Mapping[str, bool]
    reason: str = ""

    @property
    def trained(self) -> bool:
        """Whether all held."""
        return not self.reason


@dataclass(frozen=True)
class Small:
    """A small random model, as somebody's folder and as Aurora took it."""

    folder: Path
    model: Any


def small_folder(family: str, folder: Path, **more: Any) -> Path:
    """A small random model of a family with a tokenizer of bytes, in float32, as `transformers` saves it."""
    torch.manual_seed(5)
    torch.set_num_threads(1)
    said = {**SMALL, **FAMILIES[family], **more}
    config = AutoConfig.for_model(family.partition(",")[0], **said)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


@torch.inference_mode()
def check_packed(small: Small) -> None:
    """Packed documents do not see each other, and read as they do alone: their positions begin anew."""
    check_isolation(small.model)
    lengths = [11, 1, 20]
    tokens_BT = torch.tensor([[(11 * n) % 250 + 1 for n in range(sum(lengths))]])
    positions_BT = torch.cat([torch.arange(length) for length in lengths])[None]
    packed_BTV = small.model(input_ids=tokens_BT, position_ids=positions_BT, use_cache=False).logits
    for ids_BT, logits_BTV in zip(tokens_BT.split(lengths, 1), packed_BTV.split(lengths, 1), strict=True):
        alone_BTV = small.model(input_ids=ids_BT, use_cache=False).logits
        if not torch.allclose(logits_BTV, alone_BTV, atol=1e-4, rtol=1e-4):
            raise AssertionError("a packed document reads otherwise than alone")


def check_bits(small: Small) -> None:
    """Bits of a document, batched with others, are those that `transformers` alone gives, one document at a time."""
    plain = AutoModelForCausalLM.from_pretrained(small.folder, dtype=torch.float32).eval()
    docs = [[(7 * n + m) % 250 + 1 for n in range(length)] for m, length in enumerate((40, 9, 23))]
    found = document_bits(small.model, docs, 0, positions(small.model))
    for doc, bits in zip(docs, found, strict=True):
        ids_BT = torch.tensor([[0, *doc]])
        with torch.inference_mode():
            nats = plain(ids_BT, labels=ids_BT, use_cache=False).loss.item() * len(doc)
        right = nats / log(2)
        if not abs(bits - right) <= 1e-3 * right:
            raise AssertionError(f"bits differ from those of transformers: {bits:.3f}, not {right:.3f}")


def check_export(small: Small) -> None:
    """The released folder, without padding, has equal logits and equal ids."""
    save_model(small.model, small.folder.parent / "trained", small.folder)
    save_model(small.model, small.folder.parent / "copy", small.folder)
    write_model(small.folder.parent / "trained", small.folder.parent / "copy")
    check_copy(small.folder.parent / "trained", small.folder.parent / "copy")
    load_model(small.folder.parent / "copy")


CHECKS: dict[str, Callable[[Small], object]] = {
    "loads": lambda small: positions(small.model),
    "loss": lambda small: check_head(small.model),
    "reference": lambda small: check_reference(small.model),
    "isolation": check_packed,
    "learns": lambda small: check_learns(small.model),
    "bits": check_bits,
    "export": check_export,
}


def proved(family: str) -> Row:
    """Run all checks on a small random model of a family, up to the first that fails."""
    with tempfile.TemporaryDirectory() as place:
        held: dict[str, bool] = {}
        try:
            folder = small_folder(family, Path(place, "base"))
            Path(place, "scratch").mkdir()
            small = Small(folder, load_base(folder, Path(place, "scratch"), "base", lambda line: None))
        except Exception as error:
            return Row(family, {"loads": False}, reason_of(error))
        for name, check in CHECKS.items():
            try:
                check(small)
            except Exception as error:
                return Row(family, {**held, name: False}, reason_of(error))
            held[name] = True
        return Row(family, held)


def reason_of(error: Exception) -> str:
    """Why a family is refused, without the numbers that only this model has."""
    words = " ".join(str(getattr(error, "what", error)).split())
    if "does not support an attention implementation" in words:
        return "its class in transformers has no `sdpa` attention, whose kernels isolate documents"
    return re.split(r" by -?[\d.]|: \d|: they differ|: the second", words)[0][:160]


def page(rows: Mapping[str, Row]) -> Iterator[str]:
    """The lines of docs/families.md."""
    yield "# Families of models"
    yield ""
    yield f"Made by `{COMMAND}`; a test keeps it true. Each row is a small model with random weights of that"
    yield "architecture in `transformers`, which goes through what every base goes through:"
    yield ""
    yield "- **loads**: all weights are the folder's, attention is by the kernel `sdpa`, and the positions are known;"
    yield "- **loss**: the logits are the last states times the head, which is how Aurora computes the loss;"
    yield "- **reference**: the kernel's logits are those of plain attention;"
    yield "- **isolation**: packed documents do not see each other, to the last bit, and read as they do alone;"
    yield "- **learns**: a step along the gradient lowers the loss by as much as it promises;"
    yield "- **bits**: bits of batched documents are those of `transformers`, one document at a time;"
    yield "- **export**: the released folder, without padded rows, gives equal logits and ids in `transformers` alone."
    yield ""
    yield "A family that is refused is refused with the reason shown, before it trains. One that is not here may well"
    yield "work: the same checks decide."
    trained = [row for row in rows.values() if row.trained]
    refused = [row for row in rows.values() if not row.trained]
    yield ""
    yield f"## {len(trained)} that Aurora trains"
    yield ""
    yield f"| family | {' | '.join(CHECKS)} |"
    yield f"|---|{'---|' * len(CHECKS)}"
    for row in trained:
        yield line_of(row)
    yield ""
    yield f"## {len(refused)} that it refuses"
    yield ""
    yield "| family | held | refused by | reason |"
    yield "|---|---|---|---|"
    for row in refused:
        yield line_of(row)


def line_of(row: Row) -> str:
    """A family's line in the table."""
    if row.trained:
        return f"| `{row.family}` | {' | '.join('yes' for _ in row.held)} |"
    *held, failed = row.held
    return f"| `{row.family}` | {', '.join(held) or '–'} | {failed} | {row.reason.replace('|', '/')} |"


if __name__ == "__main__":
    chosen = sys.argv[1:]
    made = {}
    for name in chosen or FAMILIES:
        made[name] = proved(name)
        print(line_of(made[name]), file=sys.stderr, flush=True)
    if not chosen:
        PAGE.write_text("\n".join(page(made)) + "\n")
