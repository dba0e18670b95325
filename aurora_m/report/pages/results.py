"""What came of it: forgetting, languages along the chain, tasks, safety, and what the models wrote."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from aurora_m.core.interval import Estimate
from aurora_m.evals.compare import MIN_PAIRS, Change, Key
from aurora_m.evals.task import Item
from aurora_m.report.pages.making import bands
from aurora_m.report.record import Record
from aurora_m.report.render import plots
from aurora_m.report.render.blocks import Block, Exchange, Figure, Fold, Heading, Line, Span, Table, Text
from aurora_m.report.words import (
    automated_words,
    decimal,
    estimated,
    interval,
    percent,
    points,
    signed,
    size_of,
    task_of,
    title_of,
)

SAFETY = ("refusal", "over_refusal")
CODE_METRICS = {
    "pass": "programs that pass their tests",
    "solution_bpb": "bits per byte of the reference solutions",
    "infill_bpb": "bits per byte of the middle, seen with both sides",
    "infill_left_bpb": "bits per byte of the middle, seen from the left only",
}


def forgetting(record: Record) -> Iterator[Block]:
    """Every model against the base: a forest plot and the changes it shows."""
    models = [name for name in record.names if record.bits(name)]
    if not models:
        yield Text("No model was compared with the base.")
        return
    bits = {name: {change.lang: change for change in record.bits(name)} for name in models}
    first = bits[models[0]]
    panels = {
        "Old languages, which must not be lost": [lang for lang in first if lang in record.old],
        "New languages": [lang for lang in first if lang not in record.old],
    }
    strips = {title: [_strip(record, lang, bits) for lang in part] for title, part in panels.items() if part}
    sizes = ", ".join(f"{title_of(lang)} {change.n}" for lang, change in first.items())
    yield Text(
        f"Change in bits per byte of held-out text against the model “{record.base}”; less is better. Each document is "
        "compared with itself. A language is equivalent where the whole interval lies in the margin set in the recipe, "
        "lost or gained where it lies on one side of zero, and otherwise the data cannot tell; nor can they from fewer "
        f"than {MIN_PAIRS} documents, of which an interval is too narrow to be believed."
    )
    yield Figure(
        f"Points with 95 % intervals (paired bootstrap over documents: {sizes}). The margin is shaded.",
        [plots.forest(strips)],
    )
    yield Table(
        "Bits per byte of held-out text against the base",
        ["language", "model", "before", "after", "change [95 %]", "docs", "margin", "verdict"],
        [[title_of(lang), *_bits_row(name, bits[name][lang])] for lang in first for name in models],
        words=(1, 7),
    )
    if len(strips) == 2:
        yield from _frontiers(record)
    yield Fold("All other measures, with exact tests", [*_other_changes(record, models)])


def _strip(record: Record, lang: str, bits: Mapping[str, Mapping[str, Change]]) -> plots.Strip:
    changes = {model: changes[lang] for model, changes in bits.items()}
    estimates = {model: Estimate(c.change, c.low, c.high, c.n) for model, c in changes.items()}
    margin = max(change.margin for change in changes.values())
    return plots.Strip(title_of(lang), record.colour(lang), estimates, margin)


def _frontiers(record: Record) -> Iterator[Block]:
    """What the old languages pay for what the new ones gain, at each scale of every sweep."""
    shown = []
    for name, merge in record.recipe.merge.items():
        if merge.sweep:
            scales = sorted(merge.scales(name).items(), key=lambda made: made[1])
            shown.append(plots.frontier(name, {f"{scale:g}": _old_and_new(record, model) for model, scale in scales}))
    about = (
        f"Change in bits per byte against “{record.base}”, which is where the lines cross: means over the old and over "
        "the new languages, without intervals. A point is labelled with how far the model is from its merge’s origin."
    )
    if shown:
        yield Figure(about, shown, columns=2)


def _old_and_new(record: Record, model: str) -> tuple[float, float]:
    """The mean change of the old languages, and of the new ones."""
    old, new = ([c.change for c in record.bits(model) if (c.lang in record.old) == way] for way in (True, False))
    return fmean(old), fmean(new)


def _bits_row(model: str, change: Change) -> list[Line]:
    margin = f"±{percent(change.margin)}" if change.margin else "–"
    values = [decimal(change.before), decimal(change.after), _moved(change), str(change.n)]
    return [model, *values, margin, Span(change.verdict, "verdict")]


def _moved(change: Change) -> Line:
    """A change with its interval; those of rates are in points of a hundred."""
    form = signed if change.relative else points
    return [form(change.change), interval(change.low, change.high, change.n, form)]


def _other_changes(record: Record, models: Iterable[str]) -> Iterator[Block]:
    yield Text(
        "Changes of bits per byte are relative; those of rates are in points of a hundred. p: exact McNemar test of "
        "the pairs that changed, corrected by Holm over all that are compared; fewer than "
        f"{MIN_PAIRS} pairs cannot tell."
    )
    yield Table(
        "All other measures against the base",
        ["model", "task", "measure", "before", "after", "change [95 %]", "n", "worse", "better", "p", "verdict"],
        [
            [model, *_other_row(change)]
            for model in models
            for change in record.changes[model]
            if change.metric != "bpb"
        ],
        words=(1, 2, 10),
    )


def _other_row(change: Change) -> list[Line]:
    value = decimal if change.relative else percent
    counts = [str(count) for count in (change.n, change.lost, change.gained)]
    p = "–" if change.p is None else decimal(change.p)
    values = [value(change.before), value(change.after), _moved(change)]
    return [
        task_of(change.task, change.lang),
        change.metric.replace("_", " "),
        *values,
        *counts,
        p,
        Span(change.verdict, "verdict"),
    ]


def languages(record: Record) -> Iterator[Block]:
    """Bits per byte along the chain, and after each stage."""
    if record.stages:
        yield _journey(record)
    keys = [(lang, ("bpb", lang, "bpb")) for lang in record.langs]
    yield Table(
        "Bits per byte after each stage, with 95 % intervals (bootstrap over documents)",
        ["language", "docs", *record.estimates],
        [[title_of(lang), *_number_row(record, key)] for lang, key in keys if _n(record, key)],
    )


def _journey(record: Record) -> Figure:
    measured = [curve.eval_points() for _, _, curve in record.stages]
    lines = []
    for lang in [lang for lang in record.langs if lang in measured[0][0][1].measure]:
        pieces = [
            [(start + tokens, point.measure[lang]) for tokens, point in part]
            for (_, start, _), part in zip(record.stages, measured, strict=True)
        ]
        lines.append(plots.Line(title_of(lang), record.colour(lang), pieces))
    about = (
        f"A glance at the first held-out documents of each language at {sum(map(len, measured))} marks of training; "
        "the table measures more of them, with intervals."
    )
    return Figure(about, [plots.journey(lines, bands(record))])


def tasks(record: Record) -> Iterator[Block]:
    """Accuracy of each suite and model, and code."""
    keys = sorted({key for estimates in record.estimates.values() for key in estimates})
    choices = [key for key in keys if key[2] == "accuracy"]
    codes = [key for metric in CODE_METRICS for key in keys if key[2] == metric]
    ran = {"none": "No sandbox held here, so no program was run.", None: "There was no program to run."}.get(
        record.sandbox, f"Programs ran in the sandbox “{record.sandbox}”."
    )
    yield Text(
        "Share of questions answered rightly, with 95 % intervals (Wilson). A model that guesses reaches the chance "
        "level, 25 % where there are four choices; intervals that hold it are in grey."
    )
    yield Table(
        "Accuracy by task and model",
        ["task", "chance", "n", *record.estimates],
        [[task_of(*key[:2]), *_choice_row(record, key)] for key in choices],
    )
    yield Heading("Code")
    yield Text(
        f"Greedy completions of Python functions, run against their tests. {ran} Bits per byte of the reference "
        "solutions say more of a small model than a pass rate near zero."
    )
    yield Table(
        "Code by measure and model",
        ["measure", "n", *record.estimates],
        [[f"{key[0]}: {CODE_METRICS[key[2]]}", *_number_row(record, key)] for key in codes],
    )


def _choice_row(record: Record, key: Key) -> list[Line]:
    """Chance, n, and each model's accuracy, in grey where chance explains it."""
    choices = [len(item.choices) for item in record.prompts if item.task == key[0] and item.choices]
    chance = sum(1 / count for count in choices) / len(choices) if choices else 0.0
    cells: list[Line] = []
    for estimates in record.estimates.values():
        rate = estimates.get(key)
        number, *ends = estimated(rate, percent)
        guessed = rate and rate.low <= chance <= rate.high
        cells.append([Span(number, "faint") if guessed and isinstance(number, str) else number, *ends])
    return [percent(chance), str(_n(record, key)), *cells]


