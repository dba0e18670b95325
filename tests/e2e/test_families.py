"""Six families, each with its kind of tokenizer, through CAP, tuning, evaluation and release: users get what it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import small_folder
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.files import read_jsonl
from aurora_m.core.uri import SAMPLE
from aurora_m.model.load import load_model
from aurora_m.tokens.shards import Shards
from tests.e2e.conftest import aurora

POSITIONS, MERGES = 512, 200
GPT_4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RECIPE = """
name = "family"
seed = 17
[base]
model = "file:base"
[source.en]
uri = "sample:texts/en"
lang = "en"
license = "CC0-1.0"
curate = "all"
held_out = 0.2
[source.fi]
uri = "sample:texts/fi"
lang = "fi"
license = "CC0-1.0"
curate = "all"
held_out = 0.2
[curate.all]
keep = "chars >= 1"
[mixture.cap]
tokens = "16K"
weights = { fi = 1.0 }
replay = 0.25
replay_weights = { en = 1.0 }
max_epochs = 9
[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 128
batch_tokens = 1024
peak_lr = 1e-3
end_lr = 1e-4
warmup_tokens = 1024
eval_points = 1
[redteam]
rows = "sample:safety/*"
[review]
decisions = "sample:reviews/decisions"
[tune.safe]
start = "cap"
epochs = 1
row_tokens = 512
batch_tokens = 4096
peak_lr = 1e-3
end_lr = 1e-4
warmup_tokens = 4096
eval_points = 1
[evals]
suites = ["fi"]
old = ["en"]
margins = { en = 0.05 }
max_new_tokens = 4
max_held_bytes = 4000
[release]
model = "safe"
license = "CC0-1.0"
"""


def texts() -> list[str]:
    return [row["text"] for lang in ("en", "fi") for row in read_jsonl(SAMPLE / f"texts/{lang}.jsonl")]


def sentencepiece(special: list[str], prefix: bool) -> Tokenizer:
    """Llama's and Gemma's kind: spaces are ▁, before the first word too or not, and the rest falls back to bytes."""
    trained = Tokenizer(models.BPE())
    spaces = normalizers.Replace(" ", "▁")
    trained.normalizer = spaces
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=60 + MERGES, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocab = {token: n for n, token in enumerate(tokens)}
    merges = [tuple(pair) for pair in model["merges"]]
    kept: dict[str, Any] = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}
    tokenizer = Tokenizer(models.BPE(vocab, merges, **kept))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    tokenizer.add_special_tokens(special)
    return tokenizer


def byte_level(special: list[str], cut: pre_tokenizers.PreTokenizer | None) -> Tokenizer:
    """GPT-2's, StarCoder's and Qwen's kind: bytes, cut into words as each does."""
    tokenizer = Tokenizer(models.BPE())
    own = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=cut is None or not isinstance(cut, pre_tokenizers.Split)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, own]) if cut else own
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = 256 + len(special) + MERGES
    tokenizer.train_from_iterator(
        texts(),
        trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return tokenizer


def with_bos(tokenizer: Tokenizer, bos: str) -> Tokenizer:
    """Let a tokenizer lead a text by its token for that."""
    from tokenizers.processors import TemplateProcessing

    special = [(bos, tokenizer.token_to_id(bos))]
    tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=special)
    return tokenizer


Make = Callable[[], Tokenizer]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
FAMILIES: dict[str, tuple[Make, dict[str, Any]]] = {
    "llama": (
        lambda: with_bos(sentencepiece(["<unk>", "<s>", "</s>"], prefix=True), "<s>"),
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "gemma": (
        lambda: with_bos(sentencepiece(["<pad>", "<eos>", "<bos>", "<unk>"], prefix=False), "<bos>"),
        {
            "tokenizer_class": "GemmaTokenizer",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
        },
    ),
    "qwen3": (
        lambda: byte_level(QWEN, pre_tokenizers.Split(Regex(GPT_4), "isolated")),
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    ),
    "gpt_bigcode": (
        lambda: byte_level(
            ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>"], pre_tokenizers.Digits(True)
        ),
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    ),
    "mixtral": (
        lambda: with_bos(sentencepiece(["<unk>", "<s>", "</s>"], prefix=True), "<s>"),
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "gpt2": (
        lambda: byte_level(["<|endoftext|>"], None),
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    ),
}


def base_of(family: str, folder: Path) -> None:
    """A small random folder of a family, as somebody brings it."""
    make, about = FAMILIES[family]
    tokenizer = make()
    named = {
        f"{role}_token_id": tokenizer.token_to_id(about[f"{role}_token"])
        for role in ("bos", "eos", "pad")
        if f"{role}_token" in about
    }
    sizes = {"vocab_size": tokenizer.get_vocab_size() + 7, "pad_token_id": None, "bos_token_id": None, **named}
    places = {"max_position_embeddings": POSITIONS, **({"n_positions": POSITIONS} if family.startswith("gpt") else {})}
    small_folder(family, folder, **sizes, **places)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_from_somebodys_folder_to_a_release(family: str, tmp_path: Path) -> None:
    base_of(family, tmp_path / "base")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    store = tmp_path / "store"
    done = json.loads(aurora("run", tmp_path / "recipe.toml", "--store", store, "--json").stdout)

    def shown(name: str) -> Any:
        return json.loads(aurora("show", f"family/{name}", "--store", store, "--json").stdout)

    released = Path(done["release"]["path"])
    tokenizer, theirs = AutoTokenizer.from_pretrained(released), AutoModelForCausalLM.from_pretrained(released)
    plain = Tokenizer.from_file(str(tmp_path / "base/tokenizer.json"))
    assert theirs.config.vocab_size == plain.get_vocab_size()  # without what was padding
    assert tokenizer.chat_template == (tmp_path / "base/chat_template.jinja").read_text()
    assert tokenizer.eos_token == FAMILIES[family][1]["eos_token"]

    # The ids of a user are those that were trained on, and so are the special tokens.
    about = shown("shards.fi")
    shards = Shards(Path(about["path"]), about["facts"]["dtype"])
    by_id = {row["id"]: row["text"] for row in read_jsonl(SAMPLE / "texts/fi.jsonl")}
    for n, name in enumerate(shards.doc_ids(0, 5)):
        text = next(text for key, text in by_id.items() if re.search(rf"(^|\\W){re.escape(key)}$", name))
        start, end = shards.bounds(n, n + 1).tolist()
        trained = shards.read(start, end - start).tolist()
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == [token for token in trained if token not in tokenizer.all_special_ids]
        assert tokenizer.decode(ids).strip() == text.strip()
    for special in plain.get_added_tokens_decoder().values():
        assert tokenizer.convert_tokens_to_ids(special.content) == plain.token_to_id(special.content)

    # The logits of a user are Aurora's.
    ours = load_model(Path(shown("safe")["path"]))
    with torch.inference_mode():
        read_BT = torch.tensor([tokenizer(next(iter(by_id.values()))).input_ids[:POSITIONS]])
        difference = theirs(read_BT).logits - ours(read_BT).logits[..., : theirs.config.vocab_size]
    assert float(difference.abs().max()) < 1e-5
