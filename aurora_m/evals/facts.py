"""What the step `answer` says of itself; apart from it, because whoever reads facts needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerFacts:
    """How much a model answered and read."""

    items: int
    held_docs: int
    held_bytes: int
    unspelled_bytes: int | None = None  # of these, which count for nothing: the tokenizer has no token for them
    unspelled_items: int | None = None  # that hold such text
