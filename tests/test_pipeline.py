"""The map: every step can be called as it is written, and a change in a recipe reaches what it should, no more."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.step import Step, ordered
from aurora_m.core.uri import SAMPLE
from aurora_m.pipeline import GOALS, Graph, build
from aurora_m.recipe import Base, Perplexity, Quality, Recipe, Register, check, load

TINY = Path(__file__).parents[1] / "recipes" / "tiny.toml"
PAPERS = {"card", "datasheet", "report"}  # they hold the whole recipe, so every change reaches them
TEXTS = ("en", "fi", "hi", "ja", "vi")


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    """The recipe that ships with Aurora."""
    return load(TINY)


@pytest.fixture(scope="module")
def steps(tiny: Recipe) -> dict[str, Step]:
    """Its graph."""
    return build(tiny, Path())


def own(step: Step) -> JSON:
    """What a step is without what its inputs hold."""
    return [step.fn, step.version, dict(step.params), [[name, parent.name] for name, parent in step.parents()]]


def graph_of(recipe: Recipe, root: Path = Path()) -> dict[str, JSON]:
    check(recipe)
    return {name: own(step) for name, step in build(recipe, root).items()}


def changed(old: dict[str, JSON], new: dict[str, JSON]) -> set[str]:
    """The steps that are new, gone or not the same, but for those that hold the whole recipe."""
    found = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert not found or found >= PAPERS
    return found - PAPERS


def with_source(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return replace(recipe, source={**recipe.source, name: replace(recipe.source[name], **changes)})


def with_mixture(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return replace(recipe, mixture={**recipe.mixture, name: replace(recipe.mixture[name], **changes)})


def with_stage(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return replace(recipe, stage=tuple(replace(s, **changes) if s.name == name else s for s in recipe.stage))


def with_scratch(recipe: Recipe, **changes: Any) -> Recipe:
    assert recipe.base.scratch
    return replace(recipe, base=Base(scratch=replace(recipe.base.scratch, **changes)))


def from_folder(recipe: Recipe, root: Path) -> Recipe:
    """The same recipe with a base model that lies beside it."""
    (root / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (root / "model" / name).write_text("{}")
    return replace(recipe, base=Base(model="file:model"), stage=recipe.stage[1:])


# --- the graph


def test_an_unknown_kind_to_mask_is_named(tiny: Recipe) -> None:
    wrong = replace(tiny, curate={**tiny.curate, "code": replace(tiny.curate["code"], mask=("e-mail",))})
    with pytest.raises(RecipeError, match="there is no kind to mask in code `e-mail`") as caught:
        build(wrong, Path())
    assert (caught.value.at, caught.value.hint) == ("curate.code.mask", "did you mean `email`?")


def test_every_function_is_there_and_takes_what_its_step_gives(steps: dict[str, Step]) -> None:
    assert len(steps) > 50
    for step in steps.values():
        step.check()


@pytest.mark.parametrize("name", ["words", "perplexity", "c4", "licence", "wiki-like", "in", "kind_prob"])
def test_a_model_has_a_name_of_its_own(tiny: Recipe, name: str) -> None:
    register = {"kind": Register(("en",), "register")}
    models = {name: Quality(("en",), ("fi",))}
    with pytest.raises(RecipeError, match=f"a model cannot be named `{name}`"):
        build(replace(tiny, quality=models, register=register), Path())


def test_columns_of_models_are_made_where_a_keep_names_them(tiny: Recipe) -> None:
    keep = "good > 0.5 AND kind_keep AND perplexity < 9 AND toxic < 0.1 AND boiler < 0.5"
    curate = {**tiny.curate, "web": replace(tiny.curate["text"], keep=keep, boilerplate=5)}
    source = {**tiny.source, "fi": replace(tiny.source["fi"], curate="web")}
    models = {"quality": {"good": Quality(("fi",), ("en",))}, "register": {"kind": Register(("fi",), "kind")}}
    recipe = replace(tiny, curate=curate, source=source, perplexity={"fi": Perplexity(("fi",))}, **models)
    steps = build(recipe, Path())
    made = {name for name, _ in steps["decide.fi"].parents()}
    shards = {f"by_shard.{name}" for name in ("signals", "classes", "subsample.kind", "perplexity", "toxic")}
    assert made == {"docs", *shards, "by_source.duplicates", "by_source.overlap", "by_source.lines"}
    assert "lines" in dict(steps["rewrite.fi"].parents())
    assert {name for name, _ in steps["decide.en"].parents()} == {
        "docs", "by_shard.signals", "by_source.duplicates", "by_source.overlap"
    }  # fmt: skip
    for name in (
        "decide.fi",
        "rewrite.fi",
        "classes.fi",
        "subsample.fi.kind",
        "ngrams.fi",
        "quality.good",
        "lines.web",
    ):
        steps[name].check()


def test_names_are_unique_and_every_step_is_reached_from_the_goals(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    add = Graph.add

    def counted(self: Graph, name: str, /, *rest: Any, **params: JSON) -> Step:
        names.append(name)
        return add(self, name, *rest, **params)

    monkeypatch.setattr(Graph, "add", counted)
    steps = build(tiny, Path())
    assert sorted(names) == sorted(set(names)) == sorted(steps)
    assert {step.name for step in ordered([steps[name] for name in GOALS])} == set(names)


def test_the_way_of_the_models(steps: dict[str, Step]) -> None:
    starts = {name: dict(steps[name].parents())["start"].name for name in ("base", "cap", "cat", "safe")}
    assert starts == {"base": "init", "cap": "base", "cat": "cap", "safe": "cat"}
    assert dict(steps["release"].parents())["model"].name == "safe"
    assert [name for name, _ in steps["forgetting"].parents()] == [f"scores.{name}" for name in starts]
    assert "reviewed" in dict(steps["safe"].parents())


def test_a_base_from_a_folder_instead_of_one_from_scratch(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    check(recipe)
    steps = build(recipe, tmp_path)
    for step in steps.values():
        step.check()
    assert (steps["base"].fn, steps["tokenizer"].fn) == ("model.load:fetch_base", "tokens.tokenizer:take_tokenizer")
    assert {"init", "mixture.base"}.isdisjoint(steps)
    assert dict(steps["cap"].parents())["start"] is steps["base"]
    assert {step.name for step in ordered([steps[name] for name in GOALS])} == set(steps)

    before = graph_of(recipe, tmp_path)
    (tmp_path / "model" / "model.safetensors").write_text("{ }")
    assert {name for name, about in graph_of(recipe, tmp_path).items() if about != before[name]} == {"base"}


def test_a_base_folder_that_is_not_there(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(DataError) as caught:
        build(recipe, tmp_path)
    assert (caught.value.what, caught.value.at) == ("no file matches `model/*`", str(tmp_path))


def test_a_keep_that_is_no_condition_stops_the_build(tiny: Recipe) -> None:
    rules = {**tiny.curate, "code": replace(tiny.curate["code"], keep="longest_lin < 5")}
    with pytest.raises(RecipeError, match="there is no column `longest_lin`") as caught:
        build(replace(tiny, curate=rules), Path())
    assert caught.value.hint == "did you mean `longest_line`?"


# --- what a change reaches


def test_a_keep_reaches_the_decisions_of_its_table(tiny: Recipe, steps: dict[str, Step]) -> None:
    for table, sources in (("text", TEXTS), ("code", ("code",)), ("instruct", ("instruct",))):
        keep = f"chars >= 7 AND {tiny.curate[table].keep}"
        new = build(replace(tiny, curate={**tiny.curate, table: replace(tiny.curate[table], keep=keep)}), Path())
        decisions = {f"decide.{name}" for name in sources}
        assert changed({n: own(s) for n, s in steps.items()}, {n: own(s) for n, s in new.items()}) == decisions
        for name in decisions:
            assert new[name].params == {**steps[name].params, "keep": keep}


MODELS = {"base", "cap", "cat", "safe"}
REACH: dict[str, tuple[Callable[[Recipe], Recipe], set[str]]] = {
    "nothing": (lambda r: replace(r), set()),
    "the seed": (
        lambda r: replace(r, seed=987),
        {f"rewrite.{name}" for name in (*TEXTS, "code", "instruct")}
        | {"init", *MODELS}
        | {f"answer.{name}" for name in MODELS},
    ),
    "another share held out": (lambda r: with_source(r, "fi", held_out=0.123), {"rewrite.fi"}),
    "nothing held out": (
        lambda r: with_source(r, "fi", held_out=0.0),
        {"rewrite.fi", *MODELS, *(f"answer.{name}" for name in MODELS)},
    ),
    "a mask": (
        lambda r: replace(r, curate={**r.curate, "code": replace(r.curate["code"], mask=())}),
        {"rewrite.code"},
    ),
    "near": (lambda r: replace(r, duplicates=replace(r.duplicates, near=0.987)), {"duplicates"}),
    "a vocabulary": (lambda r: with_scratch(r, vocab=5001), {"tokenizer"}),
    "a width": (lambda r: with_scratch(r, width=64), {"init"}),
    "a budget": (lambda r: with_mixture(r, "cap", tokens=123_456), {"mixture.cap"}),
    "a budget of tuning": (lambda r: with_mixture(r, "kept", tokens=234_567), {"mixture.safe"}),
    "a row of tuning": (
        lambda r: replace(r, tune={"safe": replace(r.tune["safe"], row_tokens=256)}),
        {"mixture.safe", "safe"},
    ),
    "replay": (lambda r: with_mixture(r, "cat", replay=0.123), {"mixture.cat"}),
    "a unit": (lambda r: with_mixture(r, "base", unit="tokens"), {"mixture.base"}),
    "a learning rate": (lambda r: with_stage(r, "cap", peak_lr=0.123), {"cap"}),
    "a batch": (lambda r: with_stage(r, "cat", batch=8192), {"cat"}),
    "a row": (lambda r: with_stage(r, "base", row_tokens=128), {"mixture.base"}),
    "epochs of tuning": (lambda r: replace(r, tune={"safe": replace(r.tune["safe"], epochs=99)}), {"safe"}),
    "reviewers": (lambda r: replace(r, review=replace(r.review, reviewers=99)), {"reviewed"}),  # type: ignore[type-var]
    "suites": (lambda r: replace(r, evals=replace(r.evals, suites=("en", "safety"))), {"items"}),
    "margins": (lambda r: replace(r, evals=replace(r.evals, margins={"en": 0.987, "code": 0.05})), {"forgetting"}),
    "the length of answers": (
        lambda r: replace(r, evals=replace(r.evals, max_new_tokens=123)),
        {f"answer.{name}" for name in MODELS},
    ),
    "a licence": (lambda r: replace(r, release=replace(r.release, license="another")), {"release"}),
    "the released model": (lambda r: replace(r, release=replace(r.release, model="cat")), {"release"}),
    "a source's language": (lambda r: with_source(r, "vi", lang="mul"), {"fetch.vi", "signals.vi"}),
}


@pytest.mark.parametrize("name", REACH)
def test_a_change_reaches_what_it_should_and_no_more(tiny: Recipe, steps: dict[str, Step], name: str) -> None:
    change, reached = REACH[name]
    assert changed({n: own(s) for n, s in steps.items()}, graph_of(change(tiny))) == reached


def test_a_changed_file_reaches_the_fetch_of_its_source(tiny: Recipe, tmp_path: Path) -> None:
    shutil.copy(SAMPLE / "texts" / "fi.jsonl", tmp_path / "fi.jsonl")
    recipe = with_source(tiny, "fi", uri="file:*.jsonl")
    before = graph_of(recipe, tmp_path)
    with (tmp_path / "fi.jsonl").open("a") as file:
        file.write('{"text": "uusi"}\n')
    after = graph_of(recipe, tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"fetch.fi"}


def test_where_a_recipe_lies_is_in_no_step(tiny: Recipe, tmp_path: Path) -> None:
    graphs = []
    for root in (tmp_path / "one", tmp_path / "two" / "deep"):
        root.mkdir(parents=True)
        recipe = with_source(from_folder(tiny, root), "fi", uri="file:texts/**/*.jsonl")
        (root / "texts" / "fi").mkdir(parents=True)
        shutil.copy(SAMPLE / "texts" / "fi.jsonl", root / "texts" / "fi" / "a.jsonl")
        graphs.append(graph_of(recipe, root))
        text = json.dumps(graphs[-1])
        assert str(tmp_path) not in text
        assert str(Path.home()) not in text
        assert '"/' not in text
    assert graphs[0] == graphs[1]
