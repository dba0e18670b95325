"""What a recipe's `keep` may say of its columns, and how its own models may be named: checked before anything runs."""

from collections.abc import Iterable, Sequence

import polars as pl

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.data.columns import OF_ALL, OF_SOME, RENAMED, Column, quality_columns, register_columns, schema
from aurora_m.data.select.expression import KEYWORDS, clauses, column_names
from aurora_m.data.select.rules import table


def check_keep(keep: str, columns: Iterable[Column]) -> None:
    """RecipeError unless `keep` is a condition (expression.py) over these columns of the source."""
    empty = pl.from_arrow(schema(columns).empty_table())
    assert isinstance(empty, pl.DataFrame)
    if not keep.strip():
        raise RecipeError("`keep` is empty", at="keep", hint="write a condition: `dup_of IS NULL AND words > 9`")
    known = [name for name in empty.columns if name != "id"]
    for name in sorted(column_names(keep)):
        if name not in known:
            raise RecipeError(f"there is no column `{name}`", at=f"keep = `{keep}`", hint=_hint(name, known))
    for clause in clauses(keep):
        try:
            kind = empty.select(pl.sql_expr(clause).alias("kept")).schema["kept"]
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n")[0]
            raise RecipeError(f"`{clause}` is no condition", at=f"keep = `{keep}`", hint=reason) from error
        if kind != pl.Boolean:
            raise RecipeError(
                f"`{clause}` is not true or false", at=f"keep = `{keep}`", hint="compare it: `<`, `=`, `IS NULL`"
            )


def _hint(name: str, known: Sequence[str]) -> str:
    if name in RENAMED:
        return f"it is called `{RENAMED[name]}` now"
    listed = ", ".join(f"`{column}`" for column in known)
    return did_you_mean(name, known, f"the columns are {listed}")


def check_model_names(quality: Iterable[str], registers: Iterable[str]) -> None:
    """RecipeError unless the columns of the recipe's own models have names of their own, which a `keep` can say."""
    columns = [column for name in registers for column in register_columns(name)]
    columns += [column for name in quality for column in quality_columns(name)]
    names = [column.name for column in columns]
    taken = {*(column.name for column in (*OF_ALL, *OF_SOME)), "id", "text", *table()}
    for name in names:
        right = name.isidentifier() and name.isascii() and name.upper() not in KEYWORDS
        if not right or name in taken or names.count(name) > 1:
            hint = "choose a name of letters, digits and `_` that no column and no rule has"
            raise RecipeError(f"a model cannot be named `{name}`", at=f"quality or register `{name}`", hint=hint)
