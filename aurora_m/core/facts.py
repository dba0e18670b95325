"""Facts: what a finished step says of itself. A frozen class in code; JSON only where the store writes and reads it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from aurora_m.core.canon import JSON
from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.typed import build

F = TypeVar("F")


def to_json(value: object) -> Any:
    """A frozen dataclass as JSON, without its fields that are None; mappings and tuples of such, too."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: getattr(value, f.name) for f in fields(value)}
        return {name: to_json(field) for name, field in named.items() if field is not None}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[F], data: Mapping[str, JSON], at: str) -> F:
    """The dataclass that `to_json` wrote. StoreError if the JSON is of another shape."""
    try:
        return build(kind, dict(data), at)
    except RecipeError as error:
        hint = "it was made by another version of Aurora: run the recipe again, or choose another `--store`"
        raise StoreError(
            f"the facts of an artifact have another shape: {error.what}", at=error.at, hint=hint
        ) from error
