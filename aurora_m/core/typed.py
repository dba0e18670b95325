"""Typed values from TOML tables: every key known, every needed key there, every type exact."""

import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.core.units import parse_count

Count = NewType("Count", int)  # an integer that may be written "377B"
T = TypeVar("T")
Renamed = Mapping[str, Mapping[str, str]]
NOTHING: Renamed = types.MappingProxyType({})
SIMPLE = (Count, int, float, bool, str)
SHOWN = 100  # characters of a wrong value


def parse_toml(text: str, at: str) -> dict[str, Any]:
    """The tables of a TOML text. RecipeError, with `at`, if it is none: nested too deep, or with endless numbers."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "strings need quotes; a table starts with [name]"
        raise RecipeError(f"not TOML: {error}", at=at, hint=hint) from error
    except (ValueError, RecursionError) as error:  # of an integer of thousands of digits; of lists in lists
        what = "it is nested too deep" if isinstance(error, RecursionError) else "a number has too many digits"
        raise RecipeError(f"not TOML: {what}", at=at, hint="see recipes/tiny.toml") from None


def build(kind: type[T], data: Any, at: str = "", renamed: Renamed = NOTHING) -> T:
    """Make a dataclass from a TOML table. RecipeError, with a suggestion, names the key that is wrong.

    `renamed` has, by the name of a dataclass, keys that it or a class below it once had, and what they are called now.
    """
    if not isinstance(data, dict):
        raise _wrong(data, "a table", at)
    hints = get_type_hints(kind)
    for key in data:
        if key not in hints:
            raise _unknown(key, kind, at or "the top of the recipe", renamed)
    values = {}
    for f in fields(kind):  # type: ignore[arg-type]  # T is a dataclass, which the type system cannot say
        where = f"{at}.{f.name}" if at else f.name
        if f.name in data:
            values[f.name] = _value(hints[f.name], data[f.name], where, renamed)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise RecipeError(
                f"`{f.name}` is missing",
                at=at or "the top of the recipe",
                hint=f"add `{f.name}` ({_words(hints[f.name])})",
            )
    return kind(**values)


def _unknown(key: str, kind: type, at: str, renamed: Renamed) -> RecipeError:
    """A key that the class has not: one that is called something else now, or a slip."""
    for name in (owner.__name__ for owner in kind.__mro__):
        if key in renamed.get(name, {}):
            new = renamed[name][key]
            return RecipeError(f"`{key}` is called `{new}` now", at=at, hint=f"write `{new}`; it means the same")
    hints = get_type_hints(kind)
    known = ", ".join(f"`{name}`" for name in hints)
    return RecipeError(f"unknown key `{key}`", at=at, hint=did_you_mean(key, hints, f"known keys: {known}"))


def _value(hint: Any, value: Any, at: str, renamed: Renamed) -> Any:
    """Check one value against its type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(args[0], value, at, renamed)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(value, "a list", at)
        return tuple(_value(args[0], item, f"{at}[{i}]", renamed) for i, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _wrong(value, "a table", at)
        return {key: _value(args[1], item, f"{at}.{key}", renamed) for key, item in value.items()}
    if origin is Literal or hint in SIMPLE:
        return _simple(hint, value, at)
    return build(hint, value, at, renamed)


def _simple(hint: Any, value: Any, at: str) -> Any:
    """Check a value that holds no others."""
    if hint is Count and isinstance(value, str):
        try:
            return parse_count(value)
        except ValueError as error:
            raise RecipeError(str(error), at=at, hint='counts are integers or strings such as "377B"') from error
    if hint in (Count, int):
        return _plain_number(value, int, "an integer", at)
    if hint is float:
        try:
            return float(_plain_number(value, (int, float), "a number", at))
        except OverflowError:
            raise RecipeError("the number is too large", at=at, hint="write less than 1e308") from None
    if hint in (bool, str):
        if not isinstance(value, hint):
            raise _wrong(value, "true or false" if hint is bool else "a string", at)
        return value
    choices = get_args(hint)
    if value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise RecipeError(
            f"`{_shown(value)}` is not a choice here",
            at=at,
            hint=did_you_mean(_shown(value), choices, f"choose one of {listed}"),
        )
    return value


def _plain_number(value: Any, kinds: Any, what: str, at: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise _wrong(value, what, at)
    if not isinstance(value, int) and not math.isfinite(value):
        raise RecipeError(f"`{value}` is not finite", at=at, hint=f"write {what}")
    return value


def _wrong(value: Any, wanted: str, at: str) -> RecipeError:
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    shown = str(value).lower() if isinstance(value, bool) else _shown(value)
    return RecipeError(f"`{shown}` is {names.get(type(value), 'a date')}, not {wanted}", at=at, hint=f"write {wanted}")


def _shown(value: Any) -> str:
    """A value as text, cut where it is long; what has no text, as lists in lists or endless numbers, is dots."""
    try:
        text = str(value)
    except (ValueError, RecursionError):
        return "..."
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _words(hint: Any) -> str:
    names = {str: "a string", int: "an integer", float: "a number", Count: "a count"}
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{arg}"' for arg in get_args(hint))
    return names.get(hint, "a list" if get_origin(hint) is tuple else "a table")


def plain(value: Any) -> Any:
    """Turn a dataclass back into what TOML can hold: declared order, defaults left out."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if getattr(value, f.name) != _default(f)}
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _default(f: Any) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default
