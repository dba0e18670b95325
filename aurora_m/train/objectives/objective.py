"""What a training step minimizes: the seam between the loop, which knows no rows, and the losses, which do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from transformers import PreTrainedModel

from aurora_m.train.world import ParallelLayout

T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True)
class Sums:
    """What a batch's backward passes found: the counts of all processes, and the sums of this one, or of all."""

    loss: float
    count: float
    by_source: Mapping[str, tuple[float, float]]  # sum of losses, count
    anchor: Mapping[str, float] = field(default_factory=dict)  # parts that add up to each anchor's value

    @property
    def mean(self) -> float:
        """The loss, in float32 as its gradients are."""
        return float(torch.tensor(self.loss, dtype=torch.float32) / self.count)

    def parts(self) -> list[float]:
        """What has to be summed over the processes."""
        return [self.loss, *(loss for loss, _ in self.by_source.values()), *self.anchor.values()]

    def summed(self, parts: Sequence[float]) -> "Sums":
        """The same with the sums over all processes."""
        loss, *rest = parts
        pairs = zip(self.by_source.items(), rest, strict=False)
        anchor = zip(self.anchor, rest[len(self.by_source) :], strict=True)
        by_source = {source: (whole, count) for (source, (_, count)), whole in pairs}
        return replace(self, loss=loss, by_source=by_source, anchor=dict(anchor))


class Objective(Protocol[T_contra]):
    """A loss over batches of anything: rows of text, or, one day, pairs of answers of which one is preferred."""

    def backward(self, model: PreTrainedModel, batch: Sequence[T_contra], opt_step: int, world: ParallelLayout) -> Sums:
        """Add the gradients of the mean loss of a batch, of which each process has a part, to the model's."""


class Anchor(Protocol):
    """A term of the loss that holds a model near another one: a pure function of the model and the step."""

    @property
    def name(self) -> str:
        """The key of its value in the curve."""

    @property
    def batch_tokens(self) -> int:
        """Tokens that it reads an optimizer step."""

    @property
    def reads(self) -> int:
        """Weights of a frozen model that reads them, too."""

    def backward(self, model: PreTrainedModel, opt_step: int, world: ParallelLayout) -> float:
        """Add the term's gradients to the model's; returns this process's part of its value before its weight."""
