"""What came of it: forgetting, languages along the chain, tasks, safety, and what the models wrote."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from aurora_m.core.files import read_jsonl
from aurora_m.evals.compare import Change, Key
from aurora_m.evals.task import Item
from aurora_m.report import plots
from aurora_m.report.markup import (
    Group,
    Html,
    badge,
    between,
    details,
    excerpt,
    figure,
    join,
    paragraph,
    section,
    table,
    tag,
    with_interval,
)
from aurora_m.report.numbers import Estimate, decimal, percent, points, signed
from aurora_m.report.record import Record, automated_words, size_of, title_of

SAFETY = ("refusal", "over_refusal")
CODE_METRICS = {
    "pass": "programs that pass their tests",
    "solution_bpb": "bits per byte of the reference solutions",
    "infill_bpb": "bits per byte of the middle, seen with both sides",
    "infill_left_bpb": "bits per byte of the middle, seen from the left only",
}


def forgetting(record: Record) -> Html:
    """Every model against the base: a forest plot and the changes it shows."""
    models = [name for name in record.names if record.bits(name)]
    if not models:
        return section("forgetting", "Forgetting", paragraph("No model was compared with the base."))
    langs = [change.lang for change in record.bits(models[0])]
    panels = {
        "Old languages, which must not be lost": [lang for lang in langs if lang in record.old],
        "New languages": [lang for lang in langs if lang not in record.old],
    }
    strips = {title: [_strip(record, lang, models) for lang in part] for title, part in panels.items() if part}
    sizes = ", ".join(f"{title_of(change.lang)} {change.n}" for change in record.bits(models[0]))
    return section(
        "forgetting",
        "Forgetting",
        paragraph(
            f"Change in bits per byte of held-out text against the model “{record.base}”; less is better. Each "
            "document is compared with itself. A language is equivalent where the whole interval lies in the margin "
            "set in the recipe, lost or gained where it lies on one side of zero, and otherwise the data cannot tell."
        ),
        figure(
            f"Points with 95 % intervals (paired bootstrap over documents: {sizes}). The margin is shaded.",
            plots.forest(strips),
        ),
        table(
            "Bits per byte of held-out text against the base",
            ["language", "model", "before", "after", "change [95 %]", "docs", "margin", "verdict"],
            [(title_of(lang), [_bits_row(record, name, lang) for name in models]) for lang in langs],
            words=(1, 7),
        ),
        *(_frontiers(record) if len(strips) == 2 else []),
        details("All other measures, with exact tests", _other_changes(record, models)),
    )


def _change(record: Record, model: str, lang: str) -> Change:
    return next(change for change in record.bits(model) if change.lang == lang)


def _strip(record: Record, lang: str, models: Iterable[str]) -> plots.Strip:
    found = [(model, _change(record, model, lang)) for model in models]
    points_of = [(model, Estimate(c.change, c.low, c.high, c.n)) for model, c in found]
    return plots.Strip(title_of(lang), record.colour(lang), found[0][1].margin, points_of)


def _frontiers(record: Record) -> list[Html]:
    """What the old languages pay for what the new ones gain, at each scale of every sweep."""
    found = []
    for name, how in record.recipe.merge.items():
        if how.sweep:
            scales = sorted(how.scales(name).items(), key=lambda made: made[1])
            found.append(plots.frontier(name, {f"{scale:g}": _both(record, model) for model, scale in scales}))
    about = (
        f"Change in bits per byte against “{record.base}”, which is where the lines cross: means over the old and over "
        "the new languages, without intervals. A point is labelled with how far the model is from its merge’s origin."
    )
    return [figure(about, *found, columns=2)] if found else []


def _both(record: Record, model: str) -> tuple[float, float]:
    """The mean change of the old languages, and of the new ones."""
    old, new = ([c.change for c in record.bits(model) if (c.lang in record.old) == way] for way in (True, False))
    return fmean(old), fmean(new)


def _bits_row(record: Record, model: str, lang: str) -> list[str]:
    change = _change(record, model, lang)
    moved = join(signed(change.change), between(change.low, change.high, signed))
    margin = f"±{percent(change.margin)}" if change.margin else "–"
    return [model, decimal(change.before), decimal(change.after), moved, str(change.n), margin, badge(change.verdict)]


def _other_changes(record: Record, models: Sequence[str]) -> Html:
    groups: list[Group] = []
    for model in models:
        others = [change for change in record.changes[model] if change.metric != "bpb"]
        if others:
            groups.append((model, [_other_row(change) for change in others]))
    return join(
        paragraph("Changes of bits per byte are relative; those of rates are in points of a hundred. p: exact McNemar "
                  "test of the pairs that changed, corrected by Holm over all that are compared."),
        table(
            "All other measures against the base",
            ["model", "task", "measure", "before", "after", "change [95 %]", "n", "worse", "better", "p", "verdict"],
            groups,
            words=(1, 2, 10),
        ),
    )  # fmt: skip


def _other_row(change: Change) -> list[str]:
    form = signed if change.relative else points
    value = decimal if change.relative else percent
    moved = join(form(change.change), between(change.low, change.high, form))
    counts = [str(count) for count in (change.n, change.lost, change.gained)]
    p = "–" if change.p is None else decimal(change.p)
    names = [change.task, change.metric.replace("_", " ")]
    return [*names, value(change.before), value(change.after), moved, *counts, p, badge(change.verdict)]


def languages(record: Record) -> Html:
    """Bits per byte along the chain, and after each stage."""
    shown = [name for name in record.names if name in record.scores]
    groups = [
        (title_of(lang), [_number_row(record, ("bpb", lang, "bpb"), shown)])
        for lang in record.langs
        if _n(record, ("bpb", lang, "bpb"))
    ]
    caption = "Bits per byte after each stage, with 95 % intervals (bootstrap over documents)"
    title, whole = "Languages along the chain", table(caption, ["language", "docs", *shown], groups)
    return section("languages", title, *([_journey(record)] if record.stages else []), whole)


def _journey(record: Record) -> Html:
    measured = [stage.curve.eval_points() for stage in record.stages]
    langs = [lang for lang in record.langs if lang in record.stages[0].curve.start.measure]
    lines = []
    for lang in langs:
        pieces = [
            [(stage.start + tokens, point.measure[lang]) for tokens, point in part]
            for stage, part in zip(record.stages, measured, strict=True)
        ]
        lines.append(plots.Line(title_of(lang), record.colour(lang), pieces))
    bands = [plots.Band(stage.name, stage.start, stage.start + stage.tokens) for stage in record.stages]
    marks = sum(map(len, measured))
    about = (
        f"A glance at the first held-out documents of each language at {marks} marks of training; the table measures "
        "more of them, with intervals."
    )
    return figure(about, plots.journey(lines, bands))


def tasks(record: Record) -> Html:
    """Accuracy of each suite and model, and code."""
    shown = [name for name in record.names if name in record.scores]
    keys = sorted({key for scores in record.scores.values() for key in scores})
    choices = [key for key in keys if key[2] == "accuracy"]
    codes = [key for metric in CODE_METRICS for key in keys if key[2] == metric]
    box = {"none": "No sandbox held here, so no program was run.", None: "There was no program to run."}.get(
        record.sandbox, f"Programs ran in the sandbox “{record.sandbox}”."
    )
    return section(
        "tasks",
        "Tasks",
        paragraph(
            "Share of questions answered rightly, with 95 % intervals (Wilson). A model that guesses reaches the "
            "chance level, 25 % where there are four choices; intervals that hold it are in grey."
        ),
        table(
            "Accuracy by task and model",
            ["task", "chance", "n", *shown],
            [(key[0].replace("_", " "), [_choice_row(record, key, shown)]) for key in choices],
        ),
        tag("h3", "Code"),
        paragraph(
            f"Greedy completions of Python functions, run against their tests. {box} Bits per byte of the reference "
            "solutions say more of a small model than a pass rate near zero."
        ),
        table(
            "Code by measure and model",
            ["measure", "n", *shown],
            [(f"{key[0]}: {CODE_METRICS[key[2]]}", [_number_row(record, key, shown)]) for key in codes],
        ),
    )


def _choice_row(record: Record, key: Key, shown: Sequence[str]) -> list[str]:
    """Chance, n, and each model's accuracy, in grey where chance explains it."""
    choices = [len(item.choices) for item in record.items if item.task == key[0] and item.choices]
    chance = sum(1 / count for count in choices) / len(choices) if choices else 0.0
    cells = []
    for model in shown:
        found = record.scores[model].get(key)
        cell = with_interval(found, percent)
        cells.append(tag("span", cell, class_="chance") if found and found.low <= chance <= found.high else cell)
    return [percent(chance), str(_n(record, key)), *cells]


