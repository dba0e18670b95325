"""Let a model answer all items once, and measure the bits of held-out documents; scoring needs no model after this."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from aurora_m.core.canon import JSON
from aurora_m.core.ends import Ends, ends_of
from aurora_m.core.errors import DataError
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.evals.facts import AnswerFacts
from aurora_m.evals.held_out import choose_documents
from aurora_m.evals.items import ITEMS, read_items
from aurora_m.evals.kinds import KINDS
from aurora_m.evals.kinds.kind import FillIn, Generate, Loglikelihood, Outputs, Request, num_bytes
from aurora_m.evals.task import Item
from aurora_m.model.generate import Sampling, generate
from aurora_m.model.likelihood import document_bits, score_spans
from aurora_m.model.load import device_of, load_model, positions
from aurora_m.tokens.spelling import Spelling
from aurora_m.tokens.tokenizer import decode_after, encode_within, fim_ids, num_shared, open_tokenizer

WINDOW_TOKENS = 2048  # at most, for held-out documents
ROUND_ITEMS = 128  # answered between two updates of the bar

Span = tuple[list[int], int]  # token ids, and the first of them that is scored


@dataclass(frozen=True)
class Encoder:
    """Turns requests into token ids."""

    tokenizer: Tokenizer
    ends: Ends
    positions: int

    @cached_property
    def spelling(self) -> Spelling:
        """What the tokenizer can spell."""
        return Spelling(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def spans(self, request: Request, at: str) -> list[Span]:
        """What is scored for a request: a span for each continuation, one for a middle, none for a generation."""
        match request:
            case Loglikelihood():
                return self._continuations(request, at)
            case FillIn():
                return self._fill_in(request, at)
            case Generate():
                return []

    def _continuations(self, request: Loglikelihood, at: str) -> list[Span]:
        """All are scored from where the first of them leaves the context's tokens.

        A continuation may change how the last characters before it are cut into tokens; these count as part of it.
        """
        context = self.encode(request.context)
        rows = [self.encode(request.context + continuation) for continuation in request.continuations]
        start = min(num_shared(context, row) for row in rows)
        return [self._fit([self.ends.start, *row], start + 1, at) for row in rows]

    def _fill_in(self, request: FillIn, at: str) -> list[Span]:
        """The middle after prefix and suffix, where the tokenizer has the marks for it."""
        marks = fim_ids(self.tokenizer)
        if marks is None:
            return []
        prefix, middle, suffix = marks
        before, after = self.encode(request.prefix), encode_within(self.tokenizer, request.suffix)
        head = [self.ends.start, prefix, *before, suffix, *after, middle]
        return [self._fit([*head, *encode_within(self.tokenizer, request.middle)], len(head), at)]

    def spelled(self, request: Generate) -> str:
        """The request's reference behind its prompt, into tokens and back."""
        whole = self.encode(request.prompt + request.reference)
        return decode_after(self.tokenizer, self.encode(request.prompt), whole)

    def _fit(self, ids: list[int], start: int, at: str) -> Span:
        """Cut on the left what the model has no positions for. DataError if the scored part does not fit."""
        over = max(0, len(ids) - self.positions)
        if over >= start:
            what = f"the item `{at}` has an answer longer than the model's {self.positions} positions"
            raise DataError(what, at=at, hint="shorten the answer, or leave the suite out")
        return self.ends.last(ids, self.positions), start - over


