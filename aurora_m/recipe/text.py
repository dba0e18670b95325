"""Recipes as text: strict TOML in, canonical TOML out."""

from pathlib import Path
from typing import Any

from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import build, parse_toml, plain
from aurora_m.recipe.checks import check
from aurora_m.recipe.renamed import RENAMED
from aurora_m.recipe.shape import Recipe

LARGEST = 2**63 - 1  # integer of TOML


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
    recipe = build(Recipe, parse_toml(text, at), renamed=RENAMED)
    _check_integers(plain(recipe), "")
    check(recipe)
    return recipe


def _check_integers(value: Any, at: str) -> None:
    """RecipeError names an integer that TOML and the arithmetic of 64 bits do not have."""
    if isinstance(value, int) and abs(value) > LARGEST:
        raise RecipeError("the number is too large", at=at, hint="write less than 2 to the power of 63")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_integers(item, f"{at}.{key}" if at else key)
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_integers(item, f"{at}[{index}]")


def dumps(recipe: Recipe) -> str:
    """Write a recipe as canonical TOML: declared order, defaults left out. `loads` gives it back."""
    import tomli_w

    return tomli_w.dumps(plain(recipe))