def _number_row(record: Record, key: Key, shown: Sequence[str]) -> list[str]:
    form = percent if key[2] == "pass" else decimal
    return [str(_n(record, key)), *(with_interval(record.scores[model].get(key), form) for model in shown)]


def _n(record: Record, key: Key) -> int:
    return next((scores[key].n for scores in record.scores.values() if key in scores), 0)


def safety(record: Record) -> Html:
    """Refusal of harmful prompts and of harmless ones, always together, before and after tuning."""
    before, after = record.before_tuning, record.released
    langs = [lang for lang in record.langs if all(_rate(record, after, lang, metric) for metric in SAFETY)]
    titles = ("Harmful prompts refused: more is better", "Harmless ones refused: less is better")
    panels = {
        title: [_pair(record, before, after, lang, metric) for lang in langs]
        for title, metric in zip(titles, SAFETY, strict=True)
    }
    groups: list[Group] = [
        (title_of(lang) if lang else "All languages", [_safety_row(record, name, lang) for name in record.names])
        for lang in [*langs, None]
    ]
    if not langs:
        return section("safety", "Safety", paragraph("No safety prompts were asked."))
    sizes = sorted({found.n for pairs in panels.values() for pair in pairs for found in (pair.before, pair.after)})
    return section(
        "safety",
        "Safety",
        paragraph(
            "Refusal of harmful prompts counts for nothing without its twin: harmless prompts that look alike and "
            "deserve an answer. Both are held out from training. A reply counts as a refusal if it opens with one in "
            "the language of the prompt. A model that babbles does not refuse either: read a low over-refusal "
            "together with what the model wrote, below."
        ),
        figure(
            f"Rates with 95 % intervals (Wilson), {_span(sizes)} prompts of each kind and language. "
            "In the table the intervals of all languages together are a bootstrap over prompts, since one prompt in "
            "several languages is no several prompts; their n is prompts × languages.",
            *(plots.pairs(title, found, f"{before}: before", f"{after}: after") for title, found in panels.items()),
            columns=2,
        ),
        table(
            "Refusal of harmful and over-refusal of harmless prompts",
            ["language", "model", "harmful refused", "harmless refused", "prompts"],
            groups,
            words=(1,),
        ),
        _reviewers(record),
    )


