"""How it was made: the loss, the mixtures, the curation, the recipe."""

from collections.abc import Callable, Iterator, Sequence

from aurora_m.core.units import format_count
from aurora_m.report.licences import licence_words
from aurora_m.report.pages.curation import by_source, edits, flows, removals
from aurora_m.report.record import ROWS, Model, Reading, Record
from aurora_m.report.render import plots
from aurora_m.report.render.blocks import Block, Figure, Fold, Heading, Line, Program, Span, Table, Text
from aurora_m.report.words import decimal, name_of, percent, power, tuning_words
from aurora_m.train.curve import Entry

BINS = 80  # points of a line for each stage, each the mean of what lies in it

Bins = Sequence[Sequence[Entry]]
Points = list[tuple[float, float]]


def training(record: Record) -> Iterator[Block]:
    """Loss and learning rate over tokens, all stages end to end."""
    if not record.stages:
        yield Text("No model of the chain was trained in this run.")
        return
    entries = [curve.learnt for _, _, curve in record.stages]
    bins = [(_bins(part), start) for part, (_, start, _) in zip(entries, record.stages, strict=True)]
    read = {name for part in entries for entry in part for name in entry.by_source}
    by_source = []
    for name in [*(name for name in record.recipe.source if name in read), *sorted(read - set(record.recipe.source))]:
        pieces = [piece for part, start in bins if (piece := _source_points(part, start, name))]
        by_source.append(plots.Line(name, record.colour(record.lang_of(name)), pieces))
    total = plots.Line("all", -1, [_points(part, start, _mean_loss) for part, start in bins])
    rates = plots.Line("rate", -1, [_points(part, start, lambda entries: entries[-1].lr) for part, start in bins])
    yield Figure(
        f"{sum(map(len, entries)):,} optimizer steps, means of at most {BINS} stretches of each stage. Faint lines are "
        "single sources. A loss a token cannot be compared between languages, since their tokens hold unlike amounts "
        "of text; bits per byte, above, can.",
        [plots.losses(total, by_source, rates, bands(record))],
    )


def bands(record: Record) -> list[plots.Band]:
    """The stages as stretches of tokens."""
    return [plots.Band(name, start, start + curve.tokens) for name, start, curve in record.stages]


