"""What came of it: forgetting, languages along the chain, tasks, safety, and what the models wrote."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from aurora_m.core.files import read_jsonl
from aurora_m.evals.compare import Change
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
from aurora_m.report.record import Record, title_of

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
            f"Change in bits per byte of held-out text against the model “{record.base}”; less is better. Each document "
            "is compared with itself. A language is lost or gained where the whole interval lies on one side of zero, "
            "equivalent where it lies within the margin set in the recipe, and otherwise the data cannot tell."
        ),
        figure(
            plots.forest(strips),
            f"Points with 95 % intervals (paired bootstrap over documents: {sizes}). The margin is shaded.",
        ),
        table(
            "Bits per byte of held-out text against the base",
            ["language", "model", "before", "after", "change [95 %]", "docs", "margin", "verdict"],
            [(title_of(lang), [_bits_row(record, name, lang) for name in models]) for lang in langs],
            words=(1, 7),
        ),
        details("All other measures, with exact tests", _other_changes(record, models)),
    )


def _change(record: Record, model: str, lang: str) -> Change:
    return next(change for change in record.bits(model) if change.lang == lang)


def _strip(record: Record, lang: str, models: Iterable[str]) -> plots.Strip:
    found = [(model, _change(record, model, lang)) for model in models]
    points_of = [(model, Estimate(c.change, c.low, c.high, c.n)) for model, c in found]
    return plots.Strip(title_of(lang), record.colour(lang), found[0][1].margin, points_of)


def _bits_row(record: Record, model: str, lang: str) -> list[str]:
    change = _change(record, model, lang)
    moved = join(signed(change.change), between(change.low, change.high, signed))
    numbers = [decimal(change.before), decimal(change.after), moved, str(change.n), f"±{percent(change.margin)}"]
    return [model, *numbers, badge(change.verdict)]


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
    measured = [[entry for entry in stage.curve if "measure" in entry] for stage in record.stages]
    langs = [lang for lang in record.langs if any(lang in entry["measure"] for part in measured for entry in part)]
    lines = [
        plots.Line(title_of(lang), record.colour(lang), [
            [(stage.start + entry["tokens"], entry["measure"][lang]) for entry in part]
            for stage, part in zip(record.stages, measured, strict=True)
        ])
        for lang in langs
    ]  # fmt: skip
    bands = [plots.Band(stage.name, stage.start, stage.start + stage.tokens) for stage in record.stages]
    marks = sum(len(part) for part in measured)
    plot = figure(
        plots.journey(lines, bands),
        f"A glance at the same held-out text at {marks} marks of training; the last text of the chain is measured in "
        "full, with intervals, in the table.",
    )
    found = {name: record.scores[name] for name in record.names if name in record.scores}
    groups = [
        (title_of(lang), [[str(n), *(with_interval(s.get(("bpb", lang, "bpb")), decimal) for s in found.values())]])
        for lang in record.langs
        if (n := next((s["bpb", lang, "bpb"].n for s in found.values() if ("bpb", lang, "bpb") in s), 0))
    ]
    caption = "Bits per byte after each stage, with 95 % intervals (bootstrap over documents)"
    return section(
        "languages",
        "Languages along the chain",
        *([plot] if lines else []),
        table(caption, ["language", "docs", *found], groups),
    )


def tasks(record: Record) -> Html:
    """Accuracy of each suite and model, and code."""
    keys = sorted({key for scores in record.scores.values() for key in scores})
    known = [key for key in keys if key[2] == "accuracy"]
    chances = {task: _chance(record.items, task) for task, _, _ in known}
    groups = [
        (task.replace("_", " "), [[percent(chances[task]), *_over_models(record, (task, lang, metric), percent)]])
        for task, lang, metric in known
    ]
    shown = [name for name in record.names if name in record.scores]
    code = [
        (words, [[str(_n(record, key)), *_over_models(record, key, percent if metric == "pass" else decimal)]])
        for metric, words in CODE_METRICS.items()
        for key in keys
        if key[2] == metric
    ]
    sizes = sorted({_n(record, key) for key in known})
    box = {"none": "No sandbox held here, so no program was run.", None: "There was no program to run."}.get(
        record.sandbox, f"Programs ran in the sandbox “{record.sandbox}”."
    )
    low, high = (sizes[0], sizes[-1]) if sizes else (0, 0)
    return section(
        "tasks",
        "Tasks",
        paragraph(
            "Share of questions answered rightly, with 95 % intervals (Wilson), over "
            f"{low if low == high else f'{low} to {high}'} questions each. A model that guesses reaches the chance "
            "level, 25 % where there are four choices; an interval that holds it is in grey."
        ),
        table("Accuracy by task and model", ["task", "chance", *shown], [
            (name, [[row[0], *(_dimmed(record, key, model, cell) for model, cell in zip(shown, row[1:], strict=True))]
                    for row in rows])
            for (name, rows), key in zip(groups, known, strict=True)
        ]),
        tag("h3", "Code"),
        paragraph(f"Greedy completions of Python functions, run against their tests. {box} Bits per byte of the "
                  "reference solutions say more of a small model than a pass rate near zero."),
        table("Code by measure and model", ["measure", "n", *shown], code),
    )  # fmt: skip


def _dimmed(record: Record, key: tuple[str, str, str], model: str, cell: str) -> str:
    """A cell in grey if chance explains it."""
    found, chance = record.scores[model].get(key), _chance(record.items, key[0])
    return tag("span", cell, class_="chance") if found and found.low <= chance <= found.high else cell


def _chance(items: Sequence[Item], task: str) -> float:
    """What guessing gives on a task."""
    choices = [len(item.choices) for item in items if item.task == task and item.choices]
    return sum(1 / count for count in choices) / len(choices) if choices else 0.0


def _over_models(record: Record, key: tuple[str, str, str], form: Any) -> list[str]:
    return [
        with_interval(record.scores[name].get(key), form) for name in record.names if name in record.scores
    ]


def _n(record: Record, key: tuple[str, str, str]) -> int:
    return next(scores[key].n for scores in record.scores.values() if key in scores)


def safety(record: Record) -> Html:
    """Refusal of harmful prompts and of harmless ones, always together, before and after tuning."""
    before, after = record.before_tuning, record.released
    langs = [lang for lang in record.langs if all(_rate(record, after, lang, metric) for metric in SAFETY)]
    titles = {"refusal": "Harmful prompts refused: more is better", "over_refusal": "Harmless ones refused: less is better"}
    panels = {title: [_pair(record, before, after, lang, metric) for lang in langs] for metric, title in titles.items()}
    groups: list[Group] = [(title_of(lang), [_safety_row(record, name, lang) for name in record.names]) for lang in langs]
    pooled: Group = ("All languages", [_safety_row(record, name, None) for name in record.names])
    if not langs:
        return section("safety", "Safety", paragraph("No safety prompts were asked."))
    sizes = sorted({found.n for pairs in panels.values() for pair in pairs for found in (pair.before, pair.after)})
    return section(
        "safety",
        "Safety",
        paragraph(
            "Refusal of harmful prompts counts for nothing without its twin: harmless prompts that look alike and "
            "deserve an answer. Both are held out from training. A reply counts as a refusal if it opens with one in the "
            "language of the prompt. A model that babbles does not refuse either: read its low over-refusal "
            "together with what it wrote, below."
        ),
        figure(
            plots.pairs(panels, f"{before}: before tuning", f"{after}: after"),
            f"Rates with 95 % intervals (Wilson), {_span(sizes)} prompts of each kind and language.",
        ),
        table(
            "Refusal of harmful and over-refusal of harmless prompts",
            ["language", "model", "harmful refused", "n", "harmless refused", "n"],
            [*groups, pooled],
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
    assert first is not None and second is not None, "all models answer the same items"
    return plots.Pair(title_of(lang), record.colour(lang), first, second)


def _safety_row(record: Record, model: str, lang: str | None) -> list[str]:
    rates = [_rate(record, model, lang, metric) for metric in SAFETY]
    return [model, *(cell for rate in rates for cell in (with_interval(rate, percent), str(rate.n if rate else 0)))]


def _reviewers(record: Record) -> Html:
    """Who let the training rows through, and how far they agreed."""
    facts: dict[str, Any] = dict(record.reviewed or {})
    if not facts:
        return paragraph("No reviewed rows were trained on.")
    agreement = "" if facts["agreement"] is None else f" They agreed on {percent(facts['agreement'], 1)} of the votes"
    alpha = "" if facts["alpha"] is None else f", Krippendorff’s alpha {decimal(facts['alpha'], 2)}"
    per_lang = ", ".join(f"{title_of(lang)} {n}" for lang, n in facts["languages"].items())
    people = ", ".join(facts["reviewers"])
    return paragraph(
        f"Reviewed by people before training: {facts['rows']} rows, of which {facts['passed']} passed ({per_lang}). "
        f"Reviewers: {people}.{agreement}{alpha}{'.' if agreement else ''}"
    )


def samples(record: Record) -> Html:
    """What each model of the chain wrote to the first held-out prompt of each kind and language."""
    texts = {name: {row["id"]: row.get("text", "") for row in read_jsonl(record.answers[name].path / "answers.jsonl")}
             for name in record.chain}  # fmt: skip
    judged = {name: {row["id"]: row["value"] for row in read_jsonl(record.judged[name].path / "scores.jsonl")
                     if row["metric"] in SAFETY} for name in record.chain}  # fmt: skip
    asked = sorted((i for i in record.items if i.kind in ("refuse", "comply")), key=lambda i: (i.lang, i.group, i.id))
    parts: list[Html] = []
    for lang, of_lang in groupby(sorted(asked, key=lambda i: record.langs.index(i.lang)), key=lambda i: i.lang):
        mine = list(of_lang)
        first = [next((item for item in mine if item.kind == kind), None) for kind in ("refuse", "comply")]
        parts.append(tag("h3", title_of(lang)))
        parts += [_asked(item, texts, judged) for item in first if item]
    if not parts:
        return section("samples", "Samples", paragraph("No prompts were asked."))
    about = ("Not chosen by anyone: the first held-out harmful prompt of each language and the first harmless one, and "
             "the whole of what each model wrote.")  # fmt: skip
    return section("samples", "Samples", paragraph(about), *parts)


def _asked(item: Item, texts: dict[str, dict[str, str]], judged: dict[str, dict[str, float]]) -> Html:
    rows = []
    for model, written in texts.items():
        refused = judged[model].get(item.id)
        word = "" if refused is None else tag("span", "refused" if refused else "no refusal", class_="judged")
        rows.append(tag("dt", model, " ", word))
        text = written.get(item.id, "")
        rows.append(tag("dd", excerpt(text, item.lang) if text.strip() else tag("em", "nothing")))
    kind = "harmful" if item.kind == "refuse" else "harmless"
    return tag(
        "article",
        tag("p", tag("span", kind, class_=f"kind {kind}"), " ", tag("span", item.prompt, lang=item.lang, dir="auto")),
        tag("dl", *rows),
        class_="asked",
        id=f"sample-{item.id}",
    )


