"""The registry names each column once, and the docs hold its table."""

import re
from dataclasses import fields
from pathlib import Path

from aurora_m.data.columns import OF_ALL, OF_SOME, RENAMED, as_markdown, columns_of, schema
from aurora_m.data.personal.pii import KINDS
from aurora_m.recipe.shape import Curate

DOCS = Path(__file__).parents[2] / "docs" / "curation.md"
BEGIN, END = "<!-- columns -->\n", "<!-- end of columns -->\n"


def test_the_docs_hold_the_table() -> None:
    before, _, rest = DOCS.read_text("utf-8").partition(BEGIN)
    table, mark, after = rest.partition(END)
    assert before
    assert mark
    assert after
    assert table == as_markdown(), f"put what `as_markdown` of aurora_m/data/columns.py gives between {BEGIN}and {END}"


def test_names_are_unique_and_old_ones_free() -> None:
    names = [column.name for column in (*OF_ALL, *OF_SOME)]
    assert len(set(names)) == len(names)
    assert set(RENAMED.values()) <= set(names)
    assert not set(RENAMED) & set(names)
    assert {f"pii_{kind}" for kind in KINDS} == {name for name in names if name.startswith("pii_")}


def test_what_a_column_needs_is_a_key_of_its_curation() -> None:
    needed = {key for column in OF_SOME for key in re.findall(r"with `(\w+)`", column.sources)}
    assert needed
    assert needed <= {field.name for field in fields(Curate)}


def test_columns_of_a_source() -> None:
    none = {"boilerplate": False, "toxic": False, "perplexity": False, "quality": (), "registers": ()}
    assert columns_of("fi", **none) == OF_ALL  # type: ignore[arg-type]  # of its parameters
    some = columns_of("code", boilerplate=True, toxic=True, perplexity=True, quality=["good"], registers=["kind"])
    assert some[: len(OF_ALL)] == OF_ALL
    assert [column.name for column in some[-7:]] == [
        "boiler",
        "toxic",
        "perplexity",
        "good",
        "kind",
        "kind_prob",
        "kind_keep",
    ]
    assert {column.step for column in some} >= {"code", "lines", "toxic", "perplexity", "classes", "subsample"}
    assert schema(some).names[0] == "id"
