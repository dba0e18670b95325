"""Let a model answer all items once, and measure the bits of held-out documents; scoring needs no model after this."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from aurora_m.core.canon import JSON, digest
from aurora_m.core.chat import INSTRUCTION, render
from aurora_m.core.errors import DataError
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import read_shards
from aurora_m.evals.suites import read_items
from aurora_m.evals.task import Item
from aurora_m.model.generate import generate
from aurora_m.model.likelihood import document_bits, score_spans
from aurora_m.model.load import device_of, load_model, positions
from aurora_m.tokens.tokenizer import end_id, fim_ids, open_tokenizer

WINDOW_TOKENS = 2048  # at most, for held documents
ROUND_ITEMS = 128  # answered between two updates of the bar
STOP = INSTRUCTION.strip()

Span = tuple[list[int], int]  # token ids, and the first of them that is scored


@dataclass(frozen=True)
class Reader:
    """Turns an item into what the model reads."""

    tokenizer: Tokenizer
    eos: int
    positions: int

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def spans(self, before: str, ends: list[str], at: str) -> list[Span]:
        """One span for each way to end the text, all scored from where the first of them leaves `before`'s tokens.

        An end may change how the last characters before it are cut into tokens; these count as part of the end.
        """
        head = self.encode(before)
        rows = [self.encode(before + end) for end in ends]
        start = min(_shared(head, row) for row in rows)
        return [self.fit([self.eos, *row], start + 1, at) for row in rows]

    def fit(self, ids: list[int], start: int, at: str) -> Span:
        """Cut on the left what the model has no positions for. DataError if the scored part does not fit."""
        over = max(0, len(ids) - self.positions)
        if over >= start:
            what = f"the item `{at}` has an answer longer than the model's {self.positions} positions"
            raise DataError(what, at=at, hint="shorten the answer, or leave the suite out")
        return ids[over:], start - over

    def fim(self, item: Item) -> Span | None:
        """The middle after prefix and suffix, where the tokenizer has the marks for it."""
        marks = fim_ids(self.tokenizer)
        if marks is None:
            return None
        prefix, middle, suffix = marks
        head = [self.eos, prefix, *self.encode(item.prompt), suffix, *self.encode(item.after), middle]
        return self.fit([*head, *self.encode(str(item.answer))], len(head), item.id)


def answer(
    work: Work,
    *,
    model: Artifact,
    items: Artifact,
    held: dict[str, Artifact],
    max_new: int,
    max_held_bytes: int,
    seed: int,
) -> Facts:
    """Write answers.jsonl, one row for each item in the items' order, and bits.jsonl, one for each held document.

    answers: choice and cloze {id, nats, bytes} lists over the choices; code {id, text, solution_nats, solution_bytes};
    infill {id, nats (null without fill-in marks), left_nats, bytes}; refuse and comply {id, text}. `nats` are natural
    logs of probability. bits: {source, id, lang, bits, num_bytes} of the first documents by a hash of their ids, up to
    `max_held_bytes` of each source. Values have 6 digits after the point.
    """
    net, tokenizer = load_model(model.path, device_of(work.runtime)), open_tokenizer(model.path)
    net.train(False)
    reader = Reader(tokenizer, end_id(tokenizer), positions(net))
    asked = read_items(items.path)
    rows: list[JSON] = []
    with work.log.bar("answers", len(asked), "items") as bar:
        for first in range(0, len(asked), ROUND_ITEMS):
            rows += _answers(net, reader, asked[first : first + ROUND_ITEMS], max_new, seed)
            bar.update(len(rows))
    docs = [{"source": name, **doc} for name in sorted(held) for doc in held_docs(held[name].path, max_held_bytes)]
    bits: list[JSON] = []
    with work.log.bar("held-out text", len(docs), "docs") as bar:
        for first in range(0, len(docs), ROUND_ITEMS):
            bits += _bits(net, reader, docs[first : first + ROUND_ITEMS])
            bar.update(len(bits))
    write_jsonl(work.out / "answers.jsonl", rows)
    write_jsonl(work.out / "bits.jsonl", bits)
    return {"items": len(rows), "held_docs": len(docs), "held_bytes": sum(_num_bytes(doc["text"]) for doc in docs)}


def held_docs(folder: Path, max_bytes: int) -> list[dict[str, str]]:
    """Documents chosen by a hash of their ids, at most `max_bytes` of text and always one: {id, lang, text}."""
    sizes: list[tuple[str, int]] = []
    for table in read_shards(folder, "held", ["id", "text"]):
        sizes += zip(table["id"].to_pylist(), pc.binary_length(table["text"]).to_pylist(), strict=True)
    chosen: set[str] = set()
    total = 0
    for name, num_bytes in sorted(sizes, key=lambda size: digest(size[0])):  # ids that are paths come in neighbourhoods
        total += num_bytes
        if chosen and total > max_bytes:
            break
        chosen.add(name)
    wanted = pa.array(sorted(chosen), pa.string())
    found = [
        row
        for table in read_shards(folder, "held", ["id", "lang", "text"])
        for row in table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
    ]
    return sorted(found, key=lambda row: str(row["id"]))


def body(text: str) -> str:
    """What of a completion belongs to the function: all before the first line that is neither indented nor blank."""
    kept = []
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.startswith((" ", "\t")):
            break
        kept.append(line)
    return "".join(kept)


def _answers(net: Any, reader: Reader, items: list[Item], max_new: int, seed: int) -> list[JSON]:
    """Answer some items: one pass for all likelihoods, one for code, one for chat."""
    spans = [_spans(reader, item) for item in items]
    scores = iter(score_spans(net, [span for row in spans for span in row]))
    nats = [[round(next(scores), 6) for _ in row] for row in spans]
    chats = [item for item in items if item.kind in ("refuse", "comply")]
    codes = [item for item in items if item.kind == "code"]
    asked = {item.id: [reader.eos, *reader.encode(render(item.prompt, ""))] for item in chats}
    begun = {item.id: [reader.eos, *reader.encode(item.prompt)] for item in codes}
    texts = _texts(net, reader, asked, max_new, [reader.encode(STOP)], seed)
    texts |= _texts(net, reader, begun, max_new, [], seed)
    return [_row(item, values, texts.get(item.id, "")) for item, values in zip(items, nats, strict=True)]


def _spans(reader: Reader, item: Item) -> list[Span]:
    if item.kind in ("choice", "cloze"):
        return reader.spans(item.prompt, [choice + item.after for choice in item.choices], item.id)
    if item.kind in ("code", "infill"):
        fim = reader.fim(item) if item.kind == "infill" else None
        return reader.spans(item.prompt, [str(item.answer)], item.id) + ([fim] if fim else [])
    return []


def _texts(
    net: Any, reader: Reader, prompts: Mapping[str, list[int]], max_new: int, stop: list[list[int]], seed: int
) -> dict[str, str]:
    new = generate(net, list(prompts.values()), max_new=max_new, eos=reader.eos, stop=stop)
    return {name: reader.tokenizer.decode(row) for name, row in zip(prompts, new, strict=True)}


def _row(item: Item, nats: list[float], text: str) -> JSON:
    if item.kind in ("choice", "cloze"):
        return {"id": item.id, "nats": [*nats], "bytes": [_num_bytes(choice) for choice in item.choices]}
    if item.kind == "infill":
        fim = nats[1] if len(nats) > 1 else None
        return {"id": item.id, "nats": fim, "left_nats": nats[0], "bytes": _num_bytes(str(item.answer))}
    if item.kind == "code":
        num_bytes = _num_bytes(str(item.answer))
        return {"id": item.id, "text": body(text), "solution_nats": nats[0], "solution_bytes": num_bytes}
    return {"id": item.id, "text": text.split(STOP)[0].strip()}


def _bits(net: Any, reader: Reader, docs: list[dict[str, str]]) -> list[JSON]:
    window = min(reader.positions, WINDOW_TOKENS)
    bits = document_bits(net, [reader.encode(doc["text"]) for doc in docs], reader.eos, window)
    rows: list[JSON] = []
    for doc, value in zip(docs, bits, strict=True):
        about = {key: doc[key] for key in ("source", "id", "lang")}
        rows.append({**about, "bits": round(value, 6), "num_bytes": _num_bytes(doc["text"])})
    return rows


def _shared(head: list[int], row: list[int]) -> int:
    """How many ids two rows have in common at their beginning."""
    same = (a == b for a, b in zip(head, row, strict=False))
    return next((at for at, equal in enumerate(same) if not equal), min(len(head), len(row)))


def _num_bytes(text: str) -> int:
    return len(text.encode())
