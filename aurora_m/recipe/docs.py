"""The tables of docs/recipe.md, from the dataclasses of shape.py and the comments of their fields.

`python -m aurora_m.recipe.docs` rewrites what stands between `<!-- table: NAME -->` and `<!-- end -->`. A comment
stands beside its field, or above it if it is long.
"""

import argparse
import ast
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from aurora_m.core.typed import Count
from aurora_m.recipe import shape

PAGE = Path(__file__).parents[2] / "docs/recipe.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)
SIMPLE = {str: "string", int: "integer", Count: "count", float: "number", bool: "true or false"}
EMPTY: tuple[object, ...] = ("", (), {}, None)


def written(page: str) -> str:
    """The page with its tables as the dataclasses have them. KeyError if it names a class that is not there."""
    comments = field_comments(Path(shape.__file__).read_text(encoding="utf-8"))
    return TABLE.sub(lambda match: f"{match[1]}{_table(getattr(shape, match[2]), comments)}{match[3]}", page)


def tables(kind: type = shape.Recipe) -> Iterator[type]:
    """A dataclass, and all that stand in its fields, each once."""
    inside = [table for hint in get_type_hints(kind).values() if (table := _dataclass_in(hint))]
    yield from dict.fromkeys([kind, *(inner for table in inside for inner in tables(table))])


def field_comments(source: str) -> dict[tuple[str, str], str]:
    """The comments of a module's annotated fields, by class and field: those right above, then that beside."""
    lines = source.splitlines()
    comments = {}
    for owner in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for node in owner.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                texts = [lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].decode()]
                above = node.lineno - 2
                while lines[above].lstrip().startswith("#"):
                    texts.insert(0, lines[above])
                    above -= 1
                comments[owner.name, node.target.id] = " ".join(text.strip(" #") for text in texts if text.strip())
    return comments


def _table(kind: type, comments: Mapping[tuple[str, str], str]) -> str:
    """What a class is for, and a row for each of its fields, its own before those of the classes above it."""
    hints = get_type_hints(kind)
    rows = []
    for f in sorted(fields(kind), key=lambda f: f.name not in kind.__annotations__):
        meaning = next((text for owner in kind.__mro__ if (text := comments.get((owner.__name__, f.name)))), "")
        inside = _dataclass_in(hints[f.name])
        meaning = meaning or (_summary(inside) if inside else "")
        rows.append(f"| `{f.name}` | {_type(hints[f.name])} | {_default(f)} | {meaning} |\n")
    head = "| key | type | default | meaning |\n|---|---|---|---|\n"
    return f"{_summary(kind)}\n\n{head}{''.join(rows)}"


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").splitlines()[0]


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass of a field, be it alone, optional, a list or by name."""
    inner = hint if isinstance(hint, type) else next((arg for arg in get_args(hint) if is_dataclass(arg)), None)
    return inner if is_dataclass(inner) and isinstance(inner, type) else None


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin is Literal:
        return ", ".join(f"`{arg}`" for arg in args[:-1]) + f" or `{args[-1]}`"
    if origin is tuple:
        return f"list of {_type(args[0])}s"
    if origin is Mapping:
        return f"{_type(args[1])}s by name"
    if origin in (Union, types.UnionType):
        return _type(args[0])
    return "table"


def _default(f: "Field[Any]") -> str:
    if f.default is MISSING and f.default_factory is MISSING:
        return "needed"
    value = f.default_factory() if f.default_factory is not MISSING else f.default
    if is_dataclass(value):
        return "its own"
    if value in EMPTY:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write the tables of docs/recipe.md.").parse_args()
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
