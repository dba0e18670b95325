"""The reference of recipes is what its command writes, and leaves no table and no key out."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from aurora_m.recipe import docs, shape

SOURCE = '''
class A:
    """A table."""

    # why it is there,
    # and for how long
    x: int = 1  # in s
    y: str = "ä # b"  # a text
    z: int

    # not of a field

    w: int
'''


def test_the_reference_is_what_the_command_writes() -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    assert docs.written(page) == page, "run: python -m aurora_m.recipe.docs"


def test_every_table_of_a_recipe_is_there_once() -> None:
    named = [match[2] for match in docs.TABLE.finditer(docs.PAGE.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(table.__name__ for table in docs.tables())


def test_every_field_says_what_it_is() -> None:
    comments = docs.field_comments(Path(shape.__file__).read_text(encoding="utf-8"))
    for table in docs.tables():
        for field in fields(table):
            documented = any(comments.get((owner.__name__, field.name)) for owner in table.__mro__)
            assert documented or table is shape.Recipe, f"{table.__name__}.{field.name}"


def test_comments_above_and_beside_a_field_are_its_own() -> None:
    assert docs.field_comments(SOURCE) == {
        ("A", "x"): "why it is there, and for how long in s",
        ("A", "y"): "a text",
        ("A", "z"): "",
        ("A", "w"): "",
    }


def test_a_table_has_types_defaults_and_choices() -> None:
    page = docs.written("before\n<!-- table: Review -->\nold\n<!-- end -->\nafter")
    assert "| `decisions` | string | needed | file:PATH or sample:NAME of the ledger |" in page
    assert "| `reviewers` | integer | `2` | who must agree on a row |" in page
    assert "old" not in page
    assert page.startswith("before\n<!-- table: Review -->\nWho must agree")
    stage = docs.written("<!-- table: Stage -->\n<!-- end -->")
    assert "| `guard` | `stop`, `skip` or `rewind` | `stop` |" in stage
    assert "| `continues` | true or false | `false` |" in stage
    assert stage.index("| `mixture`") < stage.index("| `start`")


def test_the_command_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "aurora_m.recipe.docs", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage:")
