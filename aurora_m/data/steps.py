"""The steps of curation: fetch, measure, compare across sources, decide, rewrite."""

from collections.abc import Mapping, Sequence

from aurora_m.core.declare import Pin, Steps, step
from aurora_m.core.step import Step


@step("data.read.sources:fetch", version=4)
def fetch(*, uri: str, source: str, lang: str, pin: Pin, revision: str, form: str) -> None:
    """The documents of a source."""


# --- columns of one source


@step("data.measure.signals:signals", version=3)
def signals(*, docs: Step, lang: str) -> None:
    """The columns that every source has."""


@step("data.measure.code:code_signals")
def code_signals(*, docs: Step) -> None:
    """The columns that only code has."""


@step("data.measure.perplexity:train_ngrams")
def train_ngrams(*, docs: Steps, seed: int, max_bytes: int) -> None:
    """A model of clean text of one language."""


@step("data.measure.perplexity:perplexity")
def perplexity(*, docs: Step, model: Step) -> None:
    """How far each document is from clean text."""


@step("data.measure.toxic:toxic")
def toxic(*, docs: Step, lang: str, words: str, pin: Pin) -> None:
    """The share of each document's words that are on a list."""


@step("data.measure.classify:train_classifier")
def train_classifier(*, positive: Steps, negative: Steps, seed: int, max_docs: int) -> None:
    """A model that tells documents of some sources from those of others."""


@step("data.measure.classify:train_registers")
def train_registers(*, docs: Steps, field: str, seed: int, max_docs: int) -> None:
    """A model that tells kinds of text apart."""


@step("data.measure.classify:classify")
def classify(*, docs: Step, models: Steps) -> None:
    """What the recipe's own models say of each document."""


@step("data.measure.classify:subsample")
def subsample(*, docs: Step, classes: Step, model: Step, column: str, shares: Mapping[str, float], seed: int) -> None:
    """Which documents stay when kinds of text are thinned to their shares."""


# --- columns that need all sources


@step("data.dedup.duplicates:duplicates", version=4)
def duplicates(*, docs: Steps, near: float, order: Sequence[str]) -> None:
    """Which documents are copies, exact or near; of two, that of the source first in `order` stays."""


@step("data.dedup.contamination:overlap", version=3)
def overlap(*, docs: Steps, items: Step) -> None:
    """Which documents hold items that models are measured on."""


@step("data.dedup.boilerplate:lines", version=3)
def lines(*, docs: Steps, duplicates: Step, min_docs: int, order: Sequence[str]) -> None:
    """Which lines stand on many pages of one site."""


# --- from columns to clean text


@step("data.select.decide:decide", version=2)
def decide(*, docs: Step, columns: Steps, source: str, keep: str) -> None:
    """Which documents stay, and why the others do not."""


@step("data.select.rewrite:rewrite", version=2)
def rewrite(
    *,
    docs: Step,
    kept: Step,
    signals: Step,
    mask: Sequence[str],
    held_out: float,
    source: str,
    seed: int,
    repo_marks: float | None = None,
    lines: Step | None = None,
) -> None:
    """The documents that stay, without personal data and shared lines; some of them held out."""
