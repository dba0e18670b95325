"""The map: every step can be called as it is written, and a change in a recipe reaches what it should, no more."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.run import PlanEntry
from aurora_m.core.step import Artifact, Step, ordered
from aurora_m.core.typed import Count
from aurora_m.core.uri import SAMPLE
from aurora_m.evals.sandbox import run as sandbox
from aurora_m.evals.sandbox.run import Wall
from aurora_m.foresight.estimate import shape_at
from aurora_m.graph.build import GOALS, build, data_first
from aurora_m.graph.graph import Graph
from aurora_m.recipe import (
    Anchor,
    Base,
    Extend,
    Merge,
    Perplexity,
    Quality,
    Recipe,
    Register,
    Shape,
    Shards,
    check,
    load,
)

TINY = Path(__file__).parents[2] / "recipes" / "tiny.toml"
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
    return [step.fn, step.version, to_json(step.params), [[name, parent.name] for name, parent in step.parents()]]


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
    files = {"config.json": '{"eos_token_id": 0}', "tokenizer.json": '{"model": {"vocab": {"<e>": 0}}}'}
    for name, text in {**files, "model.safetensors": "{}"}.items():
        (root / "model" / name).write_text(text)
    return replace(recipe, base=Base(model="file:model"), stage=recipe.stage[1:])


# --- the graph


def test_a_balanced_mixture_names_its_sources(tiny: Recipe) -> None:
    asked: dict[str, Any] = {"weights": {}, "sources": ("vi", "hi"), "alpha": 0.3, "packing": "best_fit"}
    steps = build(with_mixture(tiny, "cap", **asked), Path())
    step = steps["mixture.cap"]
    assert {name for name, _ in step.parents()} == {f"shards.{name}" for name in ("en", "code", "hi", "vi")}
    assert step.params["shares"] == {"en": 0.2, "code": 0.2}
    assert (step.params["sources"], step.params["alpha"], step.params["packing"]) == (("vi", "hi"), 0.3, "best_fit")
    assert {name for name, _ in steps["cap"].parents()} >= {f"shards.{name}" for name in ("en", "code", "hi", "vi")}
    step.check()


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
    curate = {**tiny.curate, "web": replace(tiny.curate["text"], keep=keep, boilerplate_pages=5)}
    source = {**tiny.source, "fi": replace(tiny.source["fi"], curate="web")}
    models = {"quality": {"good": Quality(("fi",), ("en",))}, "register": {"kind": Register(("fi",), "kind")}}
    recipe = replace(tiny, curate=curate, source=source, perplexity={"fi": Perplexity(("fi",))}, **models)
    steps = build(recipe, Path())
    made = {name for name, _ in steps["decide.fi"].parents()}
    names = ("signals", "classes", "subsample.kind", "perplexity", "toxic", "duplicates", "overlap", "lines")
    assert made == {"docs", *(f"columns.{name}" for name in names)}
    assert "lines" in dict(steps["rewrite.fi"].parents())
    assert {name for name, _ in steps["decide.en"].parents()} == {
        "docs", "columns.signals", "columns.duplicates", "columns.overlap"
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

    def counted(self: Graph, step: Step) -> Step:
        names.append(step.name)
        return add(self, step)

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


def test_a_base_that_does_not_declare_its_end_is_refused_when_planning(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    before = graph_of(recipe, tmp_path)
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="the base does not declare which token ends a document") as caught:
        build(recipe, tmp_path)
    assert (caught.value.at, caught.value.exit_code) == ("base.end_token", 2)
    named = replace(recipe, base=Base(model="file:model", end_token="<e>"))
    assert build(named, tmp_path)["base"].params["end_token"] == "<e>"
    (tmp_path / "model" / "config.json").write_text('{"eos_token_id": 0}')
    assert graph_of(recipe, tmp_path) == before
    assert "end_token" not in build(recipe, tmp_path)["base"].params


def test_a_base_folder_that_is_not_there(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    shutil.rmtree(tmp_path / "model")
    steps = build(recipe, tmp_path)
    assert {name for name, step in steps.items() if step.missing_input} == {"base"}
    missing = steps["base"].missing_input
    assert missing
    assert (missing.what, missing.at) == ("no file matches `model/*`", str(tmp_path))
    assert steps["base"].params["pin"] == ""


def test_files_that_are_not_there_are_missing_to_the_steps_that_read_them(tiny: Recipe, tmp_path: Path) -> None:
    assert tiny.redteam
    assert tiny.review
    recipe = with_source(tiny, "fi", uri="file:fi/*.jsonl")
    recipe = replace(recipe, redteam=replace(tiny.redteam, rows="file:safety.jsonl"))
    recipe = replace(recipe, evals=replace(tiny.evals, suites=("en", "file:mine.jsonl")))
    steps = build(recipe, tmp_path)
    assert {name for name, step in steps.items() if step.missing_input} == {"fetch.fi", "reviewed", "items"}
    item = {"id": "1", "task": "t", "kind": "choice", "lang": "fi", "prompt": "a", "choices": ["b", "c"], "answer": 0}
    for name in ("fi/a.jsonl", "safety.jsonl", "mine.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(item) if name == "mine.jsonl" else "")
    assert not any(step.missing_input for step in build(recipe, tmp_path).values())
    with pytest.raises(DataError, match="there is no sample"):
        build(with_source(tiny, "fi", uri="sample:texts/xx"), tmp_path)


def test_the_shape_of_a_base_is_checked_where_it_is_fetched(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    shape = Shape("llama", 2, 64, 4, 2, Count(512), Count(99))
    known = replace(recipe, base=replace(recipe.base, shape=shape))
    check(known)
    before, after = graph_of(recipe, tmp_path), graph_of(known, tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"base", *PAPERS}
    step = build(known, tmp_path)["base"]
    step.check()
    assert step.params["shape"] == {**asdict(shape)}


def test_an_anchor_reads_a_mixture_of_its_own(tiny: Recipe, steps: dict[str, Step]) -> None:
    anchor = Anchor(kl=0.1, mixture="base", batch_tokens=Count(1024))
    held = build(with_stage(tiny, "cap", anchor=anchor), Path())
    reached = changed({n: own(s) for n, s in steps.items()}, {n: own(s) for n, s in held.items()})
    assert reached == {"cap", "mixture.cap.anchor"}
    inputs = dict(held["cap"].parents())
    assert inputs["anchor_mixture"] is held["mixture.cap.anchor"]
    assert {name for name in inputs if name.startswith("anchor_shards.")} == {"anchor_shards.en", "anchor_shards.code"}
    held["cap"].check()
    tune = replace(tiny.tune["safe"], replay=0.0, mixture="", anchor=anchor)
    held = build(replace(tiny, tune={"safe": tune}), Path())
    assert {"anchor_mixture", "anchor_shards.en"} <= {name for name, _ in held["safe"].parents()}
    assert "mixture.safe" not in held
    held["safe"].check()


def test_a_state_is_kept_only_by_the_step_whose_state_is_reused(tiny: Recipe, steps: dict[str, Step]) -> None:
    def keeps(made: dict[str, Step]) -> set[str]:
        return {name for name in tiny.models() if made[name].params["keep_optimizer"]}

    assert keeps(steps) == set()
    reusing = with_stage(tiny, "cat", optimizer_state="reuse")
    check(reusing)
    assert keeps(build(reusing, Path())) == {"cap"}
    safe = replace(tiny, tune={"safe": replace(tiny.tune["safe"], optimizer_state="reuse")})
    check(safe)
    assert keeps(build(safe, Path())) == {"cat"}


@pytest.mark.parametrize("action", ["warn", "pause", "raise"])
def test_a_budget_reads_the_base_and_may_read_more_replay(tiny: Recipe, steps: dict[str, Step], action: str) -> None:
    limited = with_stage(tiny, "cat", max_old_rise=0.05, over_budget=action)
    check(limited)
    made = build(limited, Path())
    made["cat"].check()
    assert made["cat"].inputs["base"] is made["base"]
    assert made["cat"].params["old_langs"] == ("en", "code")
    assert made["cap"].params["old_langs"] == ()
    more = {"mixture.cat.more"} if action == "raise" else set()
    assert set(made) - set(steps) == more
    for name in more:
        assert made["cat"].inputs["more_mixture"] is made[name]
        about = made[name].params
        assert (about["tokens"], about["shares"]) == (round(56_000 * (0.4 + 0.3)), {"en": 0.5, "code": 0.5})
        assert about["fim"] == {"code": 0.3}


def test_a_keep_that_is_no_condition_stops_the_build(tiny: Recipe) -> None:
    rules = {**tiny.curate, "code": replace(tiny.curate["code"], keep="longest_lin < 5")}
    with pytest.raises(RecipeError, match="there is no column `longest_lin`") as caught:
        build(replace(tiny, curate=rules), Path())
    assert caught.value.hint == "did you mean `longest_line`?"


def with_merges(recipe: Recipe) -> Recipe:
    """The same recipe with a soup, and a sweep of what its stages changed."""
    back = Merge({"cap": 0.5, "cat": 1.0}, "ties", "base", 0.3, (0.25, 1.0))
    return replace(recipe, merge={"soup": Merge({"cap": 0.5, "cat": 0.5}), "back": back})


def test_merged_models_are_measured_as_the_others(tiny: Recipe, steps: dict[str, Step]) -> None:
    recipe = with_merges(tiny)
    check(recipe)
    made = build(recipe, Path())
    merged = ("soup", "back_25", "back_100")
    reached = changed({n: own(s) for n, s in steps.items()}, {n: own(s) for n, s in made.items()})
    assert reached == {"forgetting"} | {f"{of}{name}" for name in merged for of in ("", "answer.", "score.")}
    for name in reached:
        made[name].check()
    chain = [name for name, _ in made["forgetting"].parents()]
    assert chain == [f"scores.{name}" for name in ("base", "cap", "cat", *merged, "safe")]
    for paper in ("card", "report"):
        assert {f"models.{name}" for name in merged} <= {name for name, _ in made[paper].parents()}
    assert {name: step.name for name, step in made["soup"].parents()} == {"models.cap": "cap", "models.cat": "cat"}
    assert dict(made["soup"].params) == {
        "weights": {"cap": 0.5, "cat": 0.5}, "method": "linear", "origin": "", "scale": 1.0
    }  # fmt: skip
    assert {name for name, _ in made["back_25"].parents()} == {"models.base", "models.cap", "models.cat"}
    assert dict(made["back_25"].params) == {
        "weights": {"cap": 0.5, "cat": 1.0}, "method": "ties", "origin": "base", "scale": 0.25, "density": 0.3
    }  # fmt: skip


def test_a_merged_model_may_be_tuned_and_released(tiny: Recipe) -> None:
    recipe = with_merges(tiny)
    recipe = replace(recipe, tune={"safe": replace(tiny.tune["safe"], start="back_25")})
    recipe = replace(recipe, release=replace(tiny.release, model="soup"))
    check(recipe)
    made = build(recipe, Path())
    assert made["safe"].inputs["start"] is made["back_25"]
    assert made["release"].inputs["model"] is made["soup"]
    rows = {name: PlanEntry(step, "run", "") for name, step in made.items()}
    assert shape_at(made["safe"], rows, Path()) == shape_at(made["base"], rows, Path())
    taken = replace(recipe, merge={**recipe.merge, "items": Merge({"cap": 1.0})})
    with pytest.raises(RecipeError, match="two steps are named `items`") as caught:
        build(taken, Path())
    assert caught.value.hint == "choose another name for the stage, merge or tuning"


def test_training_steps_are_named_by_the_model_they_start_from_not_by_its_name(tiny: Recipe) -> None:
    made = []
    for name in ("soup", "broth"):
        recipe = replace(tiny, merge={name: Merge({"cap": 0.5, "cat": 0.5})})
        recipe = replace(recipe, tune={"safe": replace(tiny.tune["safe"], start=name)})
        check(recipe)
        made.append(build(recipe, Path())["safe"])
    digests = {name: "of the same model" for name, _ in made[0].parents()}
    assert made[0].inputs["start"] is not made[1].inputs["start"]
    assert made[0].key(digests) == made[1].key(digests)


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
    "a batch": (lambda r: with_stage(r, "cat", batch_tokens=8192), {"cat"}),
    "a row": (lambda r: with_stage(r, "base", row_tokens=128), {"mixture.base", "base"}),
    "epochs of tuning": (lambda r: replace(r, tune={"safe": replace(r.tune["safe"], epochs=99)}), {"safe"}),
    "reviewers": (lambda r: replace(r, review=replace(r.review, reviewers=99)), {"reviewed"}),  # type: ignore[type-var]
    "suites": (lambda r: replace(r, evals=replace(r.evals, suites=("en", "code"))), {"items"}),
    "margins": (lambda r: replace(r, evals=replace(r.evals, margins={"en": 0.987, "code": 0.05})), {"forgetting"}),
    "the length of answers": (
        lambda r: replace(r, evals=replace(r.evals, max_new_tokens=123)),
        {f"answer.{name}" for name in MODELS},
    ),
    "a licence": (lambda r: replace(r, release=replace(r.release, license="another")), {"release"}),
    "the released model": (lambda r: replace(r, release=replace(r.release, model="cat")), {"release"}),
    "a source's language": (lambda r: with_source(r, "vi", lang="mul"), {"fetch.vi", "signals.vi", "fertility"}),
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


# --- tokens and bases


def with_new_tokens(recipe: Recipe, init: str = "subtokens") -> Recipe:
    """The same recipe with tokens of Finnish added to its base."""
    extend = Extend(Count(100), ("fi",), init)  # type: ignore[arg-type]
    return replace(recipe, base=replace(recipe.base, extend=extend))


def test_new_tokens_stand_between_the_base_and_what_trains(tiny: Recipe, tmp_path: Path) -> None:
    plain = from_folder(tiny, tmp_path)
    recipe = with_new_tokens(plain)
    check(recipe)
    steps = build(recipe, tmp_path)
    for step in steps.values():
        step.check()
    parents = {name: dict(step.parents()) for name, step in steps.items()}
    assert {name: parent.name for name, parent in parents["vocabulary"].items()} == {
        "tokenizer": "tokenizer",
        "docs.fi": "rewrite.fi",
    }
    assert (parents["extend"]["model"].name, parents["extend"]["tokenizer"].name) == ("base", "vocabulary")
    assert parents["cap"]["start"].name == "extend"
    for name in ("cap", "cat", "safe", *(name for name in steps if name.startswith("shards."))):
        assert parents[name]["tokenizer"].name == "vocabulary"
    assert parents["answer.base"]["model"].name == "base"  # the base as it came is what models are compared with
    assert parents["report"]["models.base"].name == "base"
    compared = {name: step.name for name, step in parents["fertility"].items() if name.startswith("tokenizers")}
    assert compared == {"tokenizers.base": "tokenizer", "tokenizers.extended": "vocabulary"}
    assert {step.name for step in ordered([steps[name] for name in GOALS])} == set(steps)
    assert changed(graph_of(recipe, tmp_path), graph_of(with_new_tokens(plain, "mean"), tmp_path)) == {"extend"}


def test_a_budget_compares_with_the_base_before_it_had_new_tokens(tiny: Recipe, tmp_path: Path) -> None:
    plain = with_stage(from_folder(tiny, tmp_path), "cap", max_old_rise=0.02)
    for recipe, more in ((plain, set()), (with_new_tokens(plain), {"original", "original_tokenizer"})):
        parents = {name: dict(step.parents()) for name, step in build(recipe, tmp_path).items()}
        assert {name for name in parents["cap"] if name.startswith("original")} == more
        assert not any(name.startswith("original") for name in parents["cat"])
    assert (parents["cap"]["original"].name, parents["cap"]["original_tokenizer"].name) == ("base", "tokenizer")
    assert parents["cap"]["base"].name == "extend"  # from which the divergence is measured


def test_what_is_merged_has_the_new_tokens(tiny: Recipe, tmp_path: Path) -> None:
    recipe = with_merges(with_new_tokens(from_folder(tiny, tmp_path)))
    check(recipe)
    merged = dict(build(recipe, tmp_path)["back_25"].parents())
    assert {name: step.name for name, step in merged.items()} == {
        "models.base": "extend", "models.cap": "cap", "models.cat": "cat"
    }  # fmt: skip


def test_a_source_that_the_base_writes_is_curated_as_others_are(tiny: Recipe, tmp_path: Path) -> None:
    plain = from_folder(tiny, tmp_path)
    recipe = with_new_tokens(with_source(plain, "en", uri="self:base", documents=Count(90), held_out=0.0))
    recipe = replace(recipe, evals=replace(recipe.evals, old=("code",), margins={"code": 0.05}))
    check(recipe)
    steps = build(recipe, tmp_path)
    step = steps["fetch.en"]
    step.check()
    assert (step.fn, step.inputs) == ("model.write:write", {"model": steps["base"]})  # the base as it came
    assert dict(step.params) == {"source": "en", "lang": "en", "documents": 90, "seed": tiny.seed}
    assert dict(steps["decide.en"].parents())["docs"] is dict(steps["rewrite.en"].parents())["docs"] is step
    assert dict(steps["duplicates"].parents())["docs.en"] is step
    assert dict(steps["mixture.cap"].parents())["shards.en"] is steps["shards.en"]
    assert {step.name for step in ordered([steps[name] for name in GOALS])} == set(steps)
    more = with_source(recipe, "en", documents=Count(91))
    assert changed(graph_of(recipe, tmp_path), graph_of(more, tmp_path)) == {"fetch.en"}
    shutil.rmtree(tmp_path / "model")
    assert {name for name, step in build(recipe, tmp_path).items() if step.missing_input} == {"base"}


def test_tokens_that_come_ready_are_imported_and_not_curated(tiny: Recipe, tmp_path: Path) -> None:
    for suffix in (".bin", ".idx"):
        (tmp_path / f"pre{suffix}").write_bytes(b"")
    shards = {"pre": Shards("megatron:pre", "fi", "CC0-1.0")}
    recipe = replace(with_mixture(from_folder(tiny, tmp_path), "cap", weights={"pre": 0.5, "fi": 0.5}), shards=shards)
    check(recipe)
    steps = build(recipe, tmp_path)
    steps["shards.pre"].check()
    assert steps["shards.pre"].fn == "tokens.megatron:import_shards"
    assert dict(steps["cap"].parents())["shards.pre"] is steps["shards.pre"]
    assert [name for name in steps if name.endswith(".pre")] == ["shards.pre"]
    before = graph_of(recipe, tmp_path)
    (tmp_path / "pre.bin").write_bytes(b"another")
    assert {name for name, about in graph_of(recipe, tmp_path).items() if about != before[name]} == {"shards.pre"}
    (tmp_path / "pre.bin").unlink()
    with pytest.raises(DataError, match="an index has no token file"):
        build(recipe, tmp_path)


def test_a_base_of_one_file(tiny: Recipe, tmp_path: Path) -> None:
    recipe = replace(from_folder(tiny, tmp_path), base=Base(model="file:model.gguf"))
    check(recipe)
    assert {name for name, step in build(recipe, tmp_path).items() if step.missing_input} == {"base"}
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    before = graph_of(recipe, tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUG")
    assert {name for name, about in graph_of(recipe, tmp_path).items() if about != before[name]} == {"base"}


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"])
def test_rows_longer_than_the_base_can_read_stop_the_build(tiny: Recipe, tmp_path: Path, key: str) -> None:
    recipe = from_folder(tiny, tmp_path)
    (tmp_path / "model/config.json").write_text(json.dumps({"eos_token_id": 0, key: 512}))
    build(recipe, tmp_path)  # rows of 256 to train on, of 512 to tune on
    (tmp_path / "model/config.json").write_text(json.dumps({"eos_token_id": 0, key: 511}))
    with pytest.raises(RecipeError) as caught:
        build(recipe, tmp_path)
    assert caught.value.what == "rows of 512 tokens do not fit the base's 511 positions"
    assert caught.value.at == "tune.safe.row_tokens"
    (tmp_path / "model/config.json").write_text(json.dumps({"eos_token_id": 0, "text_config": {key: 511}}))
    with pytest.raises(RecipeError, match="do not fit the base's 511 positions"):
        build(recipe, tmp_path)
    (tmp_path / "model/config.json").write_text(json.dumps({"eos_token_id": 0, key: 255}))
    with pytest.raises(RecipeError, match="rows of 256 tokens do not fit the base's 255 positions") as caught:
        build(recipe, tmp_path)
    assert caught.value.at == "stage[0] `cap`.row_tokens"


def test_new_tokens_are_in_what_training_is_estimated_to_cost(tiny: Recipe, tmp_path: Path) -> None:
    recipe = with_new_tokens(from_folder(tiny, tmp_path))
    said = Shape("llama", 2, 64, 4, 2, Count(512), Count(1000))
    steps = build(replace(recipe, base=replace(recipe.base, shape=said)), tmp_path)
    rows = {name: PlanEntry(step, "run", "") for name, step in steps.items()}
    shapes = [shape_at(steps[name], rows, tmp_path) for name in ("base", "extend", "cap")]
    assert [shape.vocab for shape in shapes if not isinstance(shape, str)] == [1000, 1100, 1100]


def test_scores_of_programs_are_keyed_by_the_wall(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def params(suites: tuple[str, ...]) -> object:
        changed = replace(tiny, evals=replace(tiny.evals, suites=suites))
        return dict(build(changed, Path())["score.base"].params)

    for wall in (Wall("bubblewrap", "3.11"), Wall("bubblewrap", "3.12"), None):
        monkeypatch.setattr(sandbox, "wall", lambda wall=wall: wall)
        assert params(("en", "code")) == ({"wall": wall.name, "python": wall.python} if wall else {})
        assert params(("en",)) == {}


def test_answers_as_long_as_the_base_can_read_stop_the_build(tiny: Recipe, tmp_path: Path) -> None:
    recipe = from_folder(tiny, tmp_path)
    (tmp_path / "model/config.json").write_text(json.dumps({"eos_token_id": 0, "max_position_embeddings": 512}))
    recipe = replace(recipe, evals=replace(recipe.evals, max_new_tokens=512))
    with pytest.raises(RecipeError) as caught:
        build(recipe, tmp_path)
    assert str(caught.value) == (
        "error: 512 new tokens leave no room for a prompt in the base's 512 positions\n"
        "  at: evals.max_new_tokens\n\n"
        "hint: write fewer, or choose another base"
    )
    build(replace(recipe, evals=replace(recipe.evals, max_new_tokens=511)), tmp_path)


@pytest.mark.parametrize("config", [None, '{"eos_token_id": 0, "max_position_embeddings": null, "n_positions": -1}'])
def test_a_base_that_says_no_length_is_planned(tiny: Recipe, tmp_path: Path, config: str | None) -> None:
    recipe = from_folder(tiny, tmp_path)
    (tmp_path / "model/config.json").unlink(missing_ok=True)
    if config is not None:
        (tmp_path / "model/config.json").write_text(config)
    build(recipe, tmp_path)


def test_a_base_that_was_fetched_is_looked_at_before_anything_is_made_of_it(tiny: Recipe, tmp_path: Path) -> None:
    recipe = replace(from_folder(tiny, tmp_path), base=Base(model="hf:a/b", revision="0" * 40))
    base = build(recipe, tmp_path)["base"]
    for positions, right in ((512, True), (511, False)):
        (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": positions}))
        if right:
            base.check_made(Artifact(tmp_path, "", {}))
            continue
        with pytest.raises(RecipeError, match="rows of 512 tokens do not fit the base's 511 positions"):
            base.check_made(Artifact(tmp_path, "", {}))


def test_no_model_trains_before_all_mixtures_are_made(steps: dict[str, Step]) -> None:
    names = [step.name for step in ordered(data_first([steps["report"]]))]
    last = max(number for number, name in enumerate(names) if name.startswith("mixture."))
    assert {"mixture.cat", "mixture.safe"} <= {*names}
    assert [name for name in names[:last] if "training" in steps[name].params] == []
    assert sorted(names) == sorted(step.name for step in ordered([steps["report"]]))
    assert data_first([steps["fetch.fi"]]) == [steps["fetch.fi"]]


@pytest.mark.parametrize("scratch", [False, True])
def test_a_base_that_comes_from_elsewhere_is_measured_before_anything_trains(
    tiny: Recipe, tmp_path: Path, scratch: bool
) -> None:
    steps = build(tiny if scratch else from_folder(tiny, tmp_path), tmp_path)
    names = [step.name for step in ordered(data_first([steps["report"]]))]
    trained = [number for number, name in enumerate(names) if "training" in steps[name].params]
    mixtures = [number for number, name in enumerate(names) if name.startswith("mixture.")]
    assert len(trained) > 1
    assert (names.index("score.base") < trained[0]) == (not scratch)
    assert max(mixtures) < min(trained[0], names.index("answer.base"))
    assert names.index("answer.cap") > trained[0]
