"""How it was made: the loss, the mixtures, the curation, the recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from aurora_m.core.files import read_json, read_jsonl
from aurora_m.core.units import format_count, format_size
from aurora_m.report import plots
from aurora_m.report.markup import Group, Html, details, excerpt, figure, join, paragraph, section, table, tag
from aurora_m.report.masks import masked, pieces
from aurora_m.report.numbers import decimal, percent, power
from aurora_m.report.reading import ROWS, Reading, readings, tuning_words
from aurora_m.report.record import Record, Stage, name_of

PER_TOKEN = ("tokens_a_word", "bytes_a_token")
BINS = 80  # points of a line for each stage, each the mean of what lies in it
MOST_REASONS = 7  # told apart in the plot; the table has all


def training(record: Record) -> Html:
    """Loss and learning rate over tokens, all stages end to end."""
    stages = record.stages
    if not stages:
        return section("training", "Training", paragraph("No model of the chain was trained in this run."))
    entries = [stage.curve.learnt for stage in stages]
    read = {name for part in entries for entry in part for name in entry.by_source}
    sources = [*(name for name in record.recipe.source if name in read), *sorted(read - set(record.recipe.source))]
    bins = [_bins(part) for part in entries]
    starts = [stage.start for stage in stages]
    total = plots.Line("all", -1, [_line(part, at, _mean_loss) for part, at in zip(bins, starts, strict=True)])
    rates = plots.Line("rate", -1, [_line(part, at, _last_rate) for part, at in zip(bins, starts, strict=True)])
    by_source = []
    for name in sources:
        pieces = [_source_line(part, at, name) for part, at in zip(bins, starts, strict=True)]
        colour = record.colour(record.lang_of(name))
        by_source.append(plots.Line(name, colour, [piece for piece in pieces if piece]))
    bands = [plots.Band(stage.name, stage.start, stage.start + stage.tokens) for stage in stages]
    opt_steps = sum(len(part) for part in entries)
    caption = (
        f"{opt_steps:,} optimizer steps, means of at most {BINS} stretches of each stage. Faint lines are single "
        "sources. A loss a token cannot be compared between languages, since their tokens hold unlike amounts of text; "
        "bits per byte, above, can."
    )
    return section("training", "Loss and learning rate", figure(caption, plots.losses(total, by_source, rates, bands)))


def _bins(entries: Sequence[Any]) -> list[Sequence[Any]]:
    """Cut a stage's entries into at most `BINS` runs of nearly one length."""
    count = min(BINS, len(entries))
    return [entries[at * len(entries) // count : (at + 1) * len(entries) // count] for at in range(count)]


def _line(bins: Sequence[Sequence[Any]], start: int, value: Any) -> list[tuple[float, float]]:
    return [(start + part[-1].tokens, value(part)) for part in bins]


def _mean_loss(part: Sequence[Any]) -> float:
    return float(sum(entry.loss for entry in part) / len(part))


def _last_rate(part: Sequence[Any]) -> float:
    return float(part[-1].lr)


def _source_line(bins: Sequence[Sequence[Any]], start: int, source: str) -> list[tuple[float, float]]:
    """A source's loss where it was read."""
    points = []
    for part in bins:
        read = [entry.by_source[source] for entry in part if source in entry.by_source]
        if targets := sum(count for _, count in read):
            points.append((float(start + part[-1].tokens), sum(total for total, _ in read) / targets))
    return points


def mixtures(record: Record) -> Html:
    """What each stage and tuning was to read and what it read."""
    panels: dict[str, list[plots.Share]] = {}
    groups: list[Group] = []
    for name in record.names:
        if not (record.models[name].path / "curve.jsonl").exists():
            continue
        found = readings(record.recipe, name, record.models[name], record.mixtures.get(name))
        panels[name] = [
            plots.Share(r.source, record.colour(record.lang_of(r.source)), r.wanted, r.achieved) for r in found
        ]
        groups.append((name, [_reading_row(r) for r in found]))
    if not panels:
        return section("mixture", "Mixture", paragraph("No stage of this run read a mixture."))
    return section(
        "mixture",
        "Mixture",
        paragraph("The recipe declares shares in the unit it names. The same bytes cost unlike tokens in unlike "
                  "languages, so a share of tokens may differ from it. What was achieved is counted from the rows that "
                  "were read."),
        *(paragraph(words) for words in (tuning_words(record.recipe, name) for name in panels) if words),
        figure(
            "Bars: achieved share of tokens. Marks: the share set out to reach, of tokens in a stage, of rows in a "
            "tuning.",
            *(plots.shares(stage, found) for stage, found in panels.items()),
            columns=3,
        ),
        table(
            "Declared and achieved share of each source",
            ["stage", "source", "declared", "as tokens", "achieved", "tokens read", "epochs", "infilled docs"],
            groups,
            words=(1,),
        ),
    )  # fmt: skip


def _reading_row(found: Reading) -> list[str]:
    wanted = "–" if found.unit == ROWS else percent(found.wanted, 1)
    shares = [f"{percent(found.declared, 1)} of {found.unit}", wanted, percent(found.achieved, 1)]
    epochs = "–" if found.epochs is None else decimal(found.epochs, 2)
    fim = percent(found.fim) if found.fim else "–"
    return [found.source, *shares, format_count(found.tokens), epochs, fim]


def tokens(record: Record) -> Html:
    """What a token holds in each source, and how many each language needs for what English says in one."""
    held: list[Group] = []
    spoken: list[Group] = []
    for which, found in record.fertility.items():
        rows = [
            [name, *(decimal(row[key], 2) for key in PER_TOKEN), f"{row['docs']:,}"]
            for name, row in found["sources"].items()
        ]
        held.append((which, rows))
        sayings = found["parallel"].items()
        spoken.append(
            (which, [[name_of(lang), str(row["tokens"]), decimal(row["against_english"], 2)] for lang, row in sayings])
        )
    return section(
        "tokens",
        "Tokens",
        paragraph(
            "A language whose words take many tokens costs more to train and to run, and sees less of a text at once. "
            "Words stand between spaces; in languages without spaces each character counts as one."
        ),
        table(
            "Tokens a word and bytes a token, of a sample of each source’s documents",
            ["tokenizer", "source", "tokens a word", "bytes a token", "docs"], held, words=(1,),
        ),
        table(
            "Tokens that the same sentences take in each language, and for one token of English",
            ["tokenizer", "language", "tokens", "against English"], spoken, words=(1,),
        ),
    )  # fmt: skip


def curation(record: Record) -> Html:
    """What came, stayed and left, why, and what was edited, with samples."""
    reasons = {name: read_json(artifact.path / "reasons.json") for name, artifact in record.decided.items()}
    return section(
        "curation",
        "Curation",
        paragraph("A document leaves under the first clause of its source’s condition that it fails."),
        figure(
            "Share of documents that stayed, or left under a clause that they did not meet. n is in the table; all "
            "documents are counted, so there is no interval.",
            _stacks(record, reasons),
        ),
        table(
            "Documents that came, stayed and left",
            ["source", "came", "stayed", "share", "held out", "text kept", "left, by clause"],
            [(name, [_source_row(record, name, reasons[name])]) for name in record.decided],
            words=(6,),
        ),
        *(_left(record, name, reasons[name]) for name in record.decided),
        _edits(record),
    )


def _stacks(record: Record, reasons: Mapping[str, Any]) -> str:
    totals: dict[str, int] = {}
    for found in reasons.values():
        for reason in found:
            totals[reason["clause"]] = totals.get(reason["clause"], 0) + reason["docs"]
    ranked = sorted((clause for clause, docs in totals.items() if docs), key=lambda clause: (-totals[clause], clause))
    named, rest = ranked[:MOST_REASONS], ranked[MOST_REASONS:]
    rows = {}
    for name, found in reasons.items():
        came = int(str(record.decided[name].facts["docs_in"])) or 1
        docs = {reason["clause"]: reason["docs"] / came for reason in found}
        stayed = int(str(record.decided[name].facts["docs_kept"])) / came
        others = [sum(docs.get(clause, 0.0) for clause in rest)] if rest else []
        rows[name] = [stayed, *(docs.get(clause, 0.0) for clause in named), *others]
    return plots.stacks(rows, ["stayed", *named, *(["another clause"] if rest else [])])


def _source_row(record: Record, name: str, reasons: Sequence[Any]) -> list[str]:
    decided: dict[str, Any] = record.decided[name].facts
    held = str(record.rewritten[name].facts["held_docs"]) if name in record.rewritten else "–"
    left = [join(f"{reason['docs']:,} × ", tag("code", reason["clause"])) for reason in reasons if reason["docs"]]
    clauses = tag("ul", *(tag("li", clause) for clause in left), class_="clauses") if left else "–"
    share = percent(decided["docs_kept"] / decided["docs_in"], 1) if decided["docs_in"] else "–"
    counts = [f"{decided['docs_in']:,}", f"{decided['docs_kept']:,}", share, held]
    return [*counts, format_size(decided["bytes_kept"]), clauses]


def _left(record: Record, name: str, reasons: Sequence[Any]) -> Html:
    """Samples of what left a source."""
    lang, parts = record.lang_of(name), []
    for reason in reasons:
        if not reason["samples"]:
            continue
        parts.append(tag("h4", tag("code", reason["clause"]), f" removed {reason['docs']:,}"))
        for sample in reason["samples"]:
            values = ", ".join(f"{key} = {_shown(value)}" for key, value in sample["values"].items())
            parts.append(tag("p", tag("code", sample["id"]), f": {values}", class_="values"))
            spoken = sample["values"].get("lang_id") or lang
            parts.append(excerpt(masked(sample["text"], spoken), spoken))
    return details(f"Samples of what left {name}", *parts) if parts else Html()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _edits(record: Record) -> Html:
    counts: dict[str, Any] = {name: artifact.facts["edits"] for name, artifact in record.rewritten.items()}
    kinds = sorted({kind for found in counts.values() for kind in found})
    if not kinds:
        return join(tag("h3", "Edits"), paragraph("No kept document was changed."))
    rows: list[Group] = [(name, [[f"{found.get(kind, 0):,}" for kind in kinds]]) for name, found in counts.items()]
    parts = []
    for name, artifact in record.rewritten.items():
        for sample in read_jsonl(artifact.path / "samples.jsonl"):
            where = tag("p", tag("code", sample["id"]), f": {sample['kind']}", class_="values")
            lang = record.lang_of(name)
            parts += [where, excerpt(_marked(sample, lang), lang)]
    return join(
        tag("h3", "Edits"),
        paragraph("Changes to kept documents: lines of boilerplate dropped, personal data masked. What was repaired "
                  "when it came is in the datasheet. This page does not repeat personal data: of what was masked, "
                  "letters are shown as x and digits as 0, and samples of documents are masked as well."),
        table("Edits by source and kind", ["source", *kinds], rows),
        details("Samples of edits, before and after", *parts),
    )  # fmt: skip


def _marked(sample: Mapping[str, str], lang: str) -> Html:
    """Before and after in one text."""
    ahead, gone, come, behind = pieces(sample, lang)
    return join(ahead, tag("del", gone), " ", tag("ins", come), behind)


def making(record: Record) -> Html:
    """The recipe and the models."""
    groups = [(name, [_model_row(record, name)]) for name in record.names]
    licences = sorted({source.license for source in record.recipe.source.values()})
    trained = {stage.name: stage for stage in record.stages}
    flop = sum(_flop(record, stage) for stage in trained.values())
    return section(
        "making",
        "How it was made",
        paragraph(
            f"Recipe “{record.recipe.name}”, seed {record.recipe.seed}; the same recipe gives the same files on the "
            "same machine with the same flags and Python version, and elsewhere may give others. The released chain "
            f"took {power(flop)} floating-point operations (6 × parameters × tokens). Licences of the "
            f"sources: {', '.join(licences)}; of the release: {record.recipe.release.license}."
        ),
        table(
            "Models",
            ["model", "parameters", "tokens", "last loss", "FLOP", "digest (SHA-256)"],
            groups,
            words=(5,),
        ),
        details("The recipe", tag("pre", record.text, tabindex="0")),
    )


def _flop(record: Record, stage: Stage) -> float:
    return float(str(record.models[stage.name].facts["flop"]))


def _model_row(record: Record, name: str) -> list[str]:
    facts: dict[str, Any] = record.models[name].facts
    tokens = format_count(facts["tokens"]) if "tokens" in facts else "–"
    loss = decimal(facts["loss"]) if "loss" in facts else "–"
    flop = power(facts["flop"]) if "flop" in facts else "–"
    digest = tag("code", record.models[name].digest, class_="digest")
    return [format_count(facts["parameters"]), tokens, loss, flop, digest]
