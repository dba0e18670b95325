"""A right condition passes, and a wrong one says what is wrong."""

import pytest

from aurora_m.core.errors import RecipeError
from aurora_m.data.columns import OF_ALL, quality_columns
from aurora_m.data.select.keep import check_keep, check_model_names

NAMES = [column.name for column in OF_ALL]


@pytest.mark.parametrize(
    ("keep", "what", "hint"),
    [
        ("wrods > 3", "there is no column `wrods`", "did you mean `words`?"),
        ("zzzzzz > 3", "there is no column `zzzzzz`", "the columns are `num_bytes`"),
        ("words > 'a'", "`words > 'a'` is no condition", "cannot compare"),
        ("words >", "`words >` is no condition", "parse"),
        ("words > 1 AND", "`` is no condition", "parse"),
        ("words + 1", "`words + 1` is not true or false", "compare it"),
        ("abs(words) > 1", "`abs` is no function here", "only columns"),
        ("words > 1; DROP", "`;` cannot stand in a condition", "single quotes"),
        ('lang_id = "fi"', '`"fi"` cannot stand in a condition', "single quotes"),
        ("  ", "`keep` is empty", "write a condition"),
        ("leak = 0", "there is no column `leak`", "it is called `contaminated_items` now"),
        ("leak_items = ''", "there is no column `leak_items`", "it is called `contaminated_item_ids` now"),
    ],
)
def test_wrong_conditions(keep: str, what: str, hint: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_keep(keep, OF_ALL)
    assert error.value.what == what
    assert hint in error.value.hint


def test_right_conditions() -> None:
    check_keep(
        "lang_id IN ('fi', 'en') AND NOT (dup_kind = 'near' OR contaminated_items > 0) AND (chars - words) / 2 >= .5e1",
        OF_ALL,
    )
    check_keep(" AND ".join(f"{name} IS NOT NULL" for name in NAMES), OF_ALL)
    check_keep("lang = 'fi' and dup_of is null", OF_ALL)


def test_a_model_may_have_the_old_name_of_a_column() -> None:
    check_keep("leak > 0.5", (*OF_ALL, *quality_columns("leak")))


@pytest.mark.parametrize("name", ["words", "perplexity", "c4", "id", "wiki-like", "in", "kind_prob"])
def test_a_model_has_a_name_of_its_own(name: str) -> None:
    check_model_names(["good"], ["kind"])
    with pytest.raises(RecipeError, match=f"a model cannot be named `{name}`"):
        check_model_names([name], ["kind"])
