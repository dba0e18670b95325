"""The model card: what a tuning read, how sure its rates are, and who reviewed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
