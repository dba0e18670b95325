"""The accounts of a run's data: what came, left and stayed of each source; they add up, or there are none."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.core.files import read_json, read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.recipe import Recipe, Source
from aurora_m.report.masks import Pieces, masked, pieces

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
    """What became of some documents: came = left + kept, and the documents of kept = training + held_out + emptied.

    training and held_out are measured after the edits, so their bytes are not those of kept.
    """

    skipped: Mapping[str, int] = field(default_factory=dict)  # records that became no document, by reason
    came: Size = Size()
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


@dataclass(frozen=True)
class Gone:
    """A document that left, its personal data masked, and the values of the columns that its clause names."""

    clause: str
    id: str
    lang: str
    text: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Changed:
    """A repair of a document that came or a change of a kept one, personal data masked."""

    kind: str
    id: str
    pieces: Pieces


@dataclass(frozen=True)
class Sheet:
    """All that a datasheet tells; mappings are by source, in the order of the recipe."""

    recipe: Recipe
    text: str  # of the recipe
    accounts: Mapping[str, Account]
    gone: Mapping[str, list[Gone]]
    changed: Mapping[str, list[Changed]]
    digests: Mapping[str, str]  # of the documents that came
    items: Mapping[str, int]  # evaluation items: items, items_too_short, items_found

    def by(self, group: Callable[[Source], str]) -> dict[str, Account]:
        """The accounts of sources that share a language, say, added up."""
        names: dict[str, list[str]] = {}
        for name, source in self.recipe.source.items():
            names.setdefault(group(source), []).append(name)
        return {key: added(self.accounts[name] for name in part) for key, part in names.items()}

    @property
    def total(self) -> Account:
        """The account of all sources."""
        return added(self.accounts.values())


def read_sheet(
    recipe: Recipe,
    text: str,
    fetched: Mapping[str, Artifact],
    duplicates: Artifact,
    overlap: Artifact,
    decided: Mapping[str, Artifact],
    rewritten: Mapping[str, Artifact],
) -> Sheet:
    """Read the artifacts' facts and samples. DataError where a source's figures do not add up."""
    repeats: Any = duplicates.facts["sources"]
    found: Any = overlap.facts
    accounts, gone, changed = {}, {}, {}
    for name, source in recipe.source.items():
        reasons = read_json(decided[name].path / "reasons.json")
        accounts[name] = account(
            fetched[name].facts, repeats[name], found["docs"][name], decided[name].facts, reasons, rewritten[name].facts
        )
        check(name, accounts[name], fetched[name].facts)
        gone[name] = [_gone(reason["clause"], row, source.lang) for reason in reasons for row in reason["samples"]]
        samples = [row for part in (fetched, rewritten) for row in read_jsonl(part[name].path / "samples.jsonl")]
        changed[name] = [Changed(row["kind"], row["id"], pieces(row, source.lang)) for row in samples]
    digests = {name: fetched[name].digest for name in recipe.source}
    items = {name: found[name] for name in ("items", "items_too_short", "items_found")}
    return Sheet(recipe, text, accounts, gone, changed, digests, items)


def account(came: Any, repeats: Any, overlap: int, decided: Any, reasons: Any, clean: Any) -> Account:
    """The account of one source, from the facts of fetch, duplicates, overlap, decide and rewrite."""
    return Account(
        skipped=came["skipped"],
        came=Size(decided["docs_in"], decided["bytes_in"]),
        left={reason["clause"]: Size(reason["docs"], reason["bytes"]) for reason in reasons},
        kept=Size(decided["docs_kept"], decided["bytes_kept"]),
        training=Size(clean["docs"], clean["bytes"]),
        held_out=Size(clean["held_docs"], clean["held_bytes"]),
        emptied=clean["emptied"],
        exact=repeats["exact"],
        near=repeats["near"],
        repeated_bytes=repeats["bytes"],
        overlap=overlap,
        edits=_merged([came["repairs"], clean["edits"]], 0),
    )


def check(name: str, found: Account, came: Any) -> None:
    """DataError unless every document and byte of a source is accounted for."""
    left = sum(found.left.values(), Size())
    pairs = {
        "fetched, but not decided on": (Size(came["docs"], came["bytes"]), found.came),
        "neither left nor kept": (found.came, left + found.kept),
        "kept, but neither for training nor held out nor emptied": (
            Size(found.kept.docs),
            Size(found.training.docs + found.held_out.docs + found.emptied),
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


def added(accounts: Iterable[Account]) -> Account:
    """The sum of some accounts; what is by clause, reason or kind stays so."""
    parts = list(accounts)
    return Account(
        skipped=_merged((part.skipped for part in parts), 0),
        came=sum((part.came for part in parts), Size()),
        left=_merged((part.left for part in parts), Size()),
        kept=sum((part.kept for part in parts), Size()),
        training=sum((part.training for part in parts), Size()),
        held_out=sum((part.held_out for part in parts), Size()),
        emptied=sum(part.emptied for part in parts),
        exact=sum(part.exact for part in parts),
        near=sum(part.near for part in parts),
        repeated_bytes=sum(part.repeated_bytes for part in parts),
        overlap=sum(part.overlap for part in parts),
        edits=_merged((part.edits for part in parts), 0),
    )


def as_json(sheet: Sheet) -> dict[str, JSON]:
    """The whole sheet for programs: every figure exact, bytes as numbers; samples masked."""
    recipe = sheet.recipe
    sources: dict[str, JSON] = {}
    for name, source in recipe.source.items():
        rules = recipe.curate[source.curate]
        gone: list[JSON] = [{**asdict(row)} for row in sheet.gone[name]]
        changed: list[JSON] = [_changed(row) for row in sheet.changed[name]]
        said = {key: value for key, value in asdict(source).items() if key not in ("held_out", "documents")}
        said |= {"documents_asked_for": source.documents} if source.documents else {}
        said |= {"held_out_share": source.held_out, "keep": rules.keep, "mask": [*rules.mask]}
        said["digest"] = sheet.digests[name]
        sources[name] = {**said, **_figures(sheet.accounts[name]), "samples_left": gone, "samples_edited": changed}
    langs: dict[str, JSON] = {key: _figures(found) for key, found in sheet.by(lambda s: s.lang).items()}
    licences: dict[str, JSON] = {key: _figures(found) for key, found in sheet.by(lambda s: s.license).items()}
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "near": recipe.duplicates.near,
        "evaluation": {**sheet.items},
        "total": _figures(sheet.total),
        "languages": langs,
        "licenses": licences,
        "sources": sources,
    }


def _figures(found: Account) -> dict[str, JSON]:
    values: dict[str, JSON] = asdict(found)
    left: list[JSON] = [{"clause": clause, **asdict(size)} for clause, size in found.left.items()]
    return {**values, "left": left}


def _merged(parts: Iterable[Mapping[str, Any]], nothing: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            merged[key] = merged.get(key, nothing) + value
    return merged


def _gone(clause: str, row: Any, lang: str) -> Gone:
    spoken = row["values"].get("lang_id") or lang
    return Gone(clause, row["id"], spoken, masked(row["text"], spoken), row["values"])


def _changed(row: Changed) -> JSON:
    ahead, gone, come, behind = row.pieces
    return {"kind": row.kind, "id": row.id, "before": ahead + gone + behind, "after": ahead + come + behind}
