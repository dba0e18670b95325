"""The datasheet: what the data of a run are and how they came to be, with the questions of Gebru et al. 2021.

"Datasheets for Datasets", Communications of the ACM 64 (12). The same figures as Markdown, HTML and JSON.
"""

from collections.abc import Callable, Iterable, Iterator

from aurora_m.core.files import replacing, write_json
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.units import format_size
from aurora_m.recipe import Stage, Tune, loads
from aurora_m.report import plots
from aurora_m.report.accounts import Account, Gone, Sheet, Size, as_json, read_sheet
from aurora_m.report.blocks import (
    Block,
    Code,
    Picture,
    Program,
    Sample,
    Samples,
    Table,
    Text,
    Title,
    as_html,
    as_markdown,
)
from aurora_m.report.markup import Group, document, section, tag
from aurora_m.report.numbers import percent
from aurora_m.report.record import name_of, title_of

MOST_CLAUSES = 7  # told apart in the plot; the table has all
CLAUSE_CHARS = 28  # of a clause in the plot's legend
NOT_KNOWN = "Not known to this run: "
BALANCED = "balanced by size"


def datasheet(
    work: Work,
    *,
    fetched: dict[str, Artifact],
    duplicates: Artifact,
    overlap: Artifact,
    decided: dict[str, Artifact],
    rewritten: dict[str, Artifact],
    recipe: str,
) -> Facts:
    """Write datasheet.json (every figure), datasheet.md and datasheet.html (one page that needs nothing else).

    Facts: documents and bytes that came, left and stayed, and documents held out. DataError where the figures of a
    source do not add up: each document that came left under a clause, was emptied, is held out, or is for training.
    """
    plan = loads(recipe)
    sheet = read_sheet(plan, recipe, fetched, duplicates, overlap, decided, rewritten)
    parts = {name: [*blocks(sheet)] for name, blocks in SECTIONS.items()}
    markdown = [f"# {title(sheet)}\n\n", as_markdown(Text([summary(sheet)]))]
    for name, blocks in parts.items():
        markdown += [f"## {name}\n\n", *map(as_markdown, blocks)]
    texts = {"md": "".join(markdown).rstrip() + "\n", "html": _page(sheet, parts)}
    write_json(work.out / "datasheet.json", as_json(sheet))
    for suffix, text in texts.items():
        with replacing(work.out / f"datasheet.{suffix}") as file:
            file.write(text.encode())
    total = sheet.total
    left = sum(total.left.values(), Size())
    facts: Facts = {"held_docs": total.held_out.docs}
    for name, size in (("in", total.came), ("left", left), ("kept", total.kept)):
        facts |= {f"docs_{name}": size.docs, f"bytes_{name}": size.num_bytes}
    return facts


def title(sheet: Sheet) -> str:
    """What stands on top."""
    return f"Datasheet: the data of “{sheet.recipe.name}”"


def summary(sheet: Sheet) -> str:
    """The whole account in one sentence."""
    total, sources = sheet.total, len(sheet.accounts)
    left = sum(total.left.values(), Size())
    return (
        f"{_docs(total.came)} ({format_size(total.came.num_bytes)}) came from {sources:,} "
        f"source{'s' if sources > 1 else ''}; {left.docs:,} left under a clause of the recipe and {total.kept.docs:,} "
        f"({_share(total.kept.docs, total.came.docs)}) stayed, {total.held_out.docs:,} of them held out for measuring."
    )


def motivation(sheet: Sheet) -> Iterator[Block]:
    """For what purpose the data were brought together."""
    recipe = sheet.recipe
    chain = " → ".join(recipe.models())
    old = ", ".join(name_of(lang) for lang in recipe.evals.old)
    new = [lang for lang in sheet.by(lambda source: source.lang) if lang not in recipe.evals.old]
    yield Text(
        [
            f"The documents were brought together by the recipe “{recipe.name}” to train the models {chain}. The model "
            f"“{recipe.release.model}” is what leaves the house. Languages to be kept: {old or 'none'}; the others: "
            f"{', '.join(map(name_of, new)) or 'none'}."
        ]
    )
    yield Text([NOT_KNOWN, "who wrote the texts, for whom, and who paid. The publishers of the sources can say."])


