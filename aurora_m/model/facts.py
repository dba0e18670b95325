"""What the steps that make models say of them."""

from collections.abc import Mapping
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


@dataclass(frozen=True)
class ExtendFacts(ModelFacts):
    """A base with rows for more tokens."""

    tokens_added: int
    vocab: int  # rows that it has now


@dataclass(frozen=True)
class WriteFacts:
    """Documents that a model wrote: what is said of a source that is fetched, and `cut`."""

    docs: int
    bytes: int
    skipped: Mapping[str, int]  # documents, by why
    repairs: Mapping[str, int]
    cut: int  # documents that were not over
