"""What the steps that make models say of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFacts:
    """A model made without training."""

    architecture: str
    parameters: int  # tied ones once


@dataclass(frozen=True)
class BaseFacts(ModelFacts):
    """A base that comes from elsewhere."""

    revision: str  # of a hub model
    dtype: str | None = None  # of its files, where that is not float32, in which it is trained


@dataclass(frozen=True)
class ExtendFacts(ModelFacts):
    """A base with rows for more tokens."""

    tokens_added: int
    vocab: int  # rows that it has now
