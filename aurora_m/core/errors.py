"""The errors that people see, each with what happened, where, and what to do; none tells a secret of an address.

AuroraError
├── RecipeError   exit 2   the recipe or the command line is wrong
├── DataError     exit 1   a source cannot be read as declared
│   └── Missing   exit 1   a file that the recipe names is not there
├── StoreError    exit 1   the store is locked, full or damaged
├── TrainError    exit 1   training cannot go on
└── Waiting       exit 3   a step waits for people
"""

import difflib
from collections.abc import Iterable

from aurora_m.core.address import without_secrets
from aurora_m.core.visible import visible

MOST_CHARS = 500  # of what happened, which may hold the user's own text


class AuroraError(Exception):
    """An error that is the user's to mend; printed without a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, at: str, hint: str) -> None:
        what, at, hint = (_plain(text) for text in (what, at, hint))
        what = what if len(what) <= MOST_CHARS else f"{what[:MOST_CHARS]}..."
        super().__init__(what)
        self.what, self.at, self.hint = what, at or "an empty name", hint

    def __str__(self) -> str:
        return f"error: {self.what}\n  at: {self.at}\n\nhint: {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.at, self.hint)


def _plain(text: str) -> str:
    """One line without escape codes and secrets: names of files and what a library says may hold anything."""
    return " ".join(visible(without_secrets(text)).split("\n"))


def _rebuild(kind: type[AuroraError], what: str, at: str, hint: str) -> AuroraError:
    return kind(what, at=at, hint=hint)


class RecipeError(AuroraError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class DataError(AuroraError):
    """A source cannot be read as declared."""


class Missing(DataError):
    """A file that the recipe names is not there: a plan can be made without it, a run cannot."""


class StoreError(AuroraError):
    """The store is locked, full or damaged."""


class TrainError(AuroraError):
    """Training cannot go on."""


class Waiting(AuroraError):
    """A step waits for people."""

    exit_code = 3


def did_you_mean(name: str, names: Iterable[str], otherwise: str) -> str:
    """A hint that suggests the nearest of the names; `otherwise` if none is near."""
    near = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean `{near[0]}`?" if near else otherwise
