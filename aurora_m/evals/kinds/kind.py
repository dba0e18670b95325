"""What a kind of item is: what to ask the model, what to keep of its outputs, and how to score that. No model here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, TypeAlias

from aurora_m.core.canon import JSON
from aurora_m.evals.sandbox.run import Program
from aurora_m.evals.task import Item


@dataclass(frozen=True)
class Loglikelihood:
    """How likely each continuation is after the context; an item's continuations are scored from one place on."""

    context: str
    continuations: tuple[str, ...]


@dataclass(frozen=True)
class FillIn:
    """How likely the middle is after a prefix and a suffix, between the tokenizer's fill-in-the-middle marks."""

    prefix: str
    suffix: str
    middle: str


@dataclass(frozen=True)
class Generate:
    """What the model goes on to say, up to the text `stop`."""

    prompt: str
    stop: str = ""
    reference: str = ""  # a right text, which must pass as the model's tokenizer spells it


Request: TypeAlias = Loglikelihood | FillIn | Generate


@dataclass(frozen=True)
class Outputs:
    """What the model gave to the requests of one item, in their order.

    `nats` has a list for each Loglikelihood, by continuation, and for each FillIn, of one or, without marks, none.
    """

    nats: Sequence[Sequence[float]] = ()
    texts: Sequence[str] = ()  # of each Generate, not cut at `stop`


@dataclass(frozen=True)
class Score:
    """One value of a metric, whose rate is the sum of values over the sum of weights."""

    metric: str
    value: float
    weight: int = 1


Answer: TypeAlias = Mapping[str, Any]  # a row of answers.jsonl


@dataclass(frozen=True)
class Kind:
    """What is special about a kind of item, as functions."""

    metrics: tuple[str, ...]
    check: Callable[[Item, str], None]  # DataError, at the place given, on an item that is none of this kind
    requests: Callable[[Item], tuple[Request, ...]]
    answer: Callable[[Item, Outputs], dict[str, JSON]]  # the item's row of answers.jsonl, without its id
    score: Callable[[Item, Answer], Iterator[Score]]
    program: Callable[[Item, str], Program] | None = None  # the metric `pass`: whether a text passes in the sandbox


def num_bytes(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text.encode())


def bits(nats: float) -> float:
    """Bits of a natural log of probability, with 6 digits after the point."""
    return round(-nats / log(2), 6)
