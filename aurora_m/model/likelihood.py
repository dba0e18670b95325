"""How likely a model finds given tokens: sums over spans, and bits of whole documents."""

from collections.abc import Collection, Iterator, Sequence
from math import log

import torch
from torch import Tensor, nn

BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}  # read at a time: what a cache holds; what keeps a GPU busy
CHUNK_POSITIONS = 128  # turned into float32 log probabilities at a time


def score_spans(model: nn.Module, rows: Sequence[tuple[list[int], int]], unscored: Collection[int] = ()) -> list[float]:
    """Sum, for each (ids, start), the natural logs of the probabilities of ids[start:] given what comes before.

    Ids of `unscored` count nothing, but are read by those that follow. `start` is 1 or more and a row is at most one
    token longer than the model's positions. Rows are batched by length and padded on the right, which a causal model
    cannot see. ValueError if `start` is out of range.
    """
    for ids, start in rows:
        if not 1 <= start <= len(ids):
            raise ValueError(f"start {start} is not within 1..{len(ids)}")
    scores = [0.0] * len(rows)
    batch_tokens = BATCH_TOKENS[next(model.parameters()).device.type]
    with torch.no_grad():  # a model in training may be measured, and its gathered weights be used again
        for batch in _batches(rows, batch_tokens):
            batch_scores = _score_batch(model, [rows[index] for index in batch], unscored)
            for index, score in zip(batch, batch_scores, strict=True):
                scores[index] = score
    return scores


def document_bits(
    model: nn.Module,
    docs: Sequence[list[int]],
    start: int,
    window: int,
    unscored: Collection[int] = (),
    *,
    is_led: bool = False,
) -> list[float]:
    """Bits of each token document after the id `start`, each token scored exactly once, but those of `unscored`.

    The model sees rows of `window` tokens that overlap by half, so that every token but those of the first row has at
    least half a window of context. Where documents are led, each row begins with `start`.
    """
    rows: list[tuple[list[int], int]] = []
    owners: list[int] = []
    for index, doc in enumerate(docs):
        for row in _windows([start, *doc], window, is_led):
            rows.append(row)
            owners.append(index)
    bits = [0.0] * len(docs)
    for index, nats in zip(owners, score_spans(model, rows, unscored), strict=True):
        bits[index] -= nats / log(2)
    return bits


def _windows(ids: list[int], window: int, is_led: bool) -> Iterator[tuple[list[int], int]]:
    if window < 2:
        raise ValueError(f"a window of {window} tokens has no context")
    done = 1  # the first is given, not scored
    while done < len(ids):
        end = min(len(ids), window if done == 1 else done + window // 2)
        begin = max(0, end - window)
        yield [ids[0 if is_led else begin], *ids[begin + 1 : end]], done - begin
        done = end


def _batches(rows: Sequence[tuple[list[int], int]], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows of like length, longest first, at most `batch_tokens` with padding."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: (-len(rows[index][0]), index)):
        if batch and (len(batch) + 1) * len(rows[batch[0]][0]) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _score_batch(model: nn.Module, rows: Sequence[tuple[list[int], int]], unscored: Collection[int]) -> list[float]:
    """Score rows of like length in one forward pass."""
    device = next(model.parameters()).device
    width = len(rows[0][0])
    if width < 2:
        return [0.0] * len(rows)
    ids_BT = torch.zeros((len(rows), width), dtype=torch.long)
    scored_BT = torch.zeros((len(rows), width - 1), dtype=torch.bool)
    for row, (ids, start) in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
        scored_BT[row, start - 1 : len(ids) - 1] = True
    if unscored:
        scored_BT &= ~torch.isin(ids_BT[:, 1:], torch.tensor([*unscored]))
    ids_BT, scored_BT = ids_BT.to(device), scored_BT.to(device)
    logits_BTV = model(input_ids=ids_BT[:, :-1], use_cache=False).logits
    logp_N = _log_probs(logits_BTV[scored_BT], ids_BT[:, 1:][scored_BT])
    sums_B = torch.zeros(len(rows), dtype=torch.float64, device=device)
    sums_B.index_add_(0, scored_BT.nonzero()[:, 0], logp_N.double())
    return [float(value) for value in sums_B.tolist()]


def _log_probs(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Natural-log probability of each target, in float32, some rows at a time to bound memory."""
    parts = []
    for first in range(0, len(targets_N), CHUNK_POSITIONS):
        chunk = slice(first, first + CHUNK_POSITIONS)
        logits_CV = logits_NV[chunk].float()
        parts.append(logits_CV.gather(1, targets_N[chunk, None])[:, 0] - logits_CV.logsumexp(-1))
    return torch.cat(parts) if parts else torch.zeros(0)