def answer(
    work: Work,
    *,
    model: Artifact,
    items: Artifact,
    held: dict[str, Artifact],
    max_new: int,
    max_held_bytes: int,
    seed: int,
) -> AnswerFacts:
    """Write answers.jsonl, one row for each item in the items' order, and bits.jsonl, one for each held-out document.

    answers: {id, what the item's kind keeps, and `reference`, where the tokenizer spells one otherwise}; `nats` are
    natural logs of probability. bits: {source, id, lang, bits, num_bytes} of the first documents by a hash of their
    ids, up to `max_held_bytes` of each source, without what the tokenizer cannot spell. Values have 6 digits after the
    point.
    """
    net, tokenizer = load_model(model.path, device_of(work.runtime)), open_tokenizer(model.path)
    net.train(False)
    encoder = Encoder(tokenizer, ends_of(model.path), positions(net))
    all_items = read_items(items.path / ITEMS)
    rows: list[JSON] = []
    with work.log.bar("answers", len(all_items), "items") as bar:
        for first in range(0, len(all_items), ROUND_ITEMS):
            rows += _answers(net, encoder, all_items[first : first + ROUND_ITEMS], max_new, seed)
            bar.update(len(rows))
    docs = [
        {"source": name, **doc} for name in sorted(held) for doc in choose_documents(held[name].path, max_held_bytes)
    ]
    bits: list[dict[str, Any]] = []
    with work.log.bar("held-out text", len(docs), "docs") as bar:
        for first in range(0, len(docs), ROUND_ITEMS):
            bits += _bits(net, encoder, docs[first : first + ROUND_ITEMS])
            bar.update(len(bits))
    write_jsonl(work.out / "answers.jsonl", rows)
    write_jsonl(work.out / "bits.jsonl", bits)
    held_bytes = sum(num_bytes(doc["text"]) for doc in docs)
    lost = held_bytes - sum(row["num_bytes"] for row in bits)
    unspelled = sum(bool(encoder.spelling.unspelled(_text_of(item))) for item in all_items)
    if unspelled:
        work.log.say(f"  {unspelled} of {len(all_items)} items hold text that the tokenizer cannot spell")
    return AnswerFacts(len(rows), len(docs), held_bytes, lost or None, unspelled or None)


def _text_of(item: Item) -> str:
    """All that a model reads or may say of an item."""
    return "\n".join([item.prompt, *item.choices, str(item.answer), item.after])


def _answers(net: Any, encoder: Encoder, items: list[Item], max_new: int, seed: int) -> Iterator[JSON]:
    """The rows of some items: one pass for all likelihoods, one for each way to end a generation."""
    requests = [KINDS[item.kind].requests(item) for item in items]
    nats = _nats(net, encoder, items, requests)
    texts = _texts(net, encoder, requests, max_new, seed)
    for index, item in enumerate(items):
        row = {"id": item.id, **KINDS[item.kind].answer(item, Outputs(nats[index], texts[index]))}
        for request in requests[index]:
            if isinstance(request, Generate) and (spelled := encoder.spelled(request)) != request.reference:
                row["reference"] = spelled
        yield row


def _nats(
    net: Any, encoder: Encoder, items: list[Item], requests: Sequence[Sequence[Request]]
) -> list[list[list[float]]]:
    """By item, scored request and continuation."""
    spans = [
        [encoder.spans(request, item.id) for request in own if not isinstance(request, Generate)]
        for item, own in zip(items, requests, strict=True)
    ]
    scores = iter(score_spans(net, [span for item in spans for request in item for span in request]))
    return [[[round(next(scores), 6) for _ in request] for request in item] for item in spans]


def _texts(
    net: Any, encoder: Encoder, requests: Sequence[Sequence[Request]], max_new: int, seed: int
) -> list[list[str]]:
    """By item and generation; all that end at the same text are made together."""
    batches: dict[str, list[tuple[int, Generate]]] = defaultdict(list)
    for index, own in enumerate(requests):
        for request in own:
            if isinstance(request, Generate):
                batches[request.stop].append((index, request))
    texts: list[list[str]] = [[] for _ in requests]
    for stop, batch in batches.items():
        prompts = [[encoder.ends.start, *encoder.encode(request.prompt)] for _, request in batch]
        given = [encoder.ends.last(prompt, encoder.positions - max_new) for prompt in prompts]
        marks = [encode_within(encoder.tokenizer, stop)] if stop else []
        ends, sampling = encoder.ends.stops, Sampling(seed=seed)
        new = generate(net, given, max_new=max_new, ends=ends, stop=marks, sampling=sampling)
        for (index, _), prompt, ids in zip(batch, prompts, new, strict=True):
            texts[index].append(decode_after(encoder.tokenizer, prompt, [*prompt, *ids]))
    return texts


def _bits(net: Any, encoder: Encoder, docs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The rows of some documents, but those of which nothing can be spelled."""
    window, spelling = min(encoder.positions, WINDOW_TOKENS), encoder.spelling
    ids = [encoder.encode(doc["text"]) for doc in docs]
    bits = document_bits(net, ids, encoder.ends.start, window, spelling.unknown, is_led=encoder.ends.lead is not None)
    rows: list[dict[str, Any]] = []
    for doc, value in zip(docs, bits, strict=True):
        about = {key: doc[key] for key in ("source", "id", "lang")}
        if size := num_bytes(doc["text"]) - num_bytes(spelling.unspelled(doc["text"])):
            rows.append({**about, "bits": round(value, 6), "num_bytes": size})
    return rows
