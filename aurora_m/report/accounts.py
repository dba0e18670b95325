"""The accounts of a run's data: what came, left and stayed of each source, and samples of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.core.table import FetchFacts
from aurora_m.recipe import Recipe, Source
from aurora_m.report.masks import Pieces

SCHEMA = 1  # of datasheet.json; raised when a field changes its meaning or goes


@dataclass(frozen=True)
class Size:
    """Documents, and the bytes of their text in utf-8."""

    docs: int = 0
    num_bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.docs + other.docs, self.num_bytes + other.num_bytes)


@dataclass(frozen=True)
class Account:
    """What became of some documents: fetched = left + kept, and the documents of kept = training + held_out + emptied.

    training and held_out are measured after the edits, so their bytes are not those of kept.
    """

    skipped: Mapping[str, int] = field(default_factory=dict)  # records that became no document, by reason
    fetched: Size = Size()
    left: Mapping[str, Size] = field(default_factory=dict)  # by the clause failed, in the order they were tried
    kept: Size = Size()
    training: Size = Size()
    held_out: Size = Size()
    emptied: int = 0  # documents of which the edits left nothing
    exact: int = 0  # documents with the text of an earlier one
    near: int = 0  # documents nearly like an earlier one
    repeated_bytes: int = 0  # of both
    overlap: int = 0  # documents that hold an evaluation item
    edits: Mapping[str, int] = field(default_factory=dict)  # by kind: repairs of what came, changes of what was kept

    def __add__(self, other: "Account") -> "Account":
        return Account(*(plus(getattr(self, part.name), getattr(other, part.name)) for part in fields(self)))

    @property
    def all_left(self) -> Size:
        """What left under any clause."""
        return sum(self.left.values(), Size())


def plus(first: Any, second: Any) -> Any:
    """The sum of two figures, or of each figure of two mappings."""
    if not isinstance(first, Mapping):
        return first + second
    return {**first, **{key: plus(first[key], value) if key in first else value for key, value in second.items()}}


@dataclass(frozen=True)
class Removed:
    """A document that left, its personal data masked, and the values of the columns that its clause names."""

    clause: str
    id: str
    lang: str
    text: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Edit:
    """A repair of a document that came or a change of a kept one, personal data masked."""

    kind: str
    id: str
    pieces: Pieces


@dataclass(frozen=True)
class Sheet:
    """What became of the documents; mappings are by source, in the order of the recipe."""

    recipe: Recipe
    text: str  # of the recipe
    accounts: Mapping[str, Account]
    removed: Mapping[str, list[Removed]]
    edits: Mapping[str, list[Edit]]
    digests: Mapping[str, str]  # of the documents that came
    items: Mapping[str, int]  # evaluation items: items, items_too_short, items_found

    def by(self, group: Callable[[Source], str]) -> dict[str, Account]:
        """The accounts of sources that share a language, say, added up."""
        sums: dict[str, Account] = {}
        for name, source in self.recipe.source.items():
            sums[group(source)] = sums.get(group(source), Account()) + self.accounts[name]
        return sums

    @property
    def total(self) -> Account:
        """The account of all sources."""
        return sum(self.accounts.values(), Account())


def check(name: str, account: Account, fetched: FetchFacts) -> None:
    """DataError unless every document and byte of a source is accounted for."""
    pairs = {
        "fetched, but not decided on": (Size(fetched.docs, fetched.bytes), account.fetched),
        "neither left nor kept": (account.fetched, account.all_left + account.kept),
        "kept, but neither for training nor held out nor emptied": (
            Size(account.kept.docs),
            Size(account.training.docs + account.held_out.docs + account.emptied),
        ),
    }
    for words, (first, second) in pairs.items():
        if first != second:
            docs, num_bytes = first.docs - second.docs, first.num_bytes - second.num_bytes
            raise DataError(
                f"{docs:,} documents ({num_bytes:,} bytes) are {words}",
                at=f"source `{name}`",
                hint="the steps of this source disagree: run again with `--store` set to an empty folder",
            )


def as_json(sheet: Sheet) -> dict[str, JSON]:
    """The whole sheet for programs: every figure exact, bytes as numbers; samples masked."""
    recipe = sheet.recipe
    sources: dict[str, JSON] = {}
    for name, source in recipe.source.items():
        declared = {key: value for key, value in asdict(source).items() if key not in ("held_out", "documents")}
        declared |= {"documents_asked_for": source.documents} if source.documents else {}
        rules = recipe.curate[source.curate]
        declared |= {"held_out_share": source.held_out, "keep": rules.keep, "mask": [*rules.mask]}
        declared |= {"digest": sheet.digests[name], **_figures(sheet.accounts[name])}
        samples: dict[str, JSON] = {"samples_left": [asdict(doc) for doc in sheet.removed[name]]}
        sources[name] = {**declared, **samples, "samples_edited": [*map(_edit, sheet.edits[name])]}
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "near": recipe.duplicates.near,
        "evaluation": {**sheet.items},
        "total": _figures(sheet.total),
        "languages": {lang: _figures(account) for lang, account in sheet.by(lambda source: source.lang).items()},
        "licenses": {name: _figures(account) for name, account in sheet.by(lambda source: source.license).items()},
        "sources": sources,
    }


def _figures(account: Account) -> dict[str, JSON]:
    return {**asdict(account), "left": [{"clause": clause, **asdict(size)} for clause, size in account.left.items()]}


def _edit(edit: Edit) -> JSON:
    ahead, gone, come, behind = edit.pieces
    return {"kind": edit.kind, "id": edit.id, "before": ahead + gone + behind, "after": ahead + come + behind}