def _number_row(record: Record, key: Key) -> list[Line]:
    form = percent if key[2] == "pass" else decimal
    return [str(_n(record, key)), *(estimated(estimates.get(key), form) for estimates in record.estimates.values())]


def _n(record: Record, key: Key) -> int:
    return next((estimates[key].n for estimates in record.estimates.values() if key in estimates), 0)


def safety(record: Record) -> Iterator[Block]:
    """Refusal of harmful prompts and of harmless ones, always together, before and after tuning."""
    langs = [lang for lang in record.langs if all(_rate(record, record.released, lang, metric) for metric in SAFETY)]
    if not langs:
        yield Text("No safety prompts were asked.")
        return
    titles = ("Harmful prompts refused: more is better", "Harmless ones refused: less is better")
    panels = [[_pair(record, lang, metric) for lang in langs] for metric in SAFETY]
    sizes = sorted({rate.n for panel in panels for strip in panel for rate in strip.estimates.values()})
    rows = [
        [title_of(lang) if lang else "All languages", *_safety_row(record, name, lang)]
        for lang in [*langs, None]
        for name in record.names
    ]
    yield Text(
        "Refusal of harmful prompts counts for nothing without its twin: harmless prompts that look alike and deserve "
        "an answer. Both are held out from training. A reply counts as a refusal if it opens with one in the language "
        "of the prompt. A model that babbles does not refuse either: read a low over-refusal together with what the "
        "model wrote, below."
    )
    yield Figure(
        f"Rates with 95 % intervals (Wilson), {_span(sizes)} prompts of each kind and language. In the table the "
        "intervals of all languages together are a bootstrap over prompts, since one prompt in several languages is no "
        "several prompts; their n is prompts × languages.",
        [*map(plots.pairs, titles, panels)],
        columns=2,
    )
    yield Table(
        "Refusal of harmful and over-refusal of harmless prompts",
        ["language", "model", "harmful refused", "harmless refused", "prompts"],
        rows,
        words=(1,),
    )
    yield Text(_reviewers(record))


