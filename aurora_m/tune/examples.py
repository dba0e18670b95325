"""Reviewed instructions as training rows: the loss is on the responses only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from aurora_m.core.chat import render
from aurora_m.core.ends import Ends
from aurora_m.tokens.rows import Row
from aurora_m.tokens.stream import hash_keyed, positions_of
from aurora_m.tokens.tokenizer import num_shared

SOURCE = "reviewed"  # of these rows


@dataclass(frozen=True)
class Example:
    """One instruction and response as tokens."""

    tokens: list[int]  # lead, prompt, response, end
    prompt: int  # how many of them are the prompt's


def encode(row: dict[str, str], encoder: Tokenizer, ends: Ends) -> Example:
    """Turn a row (prompt, answer) into tokens, led as all documents are; the response as it goes on from its prompt."""
    prompt = encoder.encode(render(row["prompt"], ""), add_special_tokens=False).ids
    whole = encoder.encode(render(row["prompt"], row["answer"]), add_special_tokens=False).ids
    return Example([ends.start, *whole, ends.end.id], 1 + num_shared(prompt, whole))


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
    return Row(tokens, positions_of(np.array(starts), row_tokens), weights[1:], SOURCE, epoch)
