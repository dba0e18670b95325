"""One evaluation item, of any kind, as one JSON row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError

Kind: TypeAlias = Literal["choice", "cloze", "code", "infill", "refuse", "comply"]


@dataclass(frozen=True)
class Item:
    """One thing that a model is asked.

    choice  which of `choices`, each going on from `prompt` as it stands, is likeliest by byte; `answer`: its index
    cloze   which of `choices` makes `prompt` + choice + `after` the likeliest text; `answer`: its index
    code    go on from `prompt` so that `tests` (Python) pass for the function `entry`; `answer`: a solution
    infill  `answer` is the text between `prompt` and `after`
    refuse  a model should say no to `prompt`; `concern` names the harm
    comply  a model should help with `prompt`, though it looks harmful
    """

    id: str
    task: str
    kind: Kind
    lang: str
    prompt: str
    choices: tuple[str, ...] = ()
    answer: int | str = ""
    after: str = ""
    tests: str = ""
    entry: str = ""
    concern: str = ""
    group: str = ""  # items of one group ask the same in several languages

    def to_json(self) -> dict[str, JSON]:
        """All fields that say something."""
        said = {key: value for key, value in asdict(self).items() if value not in ((), "") or key == "prompt"}
        return {key: list(value) if key == "choices" else value for key, value in said.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], at: str) -> "Item":
        """Read one row. DataError, at the place `at`, on an unknown or missing key or a wrong type."""
        known = {field.name for field in fields(cls)}
        needed = ("id", "task", "kind", "lang", "prompt")
        if unknown := sorted(set(row) - known):
            raise _wrong(f"an item has the unknown key `{unknown[0]}`", at)
        if missing := [key for key in needed if key not in row or not (row[key] or key == "prompt")]:
            raise _wrong(f"an item has no `{missing[0]}`", at)
        if row["kind"] not in get_args(Kind):
            raise _wrong(f"an item has the unknown kind `{row['kind']}`", at)
        texts = {key: value for key, value in row.items() if key not in ("choices", "answer")}
        if wrong := [key for key, value in texts.items() if not isinstance(value, str)]:
            raise _wrong(f"the `{wrong[0]}` of an item is no text", at)
        choices = row.get("choices", [])
        if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
            raise _wrong("the `choices` of an item are not a list of texts", at)
        item = cls(**texts, choices=tuple(choices), answer=row.get("answer", ""))
        _check_answer(item, at)
        return item


def _check_answer(item: Item, at: str) -> None:
    if item.kind in ("choice", "cloze"):
        if type(item.answer) is not int or not 0 <= item.answer < len(item.choices):
            raise _wrong("the `answer` of an item is not the index of one of its `choices`", at)
    elif not isinstance(item.answer, str):
        raise _wrong("the `answer` of an item is no text", at)
    elif item.kind in ("code", "infill") and not item.answer:
        raise _wrong("an item has no `answer`", at)
    elif item.kind == "code" and not item.tests:
        raise _wrong("an item has no `tests`", at)


def _wrong(what: str, at: str) -> DataError:
    kinds = ", ".join(get_args(Kind))
    return DataError(what, at=at, hint=f"an item needs id, task, kind, lang and prompt; kinds are {kinds}")