def composition(sheet: Sheet) -> Iterator[Block]:
    """What the data are."""
    masks = sorted({kind for rules in sheet.recipe.curate.values() for kind in rules.mask})
    form = [name for name, source in sheet.recipe.source.items() if source.form == "instruction"]
    yield Text(
        [
            "Each instance is one document: a text in Unicode with an identifier, its source and the language that the "
            "recipe declares for the source. ",
            *(["Instructions with their responses: ", *_codes(form), ". "] if form else []),
            "Sizes are of text in utf-8. “For training” and “held out” are measured after the edits, the rest before. "
            "Nothing was sampled: every document of a source was considered. Documents that stayed, but of which the "
            f"edits left nothing: {sheet.total.emptied:,}.",
        ]
    )
    langs = sheet.by(lambda source: source.lang)
    yield _flows(
        "Documents · bytes of their text, by language",
        "language",
        [(title_of(lang), found) for lang, found in langs.items()],
        sheet,
    )
    yield _flows(
        "Documents · bytes of their text, by source",
        "source",
        [(Code(name), found) for name, found in sheet.accounts.items()],
        sheet,
    )
    yield Text(
        [
            "Held-out documents are drawn by a hash of the seed and the document’s identifier; no training of "
            "this run reads them. Personal data: ",
            *(
                ["the kinds ", *_codes(masks), " are masked where the recipe asks for it. "]
                if masks
                else ["not masked. "]
            ),
            "What the finders miss remains, and names of people are not looked for.",
        ]
    )
    yield Text(
        [NOT_KNOWN, "which people and groups the texts tell of, whether they hold offensive, confidential or false "
                    "statements, and how well they stand for a language."]
    )  # fmt: skip


def _flows(caption: str, kind: str, accounts: Iterable[tuple[str, Account]], sheet: Sheet) -> Table:
    """The way of the documents, and below it the sum."""
    head = [kind, "came", "left", "stayed", "share of bytes that stayed", "for training", "held out"]
    return Table(caption, head, [(name, [_flow(found)]) for name, found in (*accounts, ("all", sheet.total))])


def _flow(found: Account) -> list[str]:
    left = sum(found.left.values(), Size())
    share = _share(found.kept.num_bytes, found.came.num_bytes)
    return [_size(found.came), _size(left), _size(found.kept), share, _size(found.training), _size(found.held_out)]


def collection(sheet: Sheet) -> Iterator[Block]:
    """Where the data came from."""
    groups: list[Group] = []
    written = [name for name, source in sheet.recipe.source.items() if source.documents]
    for name, source in sheet.recipe.source.items():
        found = sheet.accounts[name]
        skipped = ", ".join(f"{count:,} × {reason}" for reason, count in sorted(found.skipped.items()))
        at = f"{source.uri} at {source.revision}" if source.revision else source.uri
        row = [name_of(source.lang), Code(at), _docs(found.came), skipped or "–", Code(sheet.digests[name][:16])]
        groups.append((Code(name), [row]))
    yield Text(
        [
            "Each source was read whole from where the recipe says. The digest is the beginning of the SHA-256 of its "
            "documents, repaired. Skipped: records that became no document, with the reason.",
            *([" Synthetic, written by the base model without a prompt: ", *_codes(written), "."] if written else []),
        ]
    )
    head = ["source", "language", "from", "came", "records skipped", "digest"]
    yield Table("Where the documents came from", head, groups, words=(1, 2, 4, 5))
    yield Text(
        [NOT_KNOWN, "when the texts were written and gathered, by whom, whether the people in them were told or asked, "
                    "and whether anyone reviewed the gathering."]
    )  # fmt: skip


def preprocessing(sheet: Sheet) -> Iterator[Block]:
    """What left under which rule, and what was repaired."""
    yield Text(
        [
            "A document leaves under the first clause of its source’s condition that it does not meet. The "
            "documents as they came stay in the run’s store until somebody deletes them there."
        ]
    )
    rules = [(name, [[Code(rule.keep), ", ".join(rule.mask) or "–"]]) for name, rule in sheet.recipe.curate.items()]
    yield Table("Conditions of the recipe to stay, and what is masked", ["rules", "condition", "masked"], rules, (1, 2))
    yield Picture("Share of the bytes of each source that stayed, or left under a clause.", _stacks(sheet))
    groups: list[Group] = [(Code(name), rows) for name, found in sheet.accounts.items() if (rows := _clauses(found))]
    head = ["source", "clause", "documents", "bytes", "share of bytes"]
    yield Table("What left each source, by clause", head, groups, words=(1,))
    per_lang = sheet.by(lambda source: source.lang)
    groups = [(title_of(lang), rows) for lang, found in per_lang.items() if (rows := _clauses(found))]
    yield Table("What left each language, by clause", ["language", *head[1:]], groups, words=(1,))
    for name, gone in sheet.gone.items():
        if gone:
            yield Samples(f"Examples of what left {name}", [*_left(gone)])
    yield from _repeats(sheet)
    yield from _edits(sheet)


