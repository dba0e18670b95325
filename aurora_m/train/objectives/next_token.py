"""The next token: cross entropy with the weights of the rows.

Tuning on answers is the same objective: its rows give prompts and padding no weight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from aurora_m.model.forward import forward_hidden
from aurora_m.model.shard import call_unsharded, reduce_over_replicas
from aurora_m.tokens.rows import Row
from aurora_m.train.loss import head_loss
from aurora_m.train.objectives.objective import Sums
from aurora_m.train.world import ParallelLayout


@dataclass(frozen=True)
class NextToken:
    """The mean loss of all targets of a batch, each with its weight."""

    sources: Sequence[str]  # of all rows, in an order that every process knows
    micro_batch: int = 0  # rows a forward pass; 0: the whole batch

    def backward(self, model: PreTrainedModel, batch: Sequence[Row], opt_step: int, world: ParallelLayout) -> Sums:
        """Add the gradients of a batch; the sums are in nats, and their counts of targets."""
        of_row = [(row.source, world.counted * float(row.weights.sum())) for row in batch]
        count, *counts = world.sum([sum(targets for _, targets in of_row), *self._by_source(of_row)])
        size, found = self.micro_batch or len(batch), []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            reduce_over_replicas(model, start + size >= len(batch))
            total, losses_N = call_unsharded(model, partial(self._losses, model, part))
            (total / count).backward()
            found.append(losses_N.view(len(part), -1).sum(1))
        losses_B = world.counted * torch.cat(found).detach().cpu()
        losses = self._by_source(zip((row.source for row in batch), losses_B.tolist(), strict=True))
        pairs = zip(self.sources, losses, counts, strict=True)
        by_source = {source: (loss, targets) for source, loss, targets in pairs if targets}
        return Sums(float(losses_B.sum()), count, by_source)

    def _by_source(self, values: Iterable[tuple[str, float]]) -> list[float]:
        """Sums in the order of the sources."""
        sums = dict.fromkeys(self.sources, 0.0)
        for source, value in values:
            sums[source] += value
        return [*sums.values()]

    @staticmethod
    def _losses(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        hidden_ND, targets_N, weights_N = forward_hidden(model, rows)
        return head_loss(hidden_ND, model.get_output_embeddings().weight, targets_N, weights_N)