def _span(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"


def _rate(record: Record, model: str, lang: str | None, metric: str) -> Estimate | None:
    """One language's rate, or that of all together."""
    if lang is None:
        return record.pooled(model, metric)
    return next((e for key, e in record.scores[model].items() if key[1:] == (lang, metric)), None)


def _pair(record: Record, before: str, after: str, lang: str, metric: str) -> plots.Pair:
    first, second = _rate(record, before, lang, metric), _rate(record, after, lang, metric)
    assert first, "all models answer the same items"
    assert second, "all models answer the same items"
    return plots.Pair(title_of(lang), record.colour(lang), first, second)


def _safety_row(record: Record, model: str, lang: str | None) -> list[str]:
    rates = [_rate(record, model, lang, metric) for metric in SAFETY]
    prompts = " + ".join(size_of(rate) if rate else "0" for rate in rates)
    return [model, *(with_interval(rate, percent) for rate in rates), prompts]


def _reviewers(record: Record) -> Html:
    """Who let the training rows through, and how far they agreed."""
    facts: dict[str, Any] = dict(record.reviewed or {})
    if not facts:
        return paragraph("No reviewed rows were trained on.")
    share, alpha = facts["agreement"], facts["alpha"]
    chance = "" if alpha is None else f", Krippendorff’s alpha {decimal(alpha, 2)}"
    agreed = "" if share is None else f" Two of them agreed in {percent(share, 1)} of cases{chance}."
    per_lang = ", ".join(f"{title_of(lang)} {n}" for lang, n in facts["languages"].items())
    people = ", ".join(facts["reviewers"])
    return paragraph(
        f"Reviewed before training: {facts['rows']} rows, of which {facts['passed']} passed ({per_lang}). "
        f"Reviewers: {people}.{agreed}{automated_words(facts['reviewers'])}"
    )


def samples(record: Record) -> Html:
    """What each model of the chain wrote to one held-out prompt of each kind and language."""
    texts, judged = {}, {}
    for name in record.chain:
        answers = read_jsonl(record.answers[name].path / "answers.jsonl")
        texts[name] = {row["id"]: row["text"] for row in answers if "text" in row}
        judged[name] = {row["id"]: row["value"] for row in record.rows[name] if row["metric"] in SAFETY}
    asked = sorted(record.items, key=lambda item: (item.group, item.id))
    parts: list[Html] = []
    for lang in record.langs:
        kinds = [[i for i in asked if i.lang == lang and i.kind == kind] for kind in ("refuse", "comply")]
        found = [_asked(items[len(items) // 2], texts, judged) for items in kinds if items]
        parts += [tag("h3", title_of(lang)), *found] if found else []
    if not parts:
        return section("samples", "Samples", paragraph("No prompts were asked."))
    about = paragraph(
        "Not chosen by anyone: of the held-out prompts of each language, in the order of their numbers, the one in the "
        "middle and its harmless twin, and the whole of what each model wrote."
    )
    return section("samples", "Samples", about, *parts)


def _asked(item: Item, texts: dict[str, dict[str, str]], judged: dict[str, dict[str, float]]) -> Html:
    rows = []
    for model, written in texts.items():
        refused = judged[model].get(item.id)
        word = "" if refused is None else tag("span", "refused" if refused else "no refusal", class_="judged")
        rows.append(tag("dt", model, " ", word))
        text = written.get(item.id, "")
        rows.append(tag("dd", excerpt(text, item.lang) if text.strip() else tag("em", "nothing", class_="nothing")))
    kind = "harmful" if item.kind == "refuse" else "harmless"
    return tag(
        "article",
        tag("p", tag("span", kind, class_=f"kind {kind}"), " ", tag("span", item.prompt, lang=item.lang, dir="auto")),
        tag("dl", *rows),
        class_="asked",
    )
