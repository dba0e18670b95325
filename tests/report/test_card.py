"""The model card: what a tuning read, how sure its rates are, and who reviewed."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from aurora_m.core.files import read_json, write_json
from aurora_m.core.step import Work
from aurora_m.recipe import Merge, dumps, loads
from aurora_m.report.pages.card import CardFacts, model_card
from aurora_m.report.words import SPACE
from tests.report.small_run import build_fixture


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What the card takes besides `work`."""
    found = build_fixture(tmp_path / "in")
    path = found["forgetting"].path / "changes.json"
    changes = read_json(path)
    twins = [{**row, "metric": "over_refusal", "after": 0.125} for row in changes["rows"] if row["metric"] == "refusal"]
    write_json(path, {**changes, "rows": changes["rows"] + twins})
    return {name: value for name, value in found.items() if name not in ("items", "answers", "scores", "fertility")}


def card(new_work: Callable[[], Work], given: dict[str, Any]) -> str:
    work = new_work()
    assert model_card(work, **given) == CardFacts(8)
    return (work.out / "README.md").read_text(encoding="utf-8").replace(SPACE, " ")


def test_shares_are_those_learnt_from_and_a_tuning_has_its_reviewed_rows(
    new_work: Callable[[], Work], given: dict[str, Any]
) -> None:
    text = card(new_work, given)
    assert "| base | 700,000 | 40 | 4.47e+12 | en 50.0%, code 50.0% |" in text
    assert "| safe | 60,000 | 40 | 3.83e+11 | reviewed 11.1%, fi 44.4%, en 44.4% |" in text
    assert (
        "\nThe tuning “safe” read the reviewed rows for 3 epochs; 25.0 % of its rows, as declared, are replay from the "
        "mixture “kept”. Its declared shares are by row, its achieved ones by tokens learnt from" in text
    )


def test_every_safety_rate_has_its_interval(new_work: Callable[[], Work], given: dict[str, Any]) -> None:
    row = "| fi | 0% [0%, 14%] | 85% [64%, 93%] | 0% [0%, 14%] | 12% [4%, 31%] | 24 |"
    assert row in card(new_work, given)


def test_who_reviewed(new_work: Callable[[], Work], given: dict[str, Any]) -> None:
    words = "These decisions were automated; no person has reviewed these rows."
    assert words not in card(new_work, given)
    passed = given["reviewed"]["reviewed"]
    automated = replace(passed, facts={**passed.facts, "reviewers": ["automated-a", "automated-b"]})
    assert f"agreement 0.9762. {words}\n" in card(new_work, {**given, "reviewed": {"reviewed": automated}})


def test_the_same_files_are_promised_for_the_same_machine_only(
    new_work: Callable[[], Work], given: dict[str, Any]
) -> None:
    assert "make the same files again on the same machine with the same flags and Python version" in card(
        new_work, given
    )


def test_what_a_merged_model_is_made_of(new_work: Callable[[], Work], given: dict[str, Any]) -> None:
    recipe = loads(given["recipe"])
    back = Merge({"cap": 1.0, "cat": 0.5}, "ties", "base", sweep=(0.25,))
    merged = replace(recipe, merge={"soup": Merge({"cap": 0.5, "cat": 0.5}), "back": back})
    untrained = replace(given["models"]["cap"], facts={"parameters": 9})
    models = {**given["models"], "soup": untrained, "back_25": untrained}
    text = card(new_work, {**given, "models": models, "recipe": dumps(merged)})
    assert "The chain: `base` → `cap` → `cat` → `soup` → `back_25` → `safe`." in text
    assert "\nThe model `soup` was not trained: it is 0.5 × `cap` + 0.5 × `cat`, weight by weight.\n" in text
    assert (
        "\nThe model `back_25` was not trained: it is `base` and 0.25 times what 1 × `cap` + 0.5 × `cat` changed in "
        "it, merged by ties, the largest 20% of each.\n" in text
    )


WORDS = ("text", "text_special", "code_inline", "softbreak")
HOSTILE = (
    'x\n---\nlicense: mit\n# "y"', "--- '\"\\ : - {} [] & * ! | > % @ `", "...",
    "\u0085\u2028---\u2029a: b\r\n---\r", "null",
    "~", "yes", "1.0", "0x1f", "2024-01-01", "\x1b[2J\x07", "</script><script>alert(1)</script>", "[x](javascript:a)",
    "![x](http://a)", "\ufeffa", "<!--", "```\n# heading\n```", "a | b\n| --- |\n", "$x$", "\u202eevil",
    "", " ", "\t", "key: a",
)  # fmt: skip


def marks(markdown: str) -> Counter[str]:
    """What a reader of Markdown makes of a text, but for words: headings, links, tables, HTML and so on."""
    found: Counter[str] = Counter()
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        found += Counter(one.type for one in (token, *(token.children or [])) if one.type not in WORDS)
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_recipe_breaks_out_of_the_card(
    new_work: Callable[[], Work], given: dict[str, Any], text: str
) -> None:
    recipe = loads(given["recipe"])
    source = {name: replace(about, license=text, revision=text) for name, about in recipe.source.items()}
    changed = replace(recipe, source=source, release=replace(recipe.release, license=text))
    page = card(new_work, {**given, "recipe": dumps(changed)})
    plain = card(new_work, given)
    licences = {name: replace(about, license=recipe.release.license) for name, about in recipe.source.items()}
    agreed = card(new_work, {**given, "recipe": dumps(replace(recipe, source=licences))})  # a paragraph less
    _, head, body = page.split("---\n", 2)
    about = yaml.safe_load(head)
    assert [*about] == [*yaml.safe_load(plain.split("---\n", 2)[1])]
    assert isinstance(about["license"], str)
    assert ModelCard(page).data["license"] == about["license"]
    assert marks(body) in [marks(one.split("---\n", 2)[2]) for one in (plain, agreed)]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", page)