def _bins(entries: Sequence[Entry]) -> Bins:
    """Cut a stage's entries into at most `BINS` runs of nearly one length."""
    count = min(BINS, len(entries))
    return [entries[at * len(entries) // count : (at + 1) * len(entries) // count] for at in range(count)]


def _points(bins: Bins, start: int, value: Callable[[Sequence[Entry]], float]) -> Points:
    return [(start + part[-1].tokens, value(part)) for part in bins]


def _mean_loss(part: Sequence[Entry]) -> float:
    return sum(entry.loss for entry in part) / len(part)


def _source_points(bins: Bins, start: int, source: str) -> Points:
    """A source's loss where it was read."""
    points = []
    for part in bins:
        read = [entry.by_source[source] for entry in part if source in entry.by_source]
        if targets := sum(count for _, count in read):
            points.append((float(start + part[-1].tokens), sum(total for total, _ in read) / targets))
    return points


def mixtures(record: Record) -> Iterator[Block]:
    """What each stage and tuning was to read and what it read."""
    if not record.readings:
        yield Text("No stage of this run read a mixture.")
        return
    yield Text(
        "The recipe declares shares in the unit it names. The same bytes cost unlike tokens in unlike languages, so a "
        "share of tokens may differ from it. What was achieved is counted from the rows that were read."
    )
    yield from (Text(words) for name in record.readings if (words := tuning_words(record.recipe, name)))
    panels = {
        name: [plots.Share(r.source, record.colour(record.lang_of(r.source)), r.wanted, r.achieved) for r in part]
        for name, part in record.readings.items()
    }
    yield Figure(
        "Bars: achieved share of tokens. Marks: the share set out to reach, of tokens in a stage, of rows in a tuning.",
        [plots.shares(stage, shares) for stage, shares in panels.items()],
        columns=3,
    )
    yield Table(
        "Declared and achieved share of each source",
        ["stage", "source", "declared", "as tokens", "achieved", "tokens read", "epochs", "infilled docs"],
        [[name, *_reading_row(reading)] for name, part in record.readings.items() for reading in part],
        words=(1,),
    )


def _reading_row(reading: Reading) -> list[str]:
    wanted = "–" if reading.unit == ROWS else percent(reading.wanted, 1)
    shares = [f"{percent(reading.declared, 1)} of {reading.unit}", wanted, percent(reading.achieved, 1)]
    epochs = "–" if reading.epochs is None else decimal(reading.epochs, 2)
    fim = percent(reading.fim) if reading.fim else "–"
    return [reading.source, *shares, format_count(reading.tokens), epochs, fim]


def tokens(record: Record) -> Iterator[Block]:
    """What a token holds in each source, and how many each language needs for what English says in one."""
    sources = [
        [which, name, decimal(row["tokens_a_word"], 2), decimal(row["bytes_a_token"], 2), f"{row['docs']:,}"]
        for which, measured in record.tokenizers.items()
        for name, row in measured["sources"].items()
    ]
    langs = [
        [which, name_of(lang), str(row["tokens"]), decimal(row["against_english"], 2)]
        for which, measured in record.tokenizers.items()
        for lang, row in measured["parallel"].items()
    ]
    yield Text(
        "A language whose words take many tokens costs more to train and to run, and sees less of a text at once. "
        "Words stand between spaces; in languages without spaces each character counts as one."
    )
    head = ["tokenizer", "source", "tokens a word", "bytes a token", "docs"]
    yield Table("Tokens a word and bytes a token, of a sample of each source’s documents", head, sources, words=(1,))
    lost = [
        f"{name} {percent(row['unspelled'], 2)}"
        for name, row in record.tokenizers["base"]["sources"].items()
        if "unspelled" in row
    ]
    if lost:
        yield Text(
            f"The tokenizer has no token for a part of the text, which bits per byte leave out: {', '.join(lost)}."
        )
    head = ["tokenizer", "language", "tokens", "against English"]
    if not langs:
        return
    yield Table("Tokens that the same sentences take in each language, and for one token of English", head, langs, (1,))


def curation(record: Record) -> Iterator[Block]:
    """What came, stayed and left, why, and what was edited: the datasheet's own blocks."""
    yield Text("All documents are counted, so there are no intervals; n is in the tables.")
    yield flows("source", by_source(record.sheet))
    yield from removals(record.sheet)
    yield Heading("Edits")
    yield from edits(record.sheet, "What was repaired in documents when they came is in the datasheet.")


def making(record: Record) -> Iterator[Block]:
    """The recipe and the models."""
    recipe = record.recipe
    flop = sum(record.models[name].flop for name, _, _ in record.stages)
    licences = sorted({source.license for source in recipe.source.values()})
    yield Text(
        f"Recipe “{recipe.name}”, seed {recipe.seed}; the same recipe gives the same files on the same machine with "
        "the same flags and Python version, and elsewhere may give others. The released chain took "
        f"{power(flop)} floating-point operations (6 × parameters × tokens). "
        f"Licences of the sources: {', '.join(licences)}; of the release: {recipe.release.license}."
    )
    yield from (Text(words) for words in licence_words(recipe))
    head = ["model", "parameters", "tokens", "last loss", "FLOP", "digest (SHA-256)"]
    yield Table("Models", head, [[name, *_model_row(model)] for name, model in record.models.items()], words=(5,))
    yield Fold("The recipe", [Program(record.text, "toml")])


def _model_row(model: Model) -> list[Line]:
    numbers = [format_count(model.tokens), decimal(model.loss), power(model.flop)] if model.tokens else ["–"] * 3
    return [format_count(model.parameters), *numbers, Span(model.digest, "digest")]
