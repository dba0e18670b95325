"""Supervised tuning on reviewed instructions: the same loop, with the loss on the responses only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from tokenizers import Tokenizer

from aurora_m.core.canon import JSON
from aurora_m.core.chat import render
from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.tokens.stream import Row, Stream, combine_keys, hash_keyed, positions_of
from aurora_m.tokens.tokenizer import end_id, open_tokenizer
from aurora_m.train.loop import Rows, planned
from aurora_m.train.stage import learn, stream, watched
from aurora_m.train.world import run_on_all_ranks


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


@run_on_all_ranks
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
    replay: float,
    how: dict[str, JSON],
    mixture: Artifact | None = None,
    shards: dict[str, Artifact] | None = None,
    old_mixture: Artifact | None = None,
    old_shards: dict[str, Artifact] | None = None,
    base: Artifact | None = None,
) -> Facts:
    """Tune `start` on reviewed rows for some epochs; writes a Hugging Face folder and curve.jsonl.

    replay       the share of rows that come from `mixture` instead, so that tuning forgets little
    how          the settings of `recipe.Training`, and `seed`
    old_mixture  with `old_shards`: the text that an anchor reads
    base         that a forgetting budget compares with
    """
    encoder, seed = open_tokenizer(tokenizer.path), int(str(how["seed"]))
    examples = [encode(row, encoder) for row in read_jsonl(reviewed.path / "rows.jsonl")]
    short = [example for example in examples if len(example.tokens) <= row_tokens + 1]
    tuned = [row for epoch in range(epochs) for row in pack(short, row_tokens, combine_keys(seed, epoch), epoch)]
    replayed: Sequence[Row] | Stream = stream(mixture, shards, tokenizer, how, name) if mixture and shards else ()
    rows = Between(tuned, replayed, Fraction(replay).limit_denominator(1000))
    if int(len(rows) * rows.share) > len(replayed):
        what = f"tuning replays {int(len(rows) * rows.share)} rows, and its mixture has {len(replayed)}"
        raise RecipeError(what, at=f"tune.{name}", hint="raise the mixture's `tokens`, or lower `replay` or `epochs`")
    plan = planned(how, row_tokens, len(rows), start)
    if not plan.opt_steps:
        raise TrainError(
            f"{len(short)} reviewed rows do not fill one batch", at=f"tune.{name}", hint="lower `batch` or add rows"
        )
    old = stream(old_mixture, old_shards, tokenizer, how, f"{name}.anchor") if old_mixture and old_shards else None
    measure, budget = watched(work, how, held, tokenizer, base)
    facts = learn(work, start, name, how, rows, plan, measure, old, budget)
    return {**facts, "examples": len(short), "too_long": len(examples) - len(short)}


def encode(row: dict[str, str], encoder: Tokenizer) -> Example:
    """Turn a row (prompt, answer) into tokens, led by the end token as all documents are."""
    prompt = encoder.encode(render(row["prompt"], ""), add_special_tokens=False).ids
    answer = encoder.encode(row["answer"].strip(), add_special_tokens=False).ids
    end = end_id(encoder)
    return Example([end, *prompt, *answer, end], 1 + len(prompt))


def pack(examples: Sequence[Example], row_tokens: int, key: int, epoch: int) -> Iterator[Row]:
    """Shuffle examples by a key and pack them whole into rows, first come first served; ends are padded, weight 0."""
    order = np.argsort(hash_keyed(np.arange(len(examples), dtype=np.uint64), key), kind="stable")
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
