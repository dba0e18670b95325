"""The step that trains."""

from collections.abc import Sequence

from aurora_m.core.declare import Steps, step
from aurora_m.core.step import Step
from aurora_m.recipe import Training


@step("train.stage:train", version=4)
def train(
    *,
    name: str,
    training: Training,
    seed: int,
    old_langs: Sequence[str],
    keep_optimizer: bool,
    start: Step,
    tokenizer: Step,
    held_out: Steps,
    mixture: Step,
    shards: Steps,
    anchor_mixture: Step | None = None,
    anchor_shards: Steps | None = None,
    base: Step | None = None,
    more_mixture: Step | None = None,
    more_shards: Steps | None = None,
) -> None:
    """A model trained on a mixture."""