def _clauses(found: Account) -> list[list[str]]:
    return [
        [Code(clause), f"{left.docs:,}", format_size(left.num_bytes), _share(left.num_bytes, found.came.num_bytes)]
        for clause, left in found.left.items()
        if left.docs
    ]


def _left(gone: Iterable[Gone]) -> Iterator[Sample]:
    for doc in gone:
        values = "".join(f", {name} = {_value(value)}" for name, value in doc.values.items())
        yield Sample([Code(doc.clause), " removed ", Code(doc.id), values], (doc.text, "", "", ""), doc.lang)


def _stacks(sheet: Sheet) -> str:
    removed = {clause: size.num_bytes for clause, size in sheet.total.left.items() if size.num_bytes}
    ranked = sorted(removed, key=lambda clause: (-removed[clause], clause))
    named, rest = ranked[:MOST_CLAUSES], ranked[MOST_CLAUSES:]
    rows = {}
    for name, found in sheet.accounts.items():
        gone = {clause: size.num_bytes for clause, size in found.left.items()}
        others = [sum(gone.get(clause, 0) for clause in rest)] if rest else []
        parts = [found.kept.num_bytes, *(gone.get(clause, 0) for clause in named), *others]
        rows[name] = [part / (found.came.num_bytes or 1) for part in parts]
    shown = [clause if len(clause) <= CLAUSE_CHARS else clause[: CLAUSE_CHARS - 1] + "…" for clause in named]
    return plots.stacks(rows, ["stayed", *shown, *(["another clause"] if rest else [])])


def _repeats(sheet: Sheet) -> Iterator[Block]:
    """Copies and evaluation items, which leave only where a condition says so."""
    yield Title("Copies, and evaluation items")
    items, near = sheet.items, sheet.recipe.duplicates.near
    yield Text(
        [
            "Found in all sources together. An exact copy has the text of an earlier document; a near one shares "
            f"{percent(near)} of its runs of five words with one, or hangs by a chain of such pairs. Of "
            f"{items['items']:,} evaluation items, {items['items_found']:,} stand in some document and "
            f"{items['items_too_short']:,} are too short to look for. What was found left only where a clause says so."
        ]
    )
    rows = {Code(name): found for name, found in sheet.accounts.items()} | {"all": sheet.total}
    groups: list[Group] = [
        (name, [[f"{found.exact:,}", f"{found.near:,}", format_size(found.repeated_bytes), f"{found.overlap:,}"]])
        for name, found in rows.items()
    ]
    head = ["source", "exact copies", "near copies", "bytes of both", "documents with an evaluation item"]
    yield Table("Copies and evaluation items among the documents that came", head, groups)


def _edits(sheet: Sheet) -> Iterator[Block]:
    """What was repaired in documents that came, and changed in those that stayed."""
    yield Title("Repairs and masks")
    kinds = sorted(sheet.total.edits)
    if not kinds:
        yield Text(["No document was changed."])
        return
    yield Text(
        [
            "In all documents that came, before anything was measured, “encoding” repairs text that was decoded "
            "wrongly and “nfc” composes Unicode (both counted once a document). In those that stayed, “line” drops a "
            "line of boilerplate, and a kind of personal data is masked wherever it stands. Of what was masked, the "
            "examples show letters as x and digits as 0; all examples are masked as well, whatever the recipe masks, "
            "and end early where a number or an address may be cut.",
        ]
    )
    rows = {Code(name): found for name, found in sheet.accounts.items()} | {"all": sheet.total}
    groups: list[Group] = [
        (name, [[f"{found.edits.get(kind, 0):,}" for kind in kinds]]) for name, found in rows.items()
    ]
    yield Table("Edits by source and kind", ["source", *kinds], groups)
    for name, changed in sheet.changed.items():
        lang = sheet.recipe.source[name].lang
        samples = [Sample([edit.kind, " in ", Code(edit.id)], edit.pieces, lang) for edit in changed]
        if samples:
            yield Samples(f"Examples of edits in {name}", samples)


