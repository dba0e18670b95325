"""The steps that tune."""

from collections.abc import Sequence

from aurora_m.core.declare import Steps, step
from aurora_m.core.step import Step
from aurora_m.recipe import Training


@step("tune.sft:sft", version=4)
def sft(
    *,
    name: str,
    training: Training,
    seed: int,
    old_langs: Sequence[str],
    keep_optimizer: bool,
    epochs: int,
    replay: float,
    start: Step,
    tokenizer: Step,
    held_out: Steps,
    reviewed: Step,
    mixture: Step | None = None,
    shards: Steps | None = None,
    anchor_mixture: Step | None = None,
    anchor_shards: Steps | None = None,
    base: Step | None = None,
) -> None:
    """A model tuned on reviewed rows, between rows of replay."""
