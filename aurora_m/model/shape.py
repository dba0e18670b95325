"""The shape of a model, from its config.json, without torch: what decides its parameters and its cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aurora_m.core.errors import DataError

BIASED = ("attention_bias", "mlp_bias")  # of Llama's configs; no released Llama has them


@dataclass(frozen=True)
class Shape:
    """A decoder of one of two families."""

    arch: str  # llama or gpt_bigcode
    layers: int
    width: int
    heads: int
    kv_heads: int
    positions: int
    vocab: int
    inner: int  # width of the feed-forward layers
    tied: bool = True  # the head is the embeddings

    @property
    def block_matrices(self) -> int:
        """Weights of one block's linear layers, biases left out."""
        head_width = self.width // self.heads
        attention = 2 * self.width * self.width + 2 * self.width * self.kv_heads * head_width
        return attention + (3 if self.arch == "llama" else 2) * self.width * self.inner

    @property
    def block_parameters(self) -> int:
        """Weights of one block."""
        if self.arch == "llama":
            return self.block_matrices + 2 * self.width
        key_value = 2 * self.kv_heads * (self.width // self.heads)
        return self.block_matrices + 7 * self.width + key_value + self.inner

    @property
    def block_edges(self) -> int:
        """Inputs and outputs of one block's linear layers: adapters of rank r have r times as many weights."""
        key_value = self.kv_heads * (self.width // self.heads)
        if self.arch == "llama":  # query and output, key and value, gate, up and down
            return 4 * self.width + 2 * (self.width + key_value) + 3 * (self.width + self.inner)
        return 4 * self.width + 2 * key_value + 2 * (self.width + self.inner)

    def kept_bytes(self, row_tokens: int, number_bytes: int) -> int:
        """Bytes that one block keeps for its backward pass, for each token, in rows of packed documents.

        Counted in transformers' eager classes with the `sdpa` kernels: the states that each linear layer, norm and
        activation reads, and one row of the mask between documents. `number_bytes` is 4 or 2, of what is computed in;
        some numbers are float32 in any case.
        """
        key_value = self.kv_heads * (self.width // self.heads)
        if self.arch == "llama":
            always = 2 * self.width + 2 + self.heads
            return number_bytes * (8 * self.width + 4 * self.inner + row_tokens) + 4 * always
        states = 6 * self.width + 2 * key_value + 2 * self.inner + 4
        return number_bytes * (states + row_tokens) + 4 * self.heads

    @property
    def looked_up(self) -> int:
        """Weights that no token is multiplied with: positions, and embeddings that are not the head too."""
        positions = self.positions * self.width if self.arch == "gpt_bigcode" else 0
        return positions + (0 if self.tied else self.vocab * self.width)

    @property
    def parameters(self) -> int:
        """All weights, tied ones once."""
        norm = self.width if self.arch == "llama" else 2 * self.width
        return self.vocab * self.width + self.looked_up + self.layers * self.block_parameters + norm


def inner_width(arch: str, width: int) -> int:
    """The width of the feed-forward layers of a base from scratch: 4x, or in Llama, whose layers are three, 8/3."""
    return 4 * width if arch == "gpt_bigcode" else -(-width * 8 // 3 // 32) * 32


def declared(table: Mapping[str, Any]) -> Shape:
    """The shape that a recipe says in [base.scratch] or [base.shape]."""
    sizes = {name: int(table[name]) for name in ("layers", "width", "heads", "kv_heads", "positions", "vocab")}
    inner = int(table.get("inner") or inner_width(table["arch"], sizes["width"]))
    return Shape(table["arch"], **sizes, inner=inner, tied=bool(table.get("tied", True)))


def shape_of(config: Mapping[str, Any], at: str = "config.json") -> Shape | None:
    """The shape that a config.json of `transformers` says; None if it is of another family.

    DataError, with `at`, if a size is missing, or none.
    """
    hint = "save the model again, or correct its config.json"
    try:
        shape = _of_family(config)
    except KeyError as error:
        raise DataError(f"the base's config.json lacks `{error.args[0]}`", at=at, hint=hint) from None
    except (TypeError, ValueError, ArithmeticError):
        raise DataError("a size in the base's config.json is no whole number above 0", at=at, hint=hint) from None
    if shape and min(shape.layers, shape.width, shape.heads, shape.kv_heads, shape.positions, shape.vocab) < 1:
        raise DataError("a size in the base's config.json is no whole number above 0", at=at, hint=hint)
    return shape


def _of_family(config: Mapping[str, Any]) -> Shape | None:
    if config.get("model_type") == "gpt_bigcode":
        width, heads = int(config["n_embd"]), int(config["n_head"])
        inner = int(config.get("n_inner") or inner_width("gpt_bigcode", width))
        kv_heads = 1 if config.get("multi_query", True) else heads
        sizes = (int(config["n_layer"]), width, heads, kv_heads, int(config["n_positions"]))
        tied = bool(config.get("tie_word_embeddings", True))
        return Shape("gpt_bigcode", *sizes, int(config["vocab_size"]), inner, tied)
    if config.get("model_type") == "llama" and not any(config.get(name) for name in BIASED):
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        if int(config.get("head_dim") or width // heads) * heads != width:
            return None
        kv_heads = int(config.get("num_key_value_heads") or heads)
        sizes = (int(config["num_hidden_layers"]), width, heads, kv_heads, int(config["max_position_embeddings"]))
        inner, tied = int(config["intermediate_size"]), bool(config.get("tie_word_embeddings", False))
        return Shape("llama", *sizes, int(config["vocab_size"]), inner, tied)
    return None