def uses(sheet: Sheet) -> Iterator[Block]:
    """What the data are read for."""
    recipe = sheet.recipe
    yield Text(
        [
            "The shares that the recipe declares for each training step; what was read is in the run’s report. "
            "Held-out documents measure bits per byte and are read by no training."
        ]
    )
    groups: list[Group] = []
    trainings: dict[str, Stage | Tune] = {stage.name: stage for stage in recipe.stage} | {**recipe.tune}
    for name, training in trainings.items():
        for which in dict.fromkeys(recipe.mixtures(training)):
            mixture = recipe.mixture[which]
            step = name if which == training.mixture else f"{name}, anchor"
            said = {source: f"{percent(share, 1)} of {mixture.unit}" for source, share in mixture.shares().items()}
            groups.append((step, [[Code(source), said.get(source, BALANCED)] for source in mixture.reads()]))
    if groups:
        yield Table("What each training step is to read", ["step", "source", "declared share"], groups, words=(1,))
    yield Text(
        [
            NOT_KNOWN,
            "for what else the data are fit. Texts carry the slant of those who wrote them; how the models fare in "
            "each language is in the run’s report, and nothing here replaces tests of your own.",
        ]
    )


def distribution(sheet: Sheet) -> Iterator[Block]:
    """Under what terms the data may be passed on."""
    groups: list[Group] = []
    for licence, found in sheet.by(lambda source: source.license).items():
        names = [name for name, source in sheet.recipe.source.items() if source.license == licence]
        groups.append((licence, [[", ".join(names), _size(found.came), _size(found.kept), _size(found.training)]]))
    head = ["licence", "sources", "came", "stayed", "for training"]
    yield Table("Licences, as the recipe declares them", head, groups, words=(1,))
    yield Text(
        [
            "A licence is declared for a whole source; that each document is under it is the word of its publisher. "
            f"The release holds the model and its card, under {sheet.recipe.release.license}, and none of these "
            "documents.",
        ]
    )


def maintenance(sheet: Sheet) -> Iterator[Block]:
    """How the data can be made again and mended."""
    yield Text(
        [
            "The recipe below and the sources it names give the same documents again; a source that has changed since "
            "gives another digest. A document that must go is taken out of its source, or by a clause of the recipe, "
            "and the run is made again. ",
            NOT_KNOWN,
            "who answers for the data, and whether older versions are kept anywhere.",
        ]
    )
    yield Program("The recipe", sheet.text, "toml")


SECTIONS: dict[str, Callable[[Sheet], Iterator[Block]]] = {
    "Motivation": motivation,
    "Composition": composition,
    "Collection": collection,
    "Preprocessing": preprocessing,
    "Uses": uses,
    "Distribution": distribution,
    "Maintenance": maintenance,
}


def _page(sheet: Sheet, parts: dict[str, list[Block]]) -> str:
    """The page, which needs no other file, no network and no script."""
    links = [tag("li", tag("a", name, href=f"#{name.lower()}")) for name in parts]
    header = tag(
        "header",
        tag("p", "With the questions of Gebru et al. 2021, “Datasheets for Datasets”", class_="over"),
        tag("h1", title(sheet)),
        tag("p", summary(sheet), class_="verdict-line"),
        tag("nav", tag("ol", *links), aria_label="Contents"),
    )
    sections = [section(name.lower(), name, *map(as_html, blocks)) for name, blocks in parts.items()]
    return document(f"{sheet.recipe.name}: datasheet", header, sections)


def _codes(names: Iterable[str]) -> list[str]:
    """Names as code, with commas between."""
    return [part for name in names for part in (", ", Code(name))][1:]


def _docs(size: Size) -> str:
    return f"{size.docs:,} document{'' if size.docs == 1 else 's'}"


def _size(size: Size) -> str:
    """`1,234 · 4.2 MiB`: documents and their text."""
    return f"{size.docs:,} · {format_size(size.num_bytes)}" if size.docs else "–"


def _share(part: int, whole: int) -> str:
    return percent(part / whole, 1) if whole else "–"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
