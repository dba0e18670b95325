"""Likelihoods equal those of one token at a time."""

from math import log
from typing import Any

import pytest
import torch
from tiny import POSITIONS, VOCAB, tiny_model

from aurora_m.model import likelihood
from aurora_m.model.likelihood import document_bits, score_spans


def one_by_one(model: Any, ids: list[int], start: int) -> float:
    total = 0.0
    with torch.inference_mode():
        for at in range(start, len(ids)):
            logp_V = model(torch.tensor([ids[:at]])).logits[0, -1].double().log_softmax(-1)
            total += float(logp_V[ids[at]])
    return total


def some_rows(count: int) -> list[tuple[list[int], int]]:
    random = torch.Generator().manual_seed(3)
    rows = []
    for number in range(count):
        ids = torch.randint(0, VOCAB, (2 + number * 5 % 23,), generator=random).tolist()
        rows.append((ids, 1 + number % (len(ids) - 1)))
    return rows


@pytest.mark.parametrize(("batch_tokens", "positions"), [(1, 128), (40, 3), (8192, 128), (8192, 1)])
def test_spans_equal_one_token_at_a_time(
    model: Any, batch_tokens: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(likelihood.BATCH_TOKENS, "cpu", batch_tokens)
    monkeypatch.setattr(likelihood, "CHUNK_POSITIONS", positions)
    rows = some_rows(12)
    expected = [one_by_one(model, ids, start) for ids, start in rows]
    assert score_spans(model, rows) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("batch_tokens", "batches"), [(1, [1] * 8), (20, [2] * 4), (39, [3, 3, 2]), (1024, [8])])
def test_no_more_is_read_at_a_time_than_is_set(
    batch_tokens: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(likelihood.BATCH_TOKENS, "cpu", batch_tokens)
    model, read = tiny_model("llama"), []
    model.register_forward_pre_hook(lambda module, args, given: read.append(len(given["input_ids"])), with_kwargs=True)
    score_spans(model, [([5] * 10, 1)] * 8)
    assert read == batches


def test_a_row_may_be_one_longer_than_the_positions() -> None:
    row = ([1] * (POSITIONS + 1), 1)
    assert score_spans(tiny_model("bigcode"), [row])[0] < 0


def test_nothing_to_score() -> None:
    model = tiny_model("llama")
    assert score_spans(model, []) == []
    assert score_spans(model, [([5], 1), ([5, 6, 7], 3)]) == [0.0, 0.0]


@pytest.mark.parametrize("start", [0, 4])
def test_a_start_out_of_range_is_an_error(start: int) -> None:
    with pytest.raises(ValueError, match=rf"start {start} is not within 1\.\.3"):
        score_spans(tiny_model("llama"), [([1, 2, 3], start)])


def test_document_bits_equal_windows_by_hand(model: Any) -> None:
    doc, window = [(7 * n) % VOCAB for n in range(1, 24)], 8
    ids = [0, *doc]
    expected = 0.0
    for at in range(1, len(ids)):  # rows end at 8, 12, 16, 20, 24: each token sees back to the start of its row
        end = 8 if at < 8 else (at // 4 + 1) * 4
        expected -= one_by_one(model, ids[end - 8 : at + 1], at - (end - 8)) / log(2)
    assert document_bits(model, [doc, []], 0, window) == [pytest.approx(expected, abs=1e-4), 0.0]


def test_each_window_of_a_led_document_begins_with_the_lead(model: Any) -> None:
    doc = [(7 * n) % VOCAB for n in range(1, 12)]
    ids = [0, *doc]
    expected = 0.0
    for at in range(1, len(ids)):  # rows end at 8, 12
        end = 8 if at < 8 else 12
        row = [0, *ids[end - 7 : at + 1]]
        expected -= one_by_one(model, row, len(row) - 1) / log(2)
    assert document_bits(model, [doc], 0, 8, is_led=True) == [pytest.approx(expected, abs=1e-4)]
    assert document_bits(model, [doc], 0, 12, is_led=True) == document_bits(model, [doc], 0, 12)


def test_a_short_document_is_one_row(model: Any) -> None:
    doc = [3, 9, 4, 1]
    expected = -one_by_one(model, [0, *doc], 1) / log(2)
    assert document_bits(model, [doc], 0, POSITIONS) == [pytest.approx(expected, abs=1e-4)]


def test_a_window_needs_context() -> None:
    with pytest.raises(ValueError, match="a window of 1 tokens has no context"):
        document_bits(tiny_model("llama"), [[1]], 0, 1)


def test_what_is_not_scored_counts_nothing_and_is_read(model: Any) -> None:
    doc = [3, 9, 4, 9, 9, 1]
    ids = [0, *doc]
    expected = -sum(one_by_one(model, ids[: at + 1], at) for at in (1, 3, 6)) / log(2)
    assert document_bits(model, [doc], 0, POSITIONS, [9]) == [pytest.approx(expected, abs=1e-4)]
    assert document_bits(model, [[9, 9]], 0, POSITIONS, [9]) == [0.0]
