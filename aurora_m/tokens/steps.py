"""The steps from clean text to what a training step reads: tokenizer, shards, mixture."""

from collections.abc import Mapping, Sequence

from aurora_m.core.declare import Pin, Steps, step
from aurora_m.core.step import Step


@step("tokens.tokenizer:train_tokenizer")
def train_tokenizer(*, docs: Steps, vocab: int) -> None:
    """A tokenizer for a base from scratch."""


@step("tokens.tokenizer:take_tokenizer", version=2)
def take_tokenizer(*, model: Step, docs: Steps) -> None:
    """The tokenizer of a base that comes from elsewhere."""


@step("tokens.extend:extend_tokenizer", version=2)
def extend_tokenizer(*, tokenizer: Step, docs: Steps, tokens: int) -> None:
    """The base's tokenizer with more tokens, learned on some sources."""


@step("tokens.fertility:fertility", version=2)
def fertility(*, tokenizers: Steps, docs: Steps, langs: Mapping[str, str], pin: Pin) -> None:
    """What each language costs under each tokenizer."""


@step("tokens.shards:shard", version=3)
def shard(*, docs: Step, tokenizer: Step) -> None:
    """The tokens of a source."""


@step("tokens.megatron:import_shards", version=2)
def import_shards(*, tokenizer: Step, uri: str, pin: Pin) -> None:
    """The tokens of a source that comes tokenized."""


@step("tokens.mixture:mix", version=2)
def mix(
    *,
    shards: Steps,
    name: str,
    shares: Mapping[str, float],
    unit: str,
    tokens: int,
    row_tokens: int,
    max_epochs: float,
    fim: Mapping[str, float],
    packing: str,
    sources: Sequence[str] | None = None,
    alpha: float | None = None,
) -> None:
    """How many rows of each source a training step reads."""
