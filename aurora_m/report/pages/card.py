"""The model card: what a reader of the release must know, every number taken from the steps that made it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aurora_m.core.interval import wilson
from aurora_m.core.step import Artifact, Work
from aurora_m.core.units import format_count
from aurora_m.evals.compare import MIN_PAIRS, Change
from aurora_m.recipe import Merge, Recipe
from aurora_m.report.licences import licence_words
from aurora_m.report.record import Inputs, Record, read_record
from aurora_m.report.render import markdown
from aurora_m.report.render.blocks import Block, Heading, Line, Parts, Program, Table, Text, code
from aurora_m.report.words import automated_words, interval, tuning_words

SECTIONS = 8  # with the front matter and the title


@dataclass(frozen=True)
class CardFacts:
    """How many parts the card has."""

    sections: int


def model_card(  # noqa: PLR0913  # a step
    work: Work,
    *,
    forgetting: Artifact,
    models: dict[str, Artifact],
    decided: dict[str, Artifact],
    rewritten: dict[str, Artifact],
    mixtures: dict[str, Artifact],
    reviewed: dict[str, Artifact],
    recipe: str,
) -> CardFacts:
    """Write README.md, a card in the form that model hubs read."""
    record = read_record(Inputs(recipe, forgetting, models, decided, rewritten, mixtures, reviewed))
    text = markdown.document(blocks(record), front(record.recipe))
    (work.out / "README.md").write_bytes(text.encode())
    return CardFacts(SECTIONS)


def front(recipe: Recipe) -> dict[str, str | Sequence[str]]:
    """What model hubs read of a card."""
    langs = sorted({source.lang for source in recipe.source.values()} - {"code", "mul"})
    base = {"base_model": recipe.base.model[3:]} if recipe.base.model.startswith("hf:") else {}
    ends = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    return {"license": recipe.release.license.lower(), "language": langs, **base, **ends}


def blocks(record: Record) -> Iterator[Block]:
    """The whole card."""
    recipe = record.recipe
    yield Heading(recipe.name, 1)
    yield Text(_origin(record))
    yield Heading("Data", 2)
    yield _data(record)
    yield Text("What left, and under which rule, is in the report.")
    yield from (Text(words) for words in licence_words(recipe))
    yield Heading("Training", 2)
    yield _training(record)
    for name, (merge, scale) in recipe.merges().items():
        yield Text(_merged(name, merge, scale))
    yield from (Text(tuning_words(recipe, name)) for name in recipe.tune)
    yield Heading("What it gained and lost", 2)
    yield Text(
        "Bits per byte of held-out documents; lower is better; 95 % paired bootstrap intervals. Fewer than "
        f"{MIN_PAIRS} documents cannot tell."
    )
    yield _changes(record)
    yield Heading("Safety", 2)
    yield from _safety(record)
    yield Heading("Limits", 2)
    yield Text(
        "Refusals are judged by their opening words in each language, so a garbled answer counts as no refusal. "
        "Held-out text comes from the same sources as the training text. Nothing here replaces your own tests before "
        "people use the model."
    )
    yield Heading("Recipe", 2)
    yield Text(
        "This text and the sources it names make the same files again on the same machine with the same flags and "
        "Python version; elsewhere the files may differ."
    )
    yield Program(record.text, "toml")


def _origin(record: Record) -> Parts:
    recipe = record.recipe
    base: Parts = ["a base trained from scratch by the same recipe"]
    if not recipe.base.scratch:
        at: Parts = [" at ", code(recipe.base.revision)] if recipe.base.revision else []
        base = [code(recipe.base.model), *at]
    chain = [part for name in recipe.models() for part in (" → ", code(name))][1:]
    size = format_count(record.models[record.released].parameters)
    begin: Parts = ["The model ", code(record.released), " of the Aurora recipe ", code(recipe.name), f": {size} "]
    return [*begin, "parameters, continued from ", *base, ". The chain: ", *chain, "."]


def _data(record: Record) -> Table:
    head = ["source", "language", "from", "licence", "documents in", "kept", "of these held out", "edits"]
    rows: list[list[Line]] = []
    for name, source in record.recipe.source.items():
        account = record.sheet.accounts[name]
        docs = (account.fetched.docs, account.kept.docs, account.held_out.docs, sum(account.edits.values()))
        rows.append([name, source.lang, code(source.uri), source.license, *map(str, docs)])
    return Table("", head, rows, words=(1, 2, 3))


def _training(record: Record) -> Table:
    head = ["model", "tokens", "optimizer steps", "FLOP", "shares of tokens learnt from"]
    rows = []
    for name, readings in record.readings.items():
        made, read = record.models[name], ", ".join(f"{reading.source} {reading.achieved:.1%}" for reading in readings)
        rows.append([name, f"{made.tokens:,}", f"{made.opt_steps:,}", f"{made.flop:.2e}", read])
    return Table("", head, rows, words=(4,))


def _merged(name: str, merge: Merge, scale: float) -> Parts:
    """What a merged model is the sum of."""
    terms: Parts = [part for model, w in merge.models.items() for part in (" + ", f"{w:g} × ", code(model))][1:]
    begin: Parts = ["The model ", code(name), " was not trained: it is "]
    if not merge.origin:
        return [*begin, *terms, ", weight by weight."]
    trim = f", the largest {merge.density:.0%} of each" if merge.method == "ties" else ""
    changes = f" changed in it, merged by {merge.method}{trim}."
    return [*begin, code(merge.origin), f" and {scale:g} times what ", *terms, changes]


def _changes(record: Record) -> Table:
    head = ["language", "base", "this model", "change", "documents", "verdict"]
    rows = [_change(change) for change in record.changes.get(record.released, []) if change.task == "bpb"]
    return Table("", head, rows, words=(5,))


def _change(change: Change) -> list[Line]:
    moved: Parts = [f"{change.change:+.1%}", interval(change.low, change.high, change.n, "{:+.1%}".format)]
    return [change.lang, f"{change.before:.3f}", f"{change.after:.3f}", moved, str(change.n), change.verdict]


def _safety(record: Record) -> Iterator[Block]:
    changes = record.changes.get(record.released, [])
    over = {change.lang: change for change in changes if change.metric == "over_refusal"}
    harmful = [change for change in changes if change.metric == "refusal" and change.lang in over]
    head = ["language", "harmful refused, base", "this model", "benign twins refused, base", "this model", "pairs"]
    rows = [[c.lang, *_rates(c), *_rates(over[c.lang]), str(c.n)] for c in harmful]
    if rows:
        yield Text("Rates with 95 % intervals (Wilson).")
        yield Table("", head, rows)
    else:
        yield Text("Safety was not measured.")
    if review := record.review:
        about = f"reviewers {', '.join(review.reviewers)}; agreement {review.agreement}."
        yield Text(f"Tuned on {review.passed} of {review.rows} rows; {about}{automated_words(review.reviewers)}")


def _rates(change: Change) -> list[Line]:
    """The rate of the base and that of this model."""
    return [_rate(share, change.n) for share in (change.before, change.after)]


def _rate(share: float, n: int) -> Parts:
    return [f"{share:.0%}", interval(*wilson(round(share * n), n), n, "{:.0%}".format)]
