"""Learning rates as pure functions of the tokens seen."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Warm up from 0 to the peak, then go down to the end in one of three ways.

    source  cosine with re-warming: Ibrahim et al. 2024 (arXiv 2403.08763); wsd: Hu et al. 2024 (arXiv 2404.06395)
    """

    kind: str  # cosine, wsd or constant
    peak_lr: float
    end_lr: float
    warmup: int  # tokens
    total: int  # tokens
    decay_share: float = 0.2  # the last share of a wsd schedule, in which it goes down

    def lr(self, tokens: int) -> float:
        """The learning rate of the update that ends at `tokens` seen."""
        if tokens < self.warmup:
            return self.peak_lr * tokens / self.warmup
        if self.kind == "constant":
            return self.peak_lr
        begin: float = self.warmup
        if self.kind == "wsd":
            begin = max(begin, self.total * (1 - self.decay_share))
        down = min(1.0, max(0.0, tokens - begin) / max(1.0, self.total - begin))
        if self.kind == "wsd":
            return self.peak_lr + (self.end_lr - self.peak_lr) * down
        return self.end_lr + (self.peak_lr - self.end_lr) * (1 + math.cos(math.pi * down)) / 2
