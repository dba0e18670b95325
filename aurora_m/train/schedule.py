"""Learning rates as pure functions of the tokens read, and the optimizer steps that have them."""

import math
from dataclasses import dataclass

from aurora_m.recipe import Training


@dataclass(frozen=True)
class OptStep:
    """One optimizer step, as it is planned."""

    number: int  # from 1
    rows: range
    tokens: int  # read up to its end
    lr: float
    warming: bool  # whether the learning rate still rises

    @property
    def ends(self) -> tuple[int, int]:
        """Its first row and its last."""
        return self.rows.start, self.rows.stop - 1

    def at(self, name: str) -> str:
        """Its place, for people."""
        return f"{name}, optimizer step {self.number}, rows {self.ends[0]} to {self.ends[1]}"


@dataclass(frozen=True)
class Schedule:
    """Warm up from 0 to the peak, then go down to the end in one of four ways.

    cosine    along half a wave                        Ibrahim et al. 2024 (arXiv 2403.08763): re-warm, re-decay
    wsd       hold the peak, then straight down        Hu et al. 2024 (arXiv 2404.06395)
    infinite  cool down along half a wave to a constant rate, hold it, then anneal exponentially to the end
              Ibrahim et al. 2024, section 7.4; Singh et al. 2025 (arXiv 2503.02844)
    constant  hold the peak
    """

    kind: str
    peak_lr: float
    end_lr: float
    warmup: int  # tokens
    total: int  # tokens of the whole curve, of which a stage may take a part
    decay_share: float = 0.2  # the last share of a wsd or infinite curve, in which it goes down to the end
    constant_lr: float = 0.0  # of an infinite curve
    cooldown: int = 0  # tokens in which an infinite curve goes from the peak to it
    offset: int = 0  # tokens of the curve that earlier stages took

    @classmethod
    def of(cls, training: Training, total: int, offset: int) -> "Schedule":
        """What a training step asks for, on a curve of so many tokens, of which earlier stages took `offset`."""
        ends = (training.peak_lr, training.end_lr, training.warmup_tokens, total)
        rest = (training.decay_share, training.constant_lr, training.cooldown_tokens, offset)
        return cls(training.schedule, *ends, *rest)

    def lr(self, tokens: int) -> float:
        """The learning rate of the update that ends at `tokens` seen in this stage."""
        at = tokens + self.offset
        if at < self.warmup:
            return self.peak_lr * at / self.warmup
        decay = max(float(self.warmup), self.total * (1 - self.decay_share))  # where a wsd or infinite curve ends
        if self.kind == "constant":
            return self.peak_lr
        if self.kind == "wsd":
            return self.peak_lr + (self.end_lr - self.peak_lr) * self._share(at, decay, self.total)
        if self.kind == "cosine":
            return _wave(self.peak_lr, self.end_lr, self._share(at, self.warmup, self.total))
        rate = _wave(self.peak_lr, self.constant_lr, self._share(at, self.warmup, self.warmup + self.cooldown))
        down = self._share(at, decay, self.total) if self.decay_share else 0.0
        return rate if down == 0 else rate * (self.end_lr / rate) ** down

    def warming(self, tokens: int) -> bool:
        """Whether the rate still rises at `tokens`, so that the loss may rise with it."""
        return tokens + self.offset <= self.warmup

    @staticmethod
    def _share(at: int, first: float, last: float) -> float:
        """How much of the way from `first` to `last` is done."""
        return min(1.0, max(0.0, at - first) / max(1.0, last - first))


def _wave(high: float, low: float, down: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * down)) / 2
