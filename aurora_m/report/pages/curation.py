"""What became of the documents of a run: blocks of the datasheet that the report shows, too."""

from collections.abc import Iterable, Iterator

from aurora_m.core.units import format_size
from aurora_m.report.accounts import Account, Removed, Sheet, Size
from aurora_m.report.render import plots
from aurora_m.report.render.blocks import Block, Excerpt, Figure, Fold, Line, Table, Text, code
from aurora_m.report.words import percent, title_of

MOST_CLAUSES = 7  # told apart in the plot; the table has all
CLAUSE_CHARS = 28  # of a clause in the plot's legend


def flows(kind: str, accounts: Iterable[tuple[Line, Account]]) -> Table:
    """The way of the documents."""
    head = [kind, "came", "left", "stayed", "share of bytes that stayed", "for training", "held out"]
    rows: list[list[Line]] = []
    for name, a in accounts:
        kept = share(a.kept.num_bytes, a.fetched.num_bytes)
        rows.append([name, *map(sized, (a.fetched, a.all_left, a.kept)), kept, *map(sized, (a.training, a.held_out))])
    return Table(f"Documents · bytes of their text, by {kind}", head, rows)


def removals(sheet: Sheet) -> Iterator[Block]:
    """What left under which clause, with examples."""
    yield Text(
        "A document leaves under the first clause of its source’s condition that it does not meet. The documents as "
        "they came stay in the run’s store until somebody deletes them there."
    )
    rules: list[list[Line]] = []
    rules += ([name, code(rule.keep), ", ".join(rule.mask) or "–"] for name, rule in sheet.recipe.curate.items())
    yield Table("Conditions of the recipe to stay, and what is masked", ["rules", "condition", "masked"], rules, (1, 2))
    yield Figure("Share of the bytes of each source that stayed, or left under a clause.", [_stacks(sheet)])
    head = ["clause", "documents", "bytes", "share of bytes"]
    sources = _by_clause(by_source(sheet)[:-1])
    yield Table("What left each source, by clause", ["source", *head], sources, words=(1,))
    langs = _by_clause((title_of(lang), account) for lang, account in sheet.by(lambda source: source.lang).items())
    yield Table("What left each language, by clause", ["language", *head], langs, words=(1,))
    for name, removed in sheet.removed.items():
        if removed:
            yield Fold(f"Examples of what left {name}", [*map(_example, removed)])


def _by_clause(accounts: Iterable[tuple[Line, Account]]) -> list[list[Line]]:
    return [
        [name, code(clause), f"{left.docs:,}", format_size(left.num_bytes), share(left.num_bytes, a.fetched.num_bytes)]
        for name, a in accounts
        for clause, left in a.left.items()
        if left.docs
    ]


def _example(doc: Removed) -> Excerpt:
    values = "".join(f", {name} = {_value(value)}" for name, value in doc.values.items())
    return Excerpt([code(doc.clause), " removed ", code(doc.id), values], (doc.text, "", "", ""), doc.lang)


def _stacks(sheet: Sheet) -> str:
    removed = {clause: size.num_bytes for clause, size in sheet.total.left.items() if size.num_bytes}
    ranked = sorted(removed, key=lambda clause: (-removed[clause], clause))
    named, rest = ranked[:MOST_CLAUSES], ranked[MOST_CLAUSES:]
    rows = {}
    for name, account in sheet.accounts.items():
        left = {clause: size.num_bytes for clause, size in account.left.items()}
        others = [sum(left.get(clause, 0) for clause in rest)] if rest else []
        parts = [account.kept.num_bytes, *(left.get(clause, 0) for clause in named), *others]
        rows[name] = [part / (account.fetched.num_bytes or 1) for part in parts]
    shown = [clause if len(clause) <= CLAUSE_CHARS else clause[: CLAUSE_CHARS - 1] + "…" for clause in named]
    return plots.stacks(rows, ["stayed", *shown, *(["another clause"] if rest else [])])


def edits(sheet: Sheet, opening: str) -> Iterator[Block]:
    """What was changed, with examples; `opening` says where repairs are counted."""
    kinds = sorted(sheet.total.edits)
    if not kinds:
        yield Text("No document was changed.")
        return
    yield Text(
        f"{opening} In those that stayed, “line” drops a line of boilerplate, and a kind of personal data is masked "
        "wherever it stands. Of what was masked, the examples show letters as x and digits as 0; all examples are "
        "masked as well, whatever the recipe masks, and end early where a number or an address may be cut."
    )
    rows = [[name, *(f"{account.edits.get(kind, 0):,}" for kind in kinds)] for name, account in by_source(sheet)]
    yield Table("Edits by source and kind", ["source", *kinds], rows)
    for name, samples in sheet.edits.items():
        lang = sheet.recipe.source[name].lang
        if samples:
            shown = [Excerpt([edit.kind, " in ", code(edit.id)], edit.pieces, lang) for edit in samples]
            yield Fold(f"Examples of edits in {name}", shown)


def by_source(sheet: Sheet) -> list[tuple[Line, Account]]:
    """The account of each source, and that of all."""
    return [*((code(name), account) for name, account in sheet.accounts.items()), ("all", sheet.total)]


def sized(size: Size) -> str:
    """`1,234 · 4.2 MiB`: documents and their text."""
    return f"{size.docs:,} · {format_size(size.num_bytes)}" if size.docs else "–"


def share(part: int, whole: int) -> str:
    """A part of a whole, of which there may be nothing."""
    return percent(part / whole, 1) if whole else "–"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
