"""The report: one page, complete in one file, that says first what came of a run and then how."""

from collections.abc import Callable, Sequence

from aurora_m.core.files import replacing
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.units import format_count
from aurora_m.evals.compare import Change
from aurora_m.report import making, results
from aurora_m.report.markup import Html, badge, between, document, tag
from aurora_m.report.numbers import SPACE, percent, signed
from aurora_m.report.record import Pooled, Record, name_of, read_record, size_of, title_of

PAGE = "report.html"
SECTIONS: dict[str, tuple[str, Callable[[Record], Html]]] = {
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


def page(
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
) -> Facts:
    """Write report.html, which needs no other file, no network and no script.

    Facts: `verdict`, the whole result in one sentence, and `bytes` of the page.
    """
    made = (models, decided, rewritten, fertility, mixtures)
    record = read_record(forgetting, *made, answers, scores, items, recipe, reviewed)
    sections = []
    with work.log.bar("report", len(SECTIONS), "sections") as bar:
        for done, (_, write) in enumerate(SECTIONS.values(), 1):
            sections.append(write(record))
            bar.update(done)
    content = _whole(record, sections).encode()
    with replacing(work.out / PAGE) as file:
        file.write(content)
    return {"verdict": verdict(record), "bytes": len(content)}


def verdict(record: Record) -> str:
    """The whole result in one sentence, made from the changes of the released model alone."""
    bits = record.bits(record.released)
    old = [change for change in bits if change.lang in record.old]
    new = [change for change in bits if change.lang not in record.old]
    parts = [part for part in (_old_words(old), _new_words(new), _safety_words(record)) if part]
    if not parts:
        return f"The released model “{record.released}” was not compared with another one."
    text = f"Against “{record.base}”, “{record.released}” " + "; ".join(parts)
    return text + "."


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
            parts.append(form.format(_list(langs)))
    return _list(parts)


def _new_words(changes: Sequence[Change]) -> str:
    parts = []
    for kind, form in (("gained", "fell by {}"), ("lost", "rose by {}")):
        langs = [f"{percent(abs(c.change))} in {name_of(c.lang)}" for c in changes if c.verdict == kind]
        if langs:
            parts.append(form.format(_list(langs)))
    unclear = _list([name_of(c.lang) for c in changes if c.verdict not in ("gained", "lost")])
    said = f"bits per byte {_list(parts)}" if parts else ""
    return ", with ".join(part for part in (said, f"no clear change in {unclear}" if unclear else "") if part)


def _safety_words(record: Record) -> str:
    rates = [record.pooled(name, metric) for metric in results.SAFETY for name in (record.base, record.released)]
    found = [percent(rate.value) for rate in rates if rate]
    if len(found) < len(rates):
        return ""
    return (
        f"harmful prompts are refused {found[1]} of the time (base {found[0]}) "
        f"and harmless ones {found[3]} (base {found[2]})"
    )


def _list(parts: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def key_figures(record: Record) -> Html:
    """The few numbers that most readers came for, each with its interval and n."""
    bits = record.bits(record.released)
    boxes = [_old_box(change) for change in bits if change.lang in record.old]
    new = [change for change in bits if change.lang not in record.old]
    if new:
        ends = [signed(end(change.change for change in new), 0) for end in (min, max)]
        span = ends[1] if ends[0] == ends[1] else f"{ends[0].removesuffix(f'{SPACE}%')} to {ends[1]}"
        names = _list([name_of(change.lang) for change in new])
        docs = f"{sum(change.n for change in new)} documents"
        boxes.append(_box("New languages", span, f"bits per byte in {names}; {docs}, intervals below"))
    rates = [record.pooled(record.released, metric) for metric in results.SAFETY]
    if all(rates):
        harmful, harmless = (rate for rate in rates if rate)
        boxes.append(_refusal_box(harmful, harmless))
    facts = record.models[record.released].facts
    tokens = format_count(sum(stage.tokens for stage in record.stages))
    size = format_count(float(str(facts["parameters"])))
    boxes.append(_box("Model", size, f"parameters, {tokens} tokens in {len(record.stages)} stages"))
    return tag("ul", *boxes, class_="key")


def _box(title: str, number: str, *about: str) -> Html:
    inside = (tag("span", title, class_="what"), tag("strong", number), tag("span", *about, class_="about"))
    return tag("li", *inside)


def _old_box(change: Change) -> Html:
    interval = between(change.low, change.high, signed)
    return _box(title_of(change.lang), signed(change.change), "bits per byte", interval,
                f", {change.n} documents ", badge(change.verdict))  # fmt: skip


def _refusal_box(harmful: Pooled, harmless: Pooled) -> Html:
    ends = [between(rate.low, rate.high, percent) for rate in (harmful, harmless)]
    return _box(
        "Refused",
        f"{percent(harmful.value)} / {percent(harmless.value)}",
        "harmful", ends[0], f" of {size_of(harmful)} / harmless", ends[1], f" of {size_of(harmless)}",
        "; prompts × languages",
    )  # fmt: skip


def _whole(record: Record, sections: Sequence[Html]) -> Html:
    name = record.recipe.name
    links = [tag("li", tag("a", title, href=f"#{place}")) for place, (title, _) in SECTIONS.items()]
    header = tag(
        "header",
        tag("p", f"Report of the run “{name}”", class_="over"),
        tag("h1", f"From {record.base} to {record.released}"),
        tag("p", verdict(record), class_="verdict-line"),
        key_figures(record),
        tag("nav", tag("ol", *links), aria_label="Contents"),
    )
    return document(f"{name}: report", header, sections)
