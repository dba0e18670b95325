"""The datasheet: what the data of a run are and how they came to be, with the questions of Gebru et al. 2021.

"Datasheets for Datasets", Communications of the ACM 64 (12). The same figures as Markdown, HTML and JSON.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact, Work
from aurora_m.core.units import format_size
from aurora_m.recipe import Stage, Tune
from aurora_m.report.accounts import Sheet, Size, as_json
from aurora_m.report.pages.curation import by_source, edits, flows, removals, share, sized
from aurora_m.report.record import read_sheet
from aurora_m.report.render import html, markdown
from aurora_m.report.render.blocks import Block, Fold, Heading, Line, Parts, Program, Table, Text, code
from aurora_m.report.words import name_of, percent, title_of

OVER = "With the questions of Gebru et al. 2021, “Datasheets for Datasets”"
NOT_KNOWN = "Not known to this run: "
REPAIRS = (
    "In all documents that came, before anything was measured, “encoding” repairs text that was decoded wrongly and "
    "“nfc” composes Unicode (both counted once a document)."
)
BALANCED = "balanced by size"


@dataclass(frozen=True)
class DatasheetFacts:
    """Documents, and the bytes of their text, that came, left and stayed, and documents held out."""

    docs_in: int
    bytes_in: int
    docs_left: int
    bytes_left: int
    docs_kept: int
    bytes_kept: int
    held_docs: int


def datasheet(
    work: Work,
    *,
    fetched: dict[str, Artifact],
    duplicates: Artifact,
    overlap: Artifact,
    decided: dict[str, Artifact],
    rewritten: dict[str, Artifact],
    recipe: str,
) -> DatasheetFacts:
    """Write datasheet.json (every figure), datasheet.md and datasheet.html (one page that needs nothing else).

    DataError where the figures of a source do not add up: each document that came left under a clause, was emptied, is
    held out, or is for training.
    """
    sheet = read_sheet(recipe, decided, rewritten, fetched, duplicates, overlap)
    blocks: list[Block] = [Heading(f"Datasheet: the data of “{sheet.recipe.name}”", 1), Text(summary(sheet))]
    for title, write in SECTIONS.items():
        blocks += [Heading(title, 2, title.lower()), *write(sheet)]
    page = html.page(f"{sheet.recipe.name}: datasheet", OVER, blocks)
    write_json(work.out / "datasheet.json", as_json(sheet))
    (work.out / "datasheet.md").write_bytes(markdown.document(blocks).encode())
    (work.out / "datasheet.html").write_bytes(page.encode())
    total = sheet.total
    left = total.all_left
    return DatasheetFacts(
        docs_in=total.fetched.docs,
        bytes_in=total.fetched.num_bytes,
        docs_left=left.docs,
        bytes_left=left.num_bytes,
        docs_kept=total.kept.docs,
        bytes_kept=total.kept.num_bytes,
        held_docs=total.held_out.docs,
    )


def summary(sheet: Sheet) -> str:
    """The whole account in one sentence."""
    total, sources = sheet.total, len(sheet.accounts)
    return (
        f"{_docs(total.fetched)} ({format_size(total.fetched.num_bytes)}) came from {sources:,} "
        f"source{'s' if sources > 1 else ''}; {total.all_left.docs:,} left under a clause of the recipe and "
        f"{total.kept.docs:,} ({share(total.kept.docs, total.fetched.docs)}) stayed, {total.held_out.docs:,} of them "
        "held out for measuring."
    )


def motivation(sheet: Sheet) -> Iterator[Block]:
    """For what purpose the data were brought together."""
    recipe = sheet.recipe
    chain = " → ".join(recipe.models())
    old = ", ".join(name_of(lang) for lang in recipe.evals.old)
    new = [lang for lang in sheet.by(lambda source: source.lang) if lang not in recipe.evals.old]
    yield Text(
        f"The documents were brought together by the recipe “{recipe.name}” to train the models {chain}. The model "
        f"“{recipe.release.model}” is what leaves the house. Languages to be kept: {old or 'none'}; the others: "
        f"{', '.join(map(name_of, new)) or 'none'}."
    )
    yield Text(f"{NOT_KNOWN}who wrote the texts, for whom, and who paid. The publishers of the sources can say.")


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
    yield flows("language", [*((title_of(lang), account) for lang, account in langs.items()), ("all", sheet.total)])
    yield flows("source", by_source(sheet))
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
        f"{NOT_KNOWN}which people and groups the texts tell of, whether they hold offensive, confidential or false "
        "statements, and how well they stand for a language."
    )


def collection(sheet: Sheet) -> Iterator[Block]:
    """Where the data came from."""
    rows: list[list[Line]] = []
    written = [name for name, source in sheet.recipe.source.items() if source.documents]
    for name, source in sheet.recipe.source.items():
        account = sheet.accounts[name]
        skipped = ", ".join(f"{count:,} × {reason}" for reason, count in sorted(account.skipped.items()))
        at = f"{source.uri} at {source.revision}" if source.revision else source.uri
        digest = code(sheet.digests[name][:16])
        rows.append([code(name), name_of(source.lang), code(at), _docs(account.fetched), skipped or "–", digest])
    yield Text(
        [
            "Each source was read whole from where the recipe says. The digest is the beginning of the SHA-256 of its "
            "documents, repaired. Skipped: records that became no document, with the reason.",
            *([" Synthetic, written by the base model without a prompt: ", *_codes(written), "."] if written else []),
        ]
    )
    head = ["source", "language", "from", "came", "records skipped", "digest"]
    yield Table("Where the documents came from", head, rows, words=(1, 2, 4, 5))
    yield Text(
        f"{NOT_KNOWN}when the texts were written and gathered, by whom, whether the people in them were told or asked, "
        "and whether anyone reviewed the gathering."
    )


def preprocessing(sheet: Sheet) -> Iterator[Block]:
    """What left under which rule, and what was repaired."""
    yield from removals(sheet)
    yield Heading("Copies, and evaluation items")
    items, near = sheet.items, sheet.recipe.duplicates.near
    yield Text(
        "Found in all sources together. An exact copy has the text of an earlier document; a near one shares "
        f"{percent(near)} of its runs of five words with one, or hangs by a chain of such pairs. Of "
        f"{items['items']:,} evaluation items, {items['items_found']:,} stand in some document and "
        f"{items['items_too_short']:,} are too short to look for. What was found left only where a clause says so."
    )
    head = ["source", "exact copies", "near copies", "bytes of both", "documents with an evaluation item"]
    rows = [
        [name, f"{a.exact:,}", f"{a.near:,}", format_size(a.repeated_bytes), f"{a.overlap:,}"]
        for name, a in by_source(sheet)
    ]
    yield Table("Copies and evaluation items among the documents that came", head, rows)
    yield Heading("Repairs and masks")
    yield from edits(sheet, REPAIRS)


def uses(sheet: Sheet) -> Iterator[Block]:
    """What the data are read for."""
    recipe = sheet.recipe
    yield Text(
        "The shares that the recipe declares for each training step; what was read is in the run’s report. Held-out "
        "documents measure bits per byte and are read by no training."
    )
    rows: list[list[Line]] = []
    trainings: dict[str, Stage | Tune] = {stage.name: stage for stage in recipe.stage} | {**recipe.tune}
    for name, training in trainings.items():
        for which in dict.fromkeys(recipe.mixtures(training)):
            mixture = recipe.mixture[which]
            step = name if which == training.mixture else f"{name}, anchor"
            shares = {source: f"{percent(share, 1)} of {mixture.unit}" for source, share in mixture.shares().items()}
            rows += [[step, code(source), shares.get(source, BALANCED)] for source in mixture.reads()]
    if rows:
        yield Table("What each training step is to read", ["step", "source", "declared share"], rows, words=(1,))
    yield Text(
        f"{NOT_KNOWN}for what else the data are fit. Texts carry the slant of those who wrote them; how the models "
        "fare in each language is in the run’s report, and nothing here replaces tests of your own."
    )


def distribution(sheet: Sheet) -> Iterator[Block]:
    """Under what terms the data may be passed on."""
    rows = []
    for licence, account in sheet.by(lambda source: source.license).items():
        names = [name for name, source in sheet.recipe.source.items() if source.license == licence]
        rows.append([licence, ", ".join(names), *map(sized, (account.fetched, account.kept, account.training))])
    head = ["licence", "sources", "came", "stayed", "for training"]
    yield Table("Licences, as the recipe declares them", head, rows, words=(1,))
    yield Text(
        "A licence is declared for a whole source; that each document is under it is the word of its publisher. The "
        f"release holds the model and its card, under {sheet.recipe.release.license}, and none of these documents."
    )


def maintenance(sheet: Sheet) -> Iterator[Block]:
    """How the data can be made again and mended."""
    yield Text(
        "The recipe below and the sources it names give the same documents again; a source that has changed since "
        "gives another digest. A document that must go is taken out of its source, or by a clause of the recipe, and "
        f"the run is made again. {NOT_KNOWN}who answers for the data, and whether older versions are kept anywhere."
    )
    yield Fold("The recipe", [Program(sheet.text, "toml")])


SECTIONS: dict[str, Callable[[Sheet], Iterator[Block]]] = {
    "Motivation": motivation,
    "Composition": composition,
    "Collection": collection,
    "Preprocessing": preprocessing,
    "Uses": uses,
    "Distribution": distribution,
    "Maintenance": maintenance,
}


def _codes(names: Iterable[str]) -> Parts:
    """Names as code, with commas between."""
    return [part for name in names for part in (", ", code(name))][1:]


def _docs(size: Size) -> str:
    return f"{size.docs:,} document{'' if size.docs == 1 else 's'}"
