"""Let a model go on from prompts: greedy by default, the same text for any batch size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from aurora_m.model.load import positions


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest, or with a temperature one that is drawn.

    Every prompt draws from its own stream of random numbers, named by `seed` and its index.
    """

    temperature: float = 0.0
    top_k: int = 0  # draw from so many likeliest tokens; 0: from all
    seed: int = 0
    first: int = 0  # the index of the first prompt
    never: Sequence[int] = ()  # ids that are not chosen


def generate(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    max_new: int,
    ends: Sequence[int],
    stop: Sequence[list[int]] = (),
    batch: int = 64,
    sampling: Sampling = Sampling(),
) -> list[list[int]]:
    """New token ids for each prompt, up to the first of `ends` or `stop` sequence, none of which is returned.

    A prompt is cut on the left so that `max_new` tokens fit into the model's positions. What the model's folder says
    of generation does not count, nor does an empty stop sequence, of a text that the tokenizer has no token for.
    ValueError on an empty prompt or if `max_new` leaves no room for one.
    """
    room = positions(model) - max_new
    if room < 1:
        raise ValueError(f"{max_new} new tokens leave no room for a prompt in {room + max_new} positions")
    stop = [mark for mark in stop if mark]
    if not all(prompts):
        raise ValueError("a prompt needs at least one token")
    new: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    marks: dict[str, Any] = {"eos_token_id": [*ends], "pad_token_id": ends[0]}
    never = [*sampling.never] or None
    config = GenerationConfig(max_new_tokens=max_new, do_sample=False, suppress_tokens=never, **marks)
    with _own_config_only(model):
        for start in range(0, len(order), batch):
            members = order[start : start + batch]
            seeds = [sampling.seed * 1_000_003 + sampling.first + index for index in members]
            sampler = [_Sampler(seeds, sampling.temperature, sampling.top_k)] if sampling.temperature else []
            rows = _generate_batch(model, [prompts[index][-room:] for index in members], config, stop, sampler)
            for index, ids in zip(members, rows, strict=True):
                new[index] = _cut(ids, [*([end] for end in ends), *stop])
    return new


@contextmanager
def _own_config_only(model: Any) -> Iterator[None]:
    """Set aside the model's own config of generation, such as a repetition penalty, which would fill in ours."""
    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


def _generate_batch(
    model: Any,
    prompts: list[list[int]],
    config: GenerationConfig,
    stop: Sequence[list[int]],
    sampler: list["_Sampler"],
) -> list[list[int]]:
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), config.pad_token_id)
    mask_BT = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, ids in enumerate(prompts):
        ids_BT[row, width - len(ids) :] = torch.tensor(ids)
        mask_BT[row, width - len(ids) :] = 1
    out_BT = model.generate(
        ids_BT.to(model.device),
        attention_mask=mask_BT.to(model.device),
        generation_config=config,
        logits_processor=LogitsProcessorList(sampler),
        stopping_criteria=StoppingCriteriaList([_Stop(stop, width)] if stop else []),
    )
    rows: list[list[int]] = out_BT[:, width:].tolist()
    return rows


class _Sampler(LogitsProcessor):
    """Make the greedy choice a draw: the token at which the sum of the probabilities passes a random number."""

    def __init__(self, seeds: list[int], temperature: float, top_k: int) -> None:
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature, self.top_k = temperature, top_k

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        size = scores.shape[-1]
        if 0 < self.top_k < size:
            least_B1 = scores.topk(self.top_k).values[:, -1:]
            scores = scores.masked_fill(scores < least_B1, float("-inf"))
        drawn_B1 = torch.stack([torch.rand(1, generator=stream, dtype=torch.float64) for stream in self.streams])
        sums_BV = (scores.double() / self.temperature).softmax(-1).cumsum(-1)
        token_B1 = torch.searchsorted(sums_BV, drawn_B1.to(scores.device) * sums_BV[:, -1:], right=True)
        return torch.full_like(scores, float("-inf")).scatter(1, token_B1.clamp(max=size - 1), 0.0)


class _Stop(StoppingCriteria):
    """A row is done once its new ids end with one of the stop sequences."""

    def __init__(self, stop: Sequence[list[int]], width: int) -> None:
        self.stop, self.width = stop, width

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        done = [any(row[-len(mark) :] == mark for mark in self.stop) for row in input_ids[:, self.width :].tolist()]
        return torch.tensor(done, device=input_ids.device)


def _cut(ids: list[int], marks: Sequence[list[int]]) -> list[int]:
    """The ids before the first of the marks."""
    for at in range(len(ids)):
        if any(ids[at : at + len(mark)] == mark for mark in marks):
            return ids[:at]
    return ids
