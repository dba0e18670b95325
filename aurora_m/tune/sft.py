"""Supervised tuning on reviewed instructions: the same loop, with the loss on the responses only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from aurora_m.core.chat import render
from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.model.load import load_model, save_model
from aurora_m.tokens.stream import Row, Stream, key_of, mixed, positions_of, scatter
from aurora_m.tokens.tokenizer import end_id, fim_ids, open_tokenizer
from aurora_m.train.loop import Plan, Rows, fit, start_model, training_facts
from aurora_m.train.monitor import bits_per_byte
from aurora_m.train.schedule import Schedule
from aurora_m.train.stage import CURVE


@dataclass(frozen=True)
class Between:
    """Tuning rows with a share of replay rows spread evenly between them: again a pure function of the index."""

    tuned: Sequence[Row]
    replayed: Rows
    share: Fraction

    def __len__(self) -> int:
        return int(len(self.tuned) / (1 - self.share))

    def __getitem__(self, index: int) -> Row:
        before, after = int(index * self.share), int((index + 1) * self.share)
        return self.replayed[before] if after > before else self.tuned[index - before]


@dataclass(frozen=True)
class Example:
    """One instruction and response as tokens."""

    tokens: list[int]  # end, prompt, response, end
    prompt: int  # how many of them are the prompt's


def sft(
    work: Work,
    *,
    start: Artifact,
    tokenizer: Artifact,
    reviewed: Artifact,
    held: dict[str, Artifact],
    name: str,
    epochs: int,
    row_tokens: int,
    batch: int,
    schedule: str,
    peak_lr: float,
    end_lr: float,
    warmup: int,
    decay_share: float,
    optimizer: str,
    weight_decay: float,
    beta2: float,
    clip: float,
    seed: int,
    replay: float,
    mixture: Artifact | None = None,
    shards: dict[str, Artifact] | None = None,
) -> Facts:
    """Tune `start` on reviewed rows for some epochs; writes a Hugging Face folder and curve.jsonl.

    replay  the share of rows that come from `mixture` instead, so that tuning forgets little
    """
    encoder = open_tokenizer(tokenizer.path)
    examples = [encode(row, encoder) for row in read_jsonl(reviewed.path / "rows.jsonl")]
    short = [example for example in examples if len(example.tokens) <= row_tokens + 1]
    tuned = [row for epoch in range(epochs) for row in pack(short, row_tokens, mixed(seed, epoch), epoch)]
    key = mixed(seed, key_of(name))
    stream: Sequence[Row] | Stream = Stream(mixture, shards, key, fim_ids(encoder)) if mixture and shards else ()
    rows = Between(tuned, stream, Fraction(replay).limit_denominator(1000))
    if int(len(rows) * rows.share) > len(stream):
        what = f"tuning replays {int(len(rows) * rows.share)} rows, and its mixture has {len(stream)}"
        raise RecipeError(what, at=f"tune.{name}", hint="raise the mixture's `tokens`, or lower `replay` or `epochs`")
    rows_a_step = batch // row_tokens
    opt_steps = len(rows) // rows_a_step
    if not opt_steps:
        raise TrainError(
            f"{len(short)} reviewed rows do not fill one batch", at=f"tune.{name}", hint="lower `batch` or add rows"
        )
    lrs = Schedule(schedule, peak_lr, end_lr, warmup, opt_steps * batch, decay_share)
    plan = Plan(opt_steps, rows_a_step, row_tokens, lrs, optimizer, weight_decay, beta2, clip, seed)
    model = start_model(work, load_model(start.path), name)
    curve: list[Any] = fit(work, name, model, rows, plan, bits_per_byte(held, tokenizer))
    save_model(model, work.out, start.path)
    write_jsonl(work.out / CURVE, curve)
    return {**training_facts(model, plan, curve), "examples": len(short), "too_long": len(examples) - len(short)}


def encode(row: dict[str, str], encoder: Tokenizer) -> Example:
    """Turn a row (prompt, answer) into tokens, led by the end token as all documents are."""
    prompt = encoder.encode(render(row["prompt"], ""), add_special_tokens=False).ids
    answer = encoder.encode(row["answer"].strip(), add_special_tokens=False).ids
    end = end_id(encoder)
    return Example([end, *prompt, *answer, end], 1 + len(prompt))


def pack(examples: Sequence[Example], row_tokens: int, key: int, epoch: int) -> Iterator[Row]:
    """Shuffle examples by a key and pack them whole into rows, first come first served; ends are padded, weight 0."""
    order = np.argsort(scatter(np.arange(len(examples), dtype=np.uint64), key), kind="stable")
    waiting: list[Example] = []
    room = row_tokens + 1
    for number in order:
        example = examples[number]
        if len(example.tokens) > room:
            yield _row(waiting, row_tokens, epoch)
            waiting, room = [], row_tokens + 1
        waiting.append(example)
        room -= len(example.tokens)
    if waiting:
        yield _row(waiting, row_tokens, epoch)


def _row(examples: Sequence[Example], row_tokens: int, epoch: int) -> Row:
    end = examples[0].tokens[-1]
    tokens = np.full(row_tokens + 1, end, np.int64)
    weights = np.zeros(row_tokens + 1, np.float32)
    starts, at = [], 0
    for example in examples:
        starts.append(at)
        tokens[at : at + len(example.tokens)] = example.tokens
        weights[at + example.prompt : at + len(example.tokens)] = 1.0
        at += len(example.tokens)
    if at < row_tokens:
        starts.append(at)  # the padding is a document of its own
    return Row(tokens, positions_of(np.array(starts), row_tokens), weights[1:], "reviewed", epoch)
