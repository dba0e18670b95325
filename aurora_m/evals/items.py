"""Files of items: one JSON row an item; those that a step writes say their format in a first line."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from aurora_m.core.errors import DataError, did_you_mean
from aurora_m.core.files import json_rows, parse_json, write_jsonl
from aurora_m.evals.kinds import KINDS
from aurora_m.evals.task import Item

FORMAT = 1
ITEMS = "items.jsonl"
_NEEDED = ("id", "task", "kind", "lang", "prompt")
_HINT = f"an item needs {', '.join(_NEEDED[:-1])} and {_NEEDED[-1]}; kinds are {', '.join(KINDS)}"


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write the format's number, then the items in the order given."""
    write_jsonl(path, [{"format": FORMAT}, *(item.to_json() for item in items)])


def read_items(path: Path) -> list[Item]:
    """Read what `write_items` wrote. DataError on another format, and on a row that is no item."""
    with path.open("rb") as file:
        first = parse_json(file.readline() or b"null", str(path))
    if first != {"format": FORMAT}:
        number = first.get("format") if isinstance(first, dict) else None
        what = "a file of items does not say its format" if number is None else f"items of the format `{number}`"
        hint = f'the first line is {{"format": {FORMAT}}}; what another version of Aurora wrote is to be made again'
        raise DataError(what, at=str(path), hint=hint)
    return [read_item(row, at) for at, row in json_rows(path, 2)]


def read_own_items(path: Path) -> list[Item]:
    """Read a file of items that a person wrote: rows alone. DataError on a row that is no item, or no row."""
    items = [read_item(row, at) for at, row in json_rows(path)]
    if not items:
        raise DataError("a file of items holds none", at=str(path), hint=_HINT)
    return items


def read_item(row: Mapping[str, Any], at: str) -> Item:
    """Read one row. DataError, at the place `at`, on an unknown or missing key, a wrong type, or none of its kind."""
    known = {field.name for field in fields(Item)}
    if unknown := sorted(set(row) - known):
        raise DataError(f"an item has the unknown key `{unknown[0]}`", at=at, hint=_HINT)
    if missing := [key for key in _NEEDED if key not in row or not (row[key] or key == "prompt")]:
        raise DataError(f"an item has no `{missing[0]}`", at=at, hint=_HINT)
    texts = {key: value for key, value in row.items() if key not in ("choices", "answer")}
    if not_texts := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise DataError(f"the `{not_texts[0]}` of an item is no text", at=at, hint=_HINT)
    if row["kind"] not in KINDS:
        hint = did_you_mean(str(row["kind"]), KINDS, _HINT)
        raise DataError(f"an item has the unknown kind `{row['kind']}`", at=at, hint=hint)
    choices = row.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise DataError("the `choices` of an item are not a list of texts", at=at, hint=_HINT)
    item = Item(**texts, choices=tuple(choices), answer=row.get("answer", ""))
    KINDS[item.kind].check(item, at)
    return item
