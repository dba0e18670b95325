"""The monitor: bits per byte of held-out text in every language, and how far a model is from the base, in training."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import torch
from transformers import PreTrainedModel

from aurora_m.core.canon import digest
from aurora_m.core.ends import ends_of
from aurora_m.core.step import Artifact
from aurora_m.core.table import read_all
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import positions
from aurora_m.tokens.spelling import Spelling
from aurora_m.tokens.tokenizer import open_tokenizer
from aurora_m.train.average import averaged
from aurora_m.train.budget import Budget
from aurora_m.train.curve import Curve, EvalPoint

GLANCE_BYTES = 3_000  # of held-out text a language and source: a glance, not a verdict
KL_TOKENS = 256  # a language: the base's probabilities of all tokens are kept for each

Measure = Callable[[PreTrainedModel], dict[str, float]]

# T targets of one row, V vocabulary


@dataclass(frozen=True)
class Monitor:
    """What is measured of a model while it trains, and the budget that it is held to."""

    measure: Measure
    budget: Budget = Budget()  # noqa: RUF009

    def start(self, model: PreTrainedModel) -> Curve:
        """The curve of a model that has not trained yet."""
        return Curve(EvalPoint(self.measure(model)))

    def evaluate(self, model: PreTrainedModel, updates: Sequence[torch.optim.Optimizer], curve: Curve) -> EvalPoint:
        """The next evaluation point of a curve, of the averages of the weights, if there are some."""
        with averaged(updates):
            return self.budget.evaluate(self.measure(model), curve)


@dataclass(frozen=True)
class Glance:
    """The first held-out documents of one source in one language, as tokens."""

    lang: str
    source: str
    num_bytes: int  # that the tokenizer can spell
    docs: Sequence[list[int]]


def glances(held_out: Mapping[str, Artifact], tokenizer: Artifact) -> list[Glance]:
    """Glances at all languages and sources, documents in the order of a hash."""
    encoder, found = open_tokenizer(tokenizer.path), []
    spelling = Spelling(encoder)
    for source in sorted(held_out):
        table = read_all(held_out[source].path, "held")
        for lang in sorted(set(table["lang"].to_pylist())):
            of_lang = table.filter(pc.equal(table["lang"], lang)).sort_by("id")
            docs = zip(of_lang["id"].to_pylist(), of_lang["text"].to_pylist(), strict=True)
            texts = _first_bytes([text for _, text in sorted(docs, key=lambda doc: digest(doc[0]))])
            ids = [encoding.ids for encoding in encoder.encode_batch(texts, add_special_tokens=False)]
            num_bytes = sum(len(text.encode()) - len(spelling.unspelled(text).encode()) for text in texts)
            found += [Glance(lang, source, num_bytes, ids)] if num_bytes else []
    return found


def bits_per_byte(held_out: Mapping[str, Artifact], tokenizer: Artifact) -> Measure:
    """Make the function that measures a model: bits per byte by language, and by `language/source` of two or more."""
    looks, ends = glances(held_out, tokenizer), ends_of(tokenizer.path)
    is_led = ends.lead is not None
    unknown = Spelling(open_tokenizer(tokenizer.path)).unknown
    by_lang: dict[str, list[Glance]] = defaultdict(list)
    for glance in looks:
        by_lang[glance.lang].append(glance)

    def measure(model: PreTrainedModel) -> dict[str, float]:
        model.eval()
        window = positions(model)
        given: dict[str, Any] = {"start": ends.start, "window": window, "unscored": unknown, "is_led": is_led}
        bits = {id(glance): sum(document_bits(model, glance.docs, **given)) for glance in looks}
        model.train()
        found: dict[str, float] = {}
        for lang, parts in by_lang.items():
            found[lang] = round(sum(bits[id(g)] for g in parts) / sum(g.num_bytes for g in parts), 5)
            several = parts if len(parts) > 1 else []
            found |= {f"{lang}/{g.source}": round(bits[id(g)] / g.num_bytes, 5) for g in several}
        return found

    return measure


def divergence(
    base: PreTrainedModel, held_out: Mapping[str, Artifact], tokenizer: Artifact, langs: Sequence[str]
) -> Measure:
    """Make the function that measures KL(base || model) of the next token on held-out text, in nats a token.

    Exact over the vocabulary, on the first `KL_TOKENS` tokens of each language; keys are `kl/language`. What the base
    says is kept, not the base.
    """
    start = ends_of(tokenizer.path).start
    rows: dict[str, list[list[int]]] = {lang: [] for lang in langs}
    room = dict.fromkeys(langs, KL_TOKENS)
    for glance in (glance for glance in glances(held_out, tokenizer) if glance.lang in rows):
        for doc in glance.docs:
            part = doc[: min(room[glance.lang], positions(base))]
            rows[glance.lang] += [[start, *part][: positions(base)]] if part else []
            room[glance.lang] -= len(part)
    wanted = {lang: [_log_probs(base, row).cpu() for row in found] for lang, found in rows.items()}

    def measure(model: PreTrainedModel) -> dict[str, float]:
        found: dict[str, float] = {}
        for lang, of_base in wanted.items():
            total, count = 0.0, 0
            for row, base_TV in zip(rows[lang], of_base, strict=True):
                ours_TV = _log_probs(model, row)
                there_TV = base_TV.to(ours_TV.device)
                total += float((there_TV.exp() * (there_TV - ours_TV)).sum(-1).double().sum())
                count += len(base_TV)
            found[f"kl/{lang}"] = round(total / max(count, 1), 6)
        model.train()
        return found

    return measure


@torch.no_grad()
def _log_probs(model: PreTrainedModel, row: list[int]) -> torch.Tensor:
    """What a model says of the token after each one of a row but the last: natural logs, float32[T, V]."""
    model.eval()
    device = next(model.parameters()).device
    logits_TV: torch.Tensor = model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0]
    return logits_TV.float().log_softmax(-1)


def _first_bytes(texts: list[str]) -> list[str]:
    """Whole documents until `GLANCE_BYTES` is reached, at least one."""
    found, size = [], 0
    for text in texts:
        if size >= GLANCE_BYTES:
            break
        found.append(text)
        size += len(text.encode())
    return found
