"""The steps that make models without training, and what a model writes by itself."""

from collections.abc import Mapping

from aurora_m.core.canon import JSON
from aurora_m.core.declare import Pin, Steps, step
from aurora_m.core.step import Step


@step("model.load:fetch_base", version=2)
def fetch_base(*, model: str, revision: str, pin: Pin, shape: Mapping[str, JSON] | None = None) -> None:
    """A base that comes from elsewhere."""


@step("model.init:init")
def init(
    *,
    tokenizer: Step,
    arch: str,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    positions: int,
    seed: int,
) -> None:
    """A base with random weights."""


@step("model.embed:extend")
def extend(*, model: Step, tokenizer: Step, init: str, seed: int) -> None:
    """A base with rows for more tokens."""


@step("model.merge:merge")
def merge(
    *,
    models: Steps,
    weights: Mapping[str, float],
    method: str,
    origin: str,
    scale: float,
    density: float | None = None,
) -> None:
    """A model made of others' weights."""


@step("model.write:write")
def write(*, model: Step, documents: int, source: str, lang: str, seed: int) -> None:
    """Documents that a base writes by itself."""
