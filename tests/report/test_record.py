"""What the page tells of."""

from dataclasses import replace
from pathlib import Path

from aurora_m.core.interval import wilson
from aurora_m.recipe import Merge, load
from aurora_m.report.record import chain
from aurora_m.report.words import automated_words, name_of, size_of, title_of
from tests.report.small_run import RECIPE, build_fixture, read_fixture


def test_the_chain_leads_from_the_base_to_the_release() -> None:
    recipe = load(RECIPE)
    assert chain(recipe) == ["base", "cap", "cat", "safe"]
    assert chain(replace(recipe, release=replace(recipe.release, model="cap"))) == ["base", "cap"]
    stages = tuple(stage for stage in recipe.stage if stage.name != "base")
    ready = replace(recipe, stage=stages, base=replace(recipe.base, scratch=None, model="file:base"))
    assert chain(ready) == ["base", "cap", "cat", "safe"]
    merged = replace(recipe, merge={"soup": Merge({"base": 0.3, "cap": 0.4, "cat": 0.3})})
    assert chain(replace(merged, release=replace(recipe.release, model="soup"))) == ["base", "cap", "soup"]


def test_a_language_has_one_colour_old_ones_first(tmp_path: Path) -> None:
    record = read_fixture(build_fixture(tmp_path))
    assert record.langs == ["en", "code", "fi", "hi", "ja", "vi"]
    assert [record.colour(lang) for lang in record.langs] == [0, 1, 2, 3, 4, 5]
    assert record.colour("mul") == record.colour(record.lang_of("reviewed")) == -1


def test_stages_lie_end_to_end(tmp_path: Path) -> None:
    stages = read_fixture(build_fixture(tmp_path)).stages
    assert [(name, start, model.tokens) for name, start, model in stages] == [
        ("base", 0, 700_000),
        ("cap", 700_000, 600_000),
        ("cat", 1_300_000, 200_000),
        ("safe", 1_500_000, 60_000),
    ]


def test_rates_of_all_languages_are_pooled(tmp_path: Path) -> None:
    found = read_fixture(build_fixture(tmp_path)).pooled("safe", "refusal")
    assert found is not None
    assert (found.value, found.n) == (105 / 120, 120)
    assert (found.prompts, found.langs, size_of(found)) == (24, 5, "24 × 5")
    assert found.low <= 0.75 < 0.87 < found.value < found.high  # as wide as 24 prompts, not as 120


def test_no_refusal_at_all_is_as_sure_as_the_prompts_alone(tmp_path: Path) -> None:
    found = read_fixture(build_fixture(tmp_path)).pooled("base", "refusal")
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, *wilson(0, 24))
    assert read_fixture(build_fixture(tmp_path)).pooled("base", "accuracy") is None


def test_automated_reviewers() -> None:
    assert "no person" in automated_words(["automated-a", "automated-b"])
    assert automated_words(["automated-a", "reader-b"]) == automated_words([]) == ""


def test_names_of_languages() -> None:
    assert (name_of("code"), title_of("code"), title_of("fi"), title_of("xx")) == ("code", "Code", "Finnish", "Xx")
