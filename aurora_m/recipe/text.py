"""Recipes as text: strict TOML in, canonical TOML out."""

import tomllib
from pathlib import Path

from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import build, plain
from aurora_m.recipe.checks import check
from aurora_m.recipe.renamed import RENAMED
from aurora_m.recipe.shape import Recipe


def load(path: Path) -> Recipe:
    """Read and check a recipe file. RecipeError names the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "give the path of a TOML file"
        raise RecipeError(f"cannot read the recipe: {error}", at=str(path), hint=hint) from error
    return loads(text, str(path))


def loads(text: str, at: str = "recipe") -> Recipe:
    """Parse and check the text of a recipe."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "strings need quotes; a table starts with [name]"
        raise RecipeError(f"not TOML: {error}", at=at, hint=hint) from error
    recipe = build(Recipe, data, renamed=RENAMED)
    check(recipe)
    return recipe


def dumps(recipe: Recipe) -> str:
    """Write a recipe as canonical TOML: declared order, defaults left out. `loads` gives it back."""
    import tomli_w

    return tomli_w.dumps(plain(recipe))
