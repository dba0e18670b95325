"""Keys that are called something else now: an old recipe is told the new name, and nothing reads the old one."""

from dataclasses import fields
from pathlib import Path

import pytest

from aurora_m import recipe
from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import build
from aurora_m.recipe.renamed import RENAMED

KEYS = [(kind, old, new) for kind, keys in RENAMED.items() for old, new in keys.items()]
TINY = Path(__file__).parents[2] / "aurora_m/recipes/tiny.toml"
BELOW = {"Training": ("Stage", "Tune")}  # tables of a recipe that have the keys of a class above them


@pytest.mark.parametrize(("kind", "old", "new"), KEYS)
def test_the_new_name_is_a_key_and_the_old_one_is_not(kind: str, old: str, new: str) -> None:
    names = {field.name for field in fields(getattr(recipe, kind))}
    assert new in names
    assert old not in names


@pytest.mark.parametrize(("kind", "old", "new"), KEYS)
def test_an_old_recipe_is_told_the_new_name(kind: str, old: str, new: str) -> None:
    for table in BELOW.get(kind, (kind,)):
        with pytest.raises(RecipeError) as caught:
            build(getattr(recipe, table), {old: 1}, "here", RENAMED)
        error = caught.value
        assert (error.what, error.at) == (f"`{old}` is called `{new}` now", "here")
        assert error.hint == f"write `{new}`; it means the same"
        assert error.exit_code == 2


def test_recipes_are_read_with_these_names() -> None:
    with pytest.raises(RecipeError, match="`max_held` is called `max_held_bytes` now"):
        recipe.loads(TINY.read_text().replace("max_held_bytes = ", "max_held = "))
