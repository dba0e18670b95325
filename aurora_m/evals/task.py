"""One evaluation item, and the task of a suite that makes items of a file's rows."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError

_COLUMN = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Item:
    """One thing that a model is asked; `kinds` has a file on what each field is to each kind."""

    id: str
    task: str
    kind: str
    lang: str
    prompt: str
    choices: tuple[str, ...] = ()
    answer: int | str = ""
    after: str = ""
    tests: str = ""
    entry: str = ""
    concern: str = ""
    group: str = ""  # items of one group ask the same in several languages

    @property
    def right(self) -> str:
        """The right answer as text."""
        return self.choices[self.answer] if isinstance(self.answer, int) else self.answer

    def to_json(self) -> dict[str, JSON]:
        """All fields that are not empty, and the prompt."""
        filled = {key: value for key, value in asdict(self).items() if value not in ((), "") or key == "prompt"}
        return {key: list(value) if key == "choices" else value for key, value in filled.items()}


@dataclass(frozen=True)
class Task:
    """How the rows of a file become items of one kind.

    Texts are templates: `{column}` stands for what a row has there. One that is nothing but `{column}` takes the value
    as it is, a list or a number too. A row without `group` is a group of its own.
    """

    name: str
    kind: str
    metric: str  # the first one to look at
    lang: str
    rows: str  # `sample:NAME`, or "{safety}": the recipe's safety rows
    prompt: str
    delimiter: str = ""  # between the prompt and each choice
    choices: str = ""
    answer: str = ""
    after: str = ""
    tests: str = ""
    entry: str = ""
    concern: str = ""
    id: str = "{id}"
    group: str = "{group}"
    where: Mapping[str, str] = field(default_factory=dict)  # only rows with these values

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is one of the task's. KeyError names a column that the row lacks."""
        return all(row[column] == value for column, value in self.where.items())

    def item(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as an item's JSON. KeyError names a column that the row lacks, DataError one that is no text."""
        row = {"group": row["id"], **row}
        texts = ("id", "lang", "prompt", "choices", "answer", "after", "tests", "entry", "concern", "group")
        filled = {key: _fill(getattr(self, key), row) for key in texts if getattr(self, key)}
        if isinstance(filled.get("choices"), list):
            filled["choices"] = [_fill(self.delimiter + "{choice}", {"choice": choice}) for choice in filled["choices"]]
        return {"task": _fill(self.name, row), "kind": self.kind, **filled}

    def frame(self) -> tuple[str, str]:
        """What the prompt says before its first column and after its last."""
        columns = list(_COLUMN.finditer(self.prompt))
        return (self.prompt[: columns[0].start()], self.prompt[columns[-1].end() :]) if columns else ("", "")


def _fill(template: str, row: Mapping[str, Any]) -> Any:
    if whole := _COLUMN.fullmatch(template):
        return row[whole[1]]
    return _COLUMN.sub(lambda column: _text(column[1], row[column[1]]), template)


def _text(column: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"the `{column}` of a row is no text", at=column, hint="see the other rows of the file")
    return value
