"""Block expansion: the logits stay bit for bit, the new blocks can learn, and `transformers` alone reads the result."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import EXPERTS, VOCAB, tiny_base, tiny_experts, tiny_model, tiny_tokenizer
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.model import expand as module
from aurora_m.model.expand import expand
from aurora_m.model.export import check_copy
from aurora_m.model.load import load_model, parameters, save_model

IDS = torch.arange(2 * 20).view(2, 20) % VOCAB


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def windowed() -> Any:
    """A model whose blocks are of two kinds, which its configuration lists."""
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "head_dim": 8}
    more: dict[str, Any] = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    kinds = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    config = Qwen3Config(**sizes, **more, layer_types=kinds, sliding_window=4, use_sliding_window=True)
    return Qwen3ForCausalLM(config).eval()


@pytest.mark.parametrize("count", [1, 2])
def test_the_logits_stay_bit_for_bit(model: Any, count: int, tmp_path: Path) -> None:
    before, size = logits(model), parameters(model)
    of_block = sum(p.numel() for name, p in model.named_parameters() if ".0." in name)
    expand(model, count)
    assert torch.equal(logits(model), before)
    assert model.config.num_hidden_layers == 2 + count
    assert parameters(model) == size + count * of_block
    save_model(model, tmp_path / "saved", tmp_path)
    again = load_model(tmp_path / "saved")
    assert again.config.num_hidden_layers == 2 + count
    assert torch.equal(logits(again), before)


def test_copies_stand_behind_their_originals_evenly(model: Any) -> None:
    names = {name for name, _ in model.named_parameters()}
    first, second = ({n: p.clone() for n, p in model.named_parameters() if f".{block}." in n} for block in (0, 1))
    front = next(iter(first)).partition(".0.")[0]
    assert expand(model, 2) == (f"{front}.1.*", f"{front}.3.*")
    now = dict(model.named_parameters())
    assert set(now) - names == {name.replace(".1.", f".{at}.") for name in second for at in (2, 3)}
    for at, of in ((0, first), (1, first), (2, second), (3, second)):
        for name, weight in of.items():
            block = name.replace(".1." if of is second else ".0.", f".{at}.")
            zero = at in (1, 3) and name.split(".")[-2] in module.OUTPUTS
            assert torch.equal(now[block], torch.zeros_like(weight) if zero else weight), block
    assert [m.layer_idx for m in model.modules() if hasattr(m, "layer_idx")] == [0, 1, 2, 3]


@pytest.mark.parametrize(("count", "copied"), [(1, [3]), (2, [1, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])])
def test_kinds_of_blocks_are_copied_too(count: int, copied: list[int]) -> None:
    model = windowed()
    kinds, before = list(model.config.layer_types), logits(model)
    made = expand(model, count)
    assert made == tuple(f"model.layers.{source + turn + 1}.*" for turn, source in enumerate(copied))
    assert model.config.layer_types == [kinds[source] for source in sorted([*range(4), *copied])]
    assert torch.equal(logits(model), before)


def described(kind: str, **more: Any) -> Any:
    """A model of four blocks whose config says something of each block."""
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "pad_token_id": 0}
    sizes |= {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    sizes |= {"eos_token_id": [1, 2, 3, 4], "max_position_embeddings": 64, "bos_token_id": None}
    experts: dict[str, Any] = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    made: dict[str, Any] = {
        "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**sizes, **more)),
        "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**sizes, head_dim=8, sliding_window=4, **more)),
        "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **experts, **more)),
        "gpt_neo": lambda: GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=VOCAB, hidden_size=32, num_layers=4, num_heads=4, max_position_embeddings=64, **more
            )
        ),
    }
    return made[kind]().eval()


SPREAD: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a list": (
        "smollm3",
        {"no_rope_layers": [1, 0, 1, 1]},
        {"no_rope_layers": [1, 0, 0, 1, 1, 1], "eos_token_id": [1, 2, 3, 4]},
    ),
    "two lists": (
        "smollm3",
        {
            "no_rope_layers": [0, 1, 0, 1],
            "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
            "use_sliding_window": True,
            "sliding_window": 4,
        },
        {"no_rope_layers": [0, 1, 1, 0, 1, 1]},
    ),
    "numbers": ("qwen3_moe", {"mlp_only_layers": [1, 2]}, {"mlp_only_layers": [1, 2, 3]}),
    "how many come first": ("qwen3_moe", {"max_window_layers": 2}, {"max_window_layers": 3}),
    "a pattern that the config makes a list of": (
        "gemma3",
        {"sliding_window_pattern": 2},
        {"layer_types": [f"{kind}_attention" for kind in ("sliding", "full", "full", "sliding", "full", "full")]},
    ),
}


@pytest.mark.parametrize("name", SPREAD)
def test_what_a_config_says_of_blocks_is_spread(name: str, tmp_path: Path) -> None:
    kind, given, wanted = SPREAD[name]
    model = described(kind, **given)
    before = logits(model)
    expand(model, 2)
    assert {key: getattr(model.config, key) for key in wanted} == wanted
    assert torch.equal(logits(model), before)
    save_model(model, tmp_path / "saved", tmp_path)
    assert torch.equal(logits(load_model(tmp_path / "saved")), before)


def test_what_cannot_be_spread_is_refused() -> None:
    model = described("qwen3_moe", decoder_sparse_step=2)  # blocks 1 and 3 have experts
    with pytest.raises(TrainError, match=r"its config cannot say what 5 blocks are: `model\.layers") as caught:
        expand(model, 1)
    assert (caught.value.at, caught.value.hint) == (
        "qwen3_moe",
        "leave out `expand`: this architecture cannot grow",
    )


def test_a_config_that_cannot_be_read_again_is_refused() -> None:
    with pytest.raises(TrainError, match="its config cannot say what 5 blocks are: "):
        expand(described("gpt_neo", attention_types=[[["global", "local"], 2]]), 1)


@pytest.mark.parametrize("kind", EXPERTS)
def test_experts_are_copied_too(kind: str, tmp_path: Path) -> None:
    model = tiny_experts(kind)
    before = logits(model)
    expand(model, 2)
    assert torch.equal(logits(model), before)
    save_model(model, tmp_path / "saved", tmp_path)
    assert torch.equal(logits(load_model(tmp_path / "saved")), before)


def test_a_model_with_a_cache_goes_on_as_before(model: Any) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1}
    before = model.generate(IDS, **asked)
    expand(model, 2)
    assert torch.equal(model.generate(IDS, **asked), before)


def test_new_blocks_have_gradients(model: Any) -> None:
    (pattern,) = expand(model, 1)
    model(input_ids=IDS, labels=IDS).loss.backward()
    new = {name: p.grad for name, p in model.named_parameters() if name.startswith(pattern[:-1])}
    outputs = [grad for name, grad in new.items() if name.split(".")[-2] in module.OUTPUTS]
    assert outputs
    assert all(float(grad.abs().max()) > 0 for grad in outputs)


@pytest.mark.parametrize("arch", ["llama", "gpt_bigcode"])
def test_transformers_alone_reads_it(tmp_path: Path, arch: str) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), arch)
    model = load_model(base.path)
    expand(model, 2)
    save_model(model, tmp_path / "more", base.path)
    assert check_copy(base.path, tmp_path / "more") == 0.0


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(RecipeError) as caught:
        expand(tiny_model("llama"), 3)
    assert (caught.value.what, caught.value.hint) == ("3 blocks cannot be spread over 2", "write expand = 2 or less")


def test_blocks_whose_outputs_are_not_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUTS", ("down_proj",))
    with pytest.raises(TrainError, match="the inserted blocks change the logits"):
        expand(tiny_model("llama"), 1)


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers = torch.nn.ModuleList([*model.model.layers, torch.nn.Identity()])
    with pytest.raises(TrainError, match="no list of blocks"):
        expand(model, 1)


def test_other_architectures() -> None:
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "pad_token_id": 0}
    model = OlmoForCausalLM(OlmoConfig(**sizes, num_hidden_layers=3, num_attention_heads=4)).eval()
    before = logits(model)
    expand(model, 3)
    assert torch.equal(logits(model), before)