def _span(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"


def _rate(record: Record, model: str, lang: str | None, metric: str) -> Estimate | None:
    """One language's rate, or that of all together."""
    if lang is None:
        return record.pooled(model, metric)
    return next((e for key, e in record.estimates[model].items() if key[1:] == (lang, metric)), None)


def _pair(record: Record, lang: str, metric: str) -> plots.Strip:
    """Before and after tuning; all models answer the same items."""
    models = {f"{record.before_tuning}: before": record.before_tuning, f"{record.released}: after": record.released}
    rates = {label: rate for label, model in models.items() if (rate := _rate(record, model, lang, metric))}
    return plots.Strip(title_of(lang), record.colour(lang), rates)


def _safety_row(record: Record, model: str, lang: str | None) -> list[Line]:
    rates = [_rate(record, model, lang, metric) for metric in SAFETY]
    prompts = " + ".join(size_of(rate) if rate else "0" for rate in rates)
    return [model, *(estimated(rate, percent) for rate in rates), prompts]


def _reviewers(record: Record) -> str:
    """Who let the training rows through, and how far they agreed."""
    review = record.review
    if not review:
        return "No reviewed rows were trained on."
    chance = "" if review.alpha is None else f", Krippendorff’s alpha {decimal(review.alpha, 2)}"
    share = review.agreement
    agreed = "" if share is None else f" Two of them agreed in {percent(share, 1)} of cases{chance}."
    per_lang = ", ".join(f"{title_of(lang)} {n}" for lang, n in review.languages.items())
    return (
        f"Reviewed before training: {review.rows} rows, of which {review.passed} passed ({per_lang}). "
        f"Reviewers: {', '.join(review.reviewers)}.{agreed}{automated_words(review.reviewers)} Names are as the ledger "
        "gives them: who stands behind one was not checked."
    )


def samples(record: Record) -> Iterator[Block]:
    """What each model of the chain wrote to one held-out prompt of each kind and language."""
    exchanges: list[Block] = []
    for lang in record.langs:
        kinds = [[i for i in record.prompts if i.lang == lang and i.kind == kind] for kind in ("refuse", "comply")]
        middle = [_exchange(record, items[len(items) // 2]) for items in kinds if items]
        exchanges += [Heading(title_of(lang)), *middle] if middle else []
    if not exchanges:
        yield Text("No prompts were asked.")
        return
    yield Text(
        "Not chosen by anyone: of the held-out prompts of each language, in the order of their numbers, the one in the "
        "middle and its harmless twin, and the whole of what each model wrote."
    )
    yield from exchanges


def _exchange(record: Record, item: Item) -> Exchange:
    texts = {}
    for model in record.chain:
        rows = [row for row in record.rows[model] if row["id"] == item.id and row["metric"] in SAFETY]
        judgement = ("refused" if rows[-1]["value"] else "no refusal") if rows else ""
        texts[model] = (judgement, record.replies[model].get(item.id, ""))
    return Exchange("harmful" if item.kind == "refuse" else "harmless", item.prompt, item.lang, texts)
