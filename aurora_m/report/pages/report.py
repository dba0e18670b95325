"""The report: one page, complete in one file, that says first what came of a run and then how."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aurora_m.core.step import Artifact, Work
from aurora_m.core.units import format_count
from aurora_m.evals.compare import Change
from aurora_m.report.pages import making, results
from aurora_m.report.pages.results import SAFETY
from aurora_m.report.record import Inputs, Record, read_record
from aurora_m.report.render import html
from aurora_m.report.render.blocks import Block, Heading, KeyFigures, Line, Parts, Span, Text, code
from aurora_m.report.words import (
    SPACE,
    Pooled,
    interval,
    listed,
    name_of,
    percent,
    points,
    signed,
    size_of,
    task_of,
    title_of,
)

PAGE = "report.html"
MOST_LOSSES = 4  # in the sentence at the top
SECTIONS: dict[str, tuple[str, Callable[[Record], Iterator[Block]]]] = {
    "forgetting": ("Forgetting", results.forgetting),
    "languages": ("Languages along the chain", results.languages),
    "training": ("Loss and learning rate", making.training),
    "tokens": ("Tokens", making.tokens),
    "mixture": ("Mixture", making.mixtures),
    "curation": ("Curation", making.curation),
    "tasks": ("Tasks", results.tasks),
    "safety": ("Safety", results.safety),
    "samples": ("Samples", results.samples),
    "making": ("How it was made", making.making),
}


@dataclass(frozen=True)
class PageFacts:
    """The whole result in one sentence, and the size of the page."""

    verdict: str
    bytes: int


def page(  # noqa: PLR0913  # a step
    work: Work,
    *,
    forgetting: Artifact,
    models: dict[str, Artifact],
    decided: dict[str, Artifact],
    rewritten: dict[str, Artifact],
    fertility: Artifact,
    mixtures: dict[str, Artifact],
    answers: dict[str, Artifact],
    scores: dict[str, Artifact],
    items: Artifact,
    recipe: str,
    reviewed: dict[str, Artifact] | None = None,
) -> PageFacts:
    """Write report.html, which needs no other file, no network and no script."""
    made = (models, decided, rewritten, mixtures, reviewed or {}, answers, scores)
    record = read_record(Inputs(recipe, forgetting, *made, fertility, items))
    title = Heading(f"From {record.base} to {record.released}", 1)
    blocks: list[Block] = [title, Text(origin(record)), Text(verdict(record)), key_figures(record)]
    with work.log.bar("report", len(SECTIONS), "sections") as bar:
        for done, (anchor, (name, write)) in enumerate(SECTIONS.items(), 1):
            blocks += [Heading(name, 2, anchor), *write(record)]
            bar.update(done)
    name = record.recipe.name
    content = html.page(f"{name}: report", f"Report of the run “{name}”", blocks).encode()
    (work.out / PAGE).write_bytes(content)
    return PageFacts(verdict(record), len(content))


def origin(record: Record) -> Parts:
    """The base that everything is compared with: where it came from, its size and its digest."""
    base, made = record.recipe.base, record.models[record.base]
    found: Parts = ["trained from scratch by this recipe"] if base.scratch else [code(base.model)]
    found += [" at ", code(base.revision)] if base.revision else []
    return ["Base: ", *found, f", {format_count(made.parameters)} parameters, digest ", code(made.digest[:12]), "."]


def verdict(record: Record) -> str:
    """The whole result in one sentence, made from the changes of the released model alone."""
    bits = record.bits(record.released)
    old = [change for change in bits if change.lang in record.old]
    new = [change for change in bits if change.lang not in record.old]
    parts = [_old_words(old), _new_words(new), _safety_words(record), _more_losses(record)]
    parts = [part for part in parts if part]
    if not parts:
        return f"The released model “{record.released}” was not compared with another one."
    return f"Against “{record.base}”, “{record.released}” {'; '.join(parts)}."


def _old_words(changes: Sequence[Change]) -> str:
    words = {
        "lost": "has lost {}",
        "equivalent": "keeps {} within the margin",
        "gained": "has gained in {}",
        "cannot tell": "leaves open whether {} is kept",
    }
    parts = []
    for kind, form in words.items():
        langs = [f"{name_of(c.lang)} ({signed(c.change)} bits per byte)" for c in changes if c.verdict == kind]
        if langs:
            parts.append(form.format(listed(langs)))
    return listed(parts)


def _new_words(changes: Sequence[Change]) -> str:
    parts = []
    for kind, form in (("gained", "fell by {}"), ("lost", "rose by {}")):
        langs = [f"{percent(abs(c.change))} in {name_of(c.lang)}" for c in changes if c.verdict == kind]
        if langs:
            parts.append(form.format(listed(langs)))
    unclear = listed([name_of(c.lang) for c in changes if c.verdict not in ("gained", "lost")])
    moved = f"bits per byte {listed(parts)}" if parts else ""
    return ", with ".join(part for part in (moved, f"no clear change in {unclear}" if unclear else "") if part)


def _safety_words(record: Record) -> str:
    rates = [record.pooled(name, metric) for metric in SAFETY for name in (record.base, record.released)]
    shares = [percent(rate.value) for rate in rates if rate]
    if len(shares) < len(rates):
        return ""
    return (
        f"harmful prompts are refused {shares[1]} of the time (base {shares[0]}) "
        f"and harmless ones {shares[3]} (base {shares[2]})"
    )


def _more_losses(record: Record) -> str:
    """What was lost in other measures than these, whose table is folded away."""
    lost = [
        f"{task_of(change.task, change.lang)} ({change.metric.replace('_', ' ')} "
        f"{(signed if change.relative else points)(change.change)})"
        for change in record.changes.get(record.released, [])
        if change.verdict == "lost" and change.metric not in ("bpb", *SAFETY)
    ]
    more = [f"{len(lost) - MOST_LOSSES} more"] if len(lost) > MOST_LOSSES else []
    return f"lost, too: {listed([*lost[:MOST_LOSSES], *more])}" if lost else ""


def key_figures(record: Record) -> KeyFigures:
    """The few numbers that most readers look for, each with its interval and n."""
    bits = record.bits(record.released)
    figures = [_old_figure(change) for change in bits if change.lang in record.old]
    if new := [change for change in bits if change.lang not in record.old]:
        ends = [signed(end(change.change for change in new), 0) for end in (min, max)]
        span = ends[1] if ends[0] == ends[1] else f"{ends[0].removesuffix(f'{SPACE}%')} to {ends[1]}"
        names = listed([name_of(change.lang) for change in new])
        docs = f"{sum(change.n for change in new)} documents"
        figures.append(("New languages", span, f"bits per byte in {names}; {docs}, intervals below"))
    rates = [rate for metric in SAFETY if (rate := record.pooled(record.released, metric))]
    if len(rates) == len(SAFETY):
        figures.append(_refusal_figure(*rates))
    tokens = format_count(sum(model.tokens for _, _, model in record.stages))
    size = format_count(record.models[record.released].parameters)
    figures.append(("Model", size, f"parameters, {tokens} tokens in {len(record.stages)} stages"))
    return KeyFigures(figures)


def _old_figure(change: Change) -> tuple[str, str, Line]:
    about: Parts = ["bits per byte", interval(change.low, change.high, change.n, signed), f", {change.n} documents "]
    return title_of(change.lang), signed(change.change), [*about, Span(change.verdict, "verdict")]


def _refusal_figure(harmful: Pooled, harmless: Pooled) -> tuple[str, str, Line]:
    ends = [interval(rate.low, rate.high, rate.prompts, percent) for rate in (harmful, harmless)]
    about: Parts = ["harmful", ends[0], f" of {size_of(harmful)} / harmless", ends[1], f" of {size_of(harmless)}"]
    return "Refused", f"{percent(harmful.value)} / {percent(harmless.value)}", [*about, "; prompts × languages"]
