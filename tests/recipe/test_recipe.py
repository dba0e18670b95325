"""Recipes: what is written comes back, and what is wrong is named with the place and the way out."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.core.address import whole
from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.typed import Count, plain
from aurora_m.recipe import (
    NAME,
    Anchor,
    Base,
    Curate,
    Evals,
    Extend,
    Lora,
    Merge,
    Mixture,
    Recipe,
    Redteam,
    Release,
    Review,
    Scratch,
    Shape,
    Shards,
    Source,
    Stage,
    Tune,
    check,
    dumps,
    load,
    loads,
)  # fmt: skip

FOLDER = Path(__file__).parents[2] / "aurora_m/recipes"
SMALL = """
name = "small"
seed = 17

[base.scratch]
arch = "llama"
layers = 2
width = 64
heads = 4
kv_heads = 2
positions = 512
vocab = "4K"
tokenizer_sources = ["en", "fi"]

[source]
en = { uri = "sample:texts/en", lang = "en", license = "CC0-1.0", curate = "text", held_out = 0.15 }
fi = { uri = "sample:texts/fi", lang = "fi", license = "CC0-1.0", curate = "text" }

[curate.text]
keep = "chars >= 200"
mask = ["email"]

[mixture.old]
tokens = "450K"
weights = { en = 1 }

[mixture.cap]
tokens = 300_000
weights = { fi = 1.0 }
unit = "tokens"
replay = 0.25
replay_weights = { en = 1.0 }
fim = { en = 0.3 }

[[stage]]
name = "base"
start = "scratch"
mixture = "old"
row_tokens = 256
batch_tokens = 1024
peak_lr = 3e-3
end_lr = 3e-4
warmup_tokens = "10K"

[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 256
batch_tokens = 1024
peak_lr = 1e-3
end_lr = 0
warmup_tokens = 0
schedule = "wsd"

[redteam]
rows = "sample:safety/*"

[review]
decisions = "sample:reviews/decisions"

[tune.safe]
start = "cap"
epochs = 3
row_tokens = 512
batch_tokens = 1024
peak_lr = 1e-3
end_lr = 1e-4
warmup_tokens = "4K"

[evals]
suites = ["en", "safety"]
old = ["en"]
margins = { en = 0.05 }

[release]
model = "safe"
license = "CC0-1.0"
"""
SIZES: Any = {"row_tokens": Count(256), "batch_tokens": Count(1024)}
BUILT = Recipe(
    "small",
    17,
    Base(scratch=Scratch("llama", 2, 64, 4, 2, Count(512), Count(4000), ("en", "fi"))),
    {
        "en": Source("sample:texts/en", "en", "CC0-1.0", "text", held_out=0.15),
        "fi": Source("sample:texts/fi", "fi", "CC0-1.0", "text"),
    },
    {"text": Curate("chars >= 200", ("email",))},
    {
        "old": Mixture(Count(450_000), {"en": 1.0}),
        "cap": Mixture(Count(300_000), {"fi": 1.0}, "tokens", 0.25, {"en": 1.0}, fim={"en": 0.3}),
    },
    (
        Stage(
            name="base", start="scratch", mixture="old", **SIZES, peak_lr=3e-3, end_lr=3e-4, warmup_tokens=Count(10_000)
        ),
        Stage(
            name="cap",
            start="base",
            mixture="cap",
            **SIZES,
            peak_lr=1e-3,
            end_lr=0.0,
            warmup_tokens=Count(0),
            schedule="wsd",
        ),
    ),
    Evals(("en", "safety"), ("en",), {"en": 0.05}),
    Release("safe", "CC0-1.0"),
    redteam=Redteam("sample:safety/*"),
    review=Review("sample:reviews/decisions"),
    tune={
        "safe": Tune(
            start="cap",
            epochs=3,
            row_tokens=Count(512),
            batch_tokens=Count(1024),
            peak_lr=1e-3,
            end_lr=1e-4,
            warmup_tokens=Count(4000),
        )
    },
)
FROM_HUB = SMALL[: SMALL.index("[base.scratch]")] + (
    '[base]\nmodel = "hf:owner/name"\nrevision = "' + "0a" * 20 + '"\n\n' + SMALL[SMALL.index("[source]") :]
).replace(SMALL[SMALL.index("[[stage]]") : SMALL.rindex("[[stage]]")], "")


def test_python_builds_the_same() -> None:
    check(BUILT)
    assert loads(SMALL) == BUILT
    assert loads(dumps(BUILT)) == BUILT
    assert dumps(loads(dumps(BUILT))) == dumps(BUILT)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_ship(path: Path) -> None:
    recipe = load(path)
    assert loads(dumps(recipe)) == recipe
    assert recipe.models() in (["base", "cap", "cat", *recipe.tune], ["base", "cap"])
    trainings: list[Stage | Tune] = [*recipe.stage, *recipe.tune.values()]
    for training in trainings:
        shares = recipe.shares(training)
        assert not shares or sum(shares.values()) == pytest.approx(1)


def test_shares_and_models() -> None:
    assert BUILT.models() == ["base", "cap", "safe"]
    assert BUILT.shares(BUILT.stage[0]) == {"en": 1.0}
    assert BUILT.shares(BUILT.stage[1]) == {"fi": 0.75, "en": 0.25}
    assert BUILT.shares(BUILT.tune["safe"]) == {}
    both = Mixture(Count(1), {"a": 0.5, "b": 0.5}, replay=0.2, replay_weights={"a": 0.5, "c": 0.5, "d": 0.0})
    assert both.shares() == pytest.approx({"a": 0.5, "b": 0.4, "c": 0.1})
    assert replace(both, replay=0.0).shares() == {"a": 0.5, "b": 0.5}
    balanced = Mixture(Count(1), replay=0.25, replay_weights={"c": 1.0}, sources=("b", "a"))
    assert balanced.shares() == {"c": 0.25}
    assert balanced.reads() == ["c", "b", "a"]
    hub = loads(FROM_HUB)
    assert hub.models() == ["base", "cap", "safe"]
    assert loads(dumps(hub)) == hub


def test_defaults_are_not_written() -> None:
    text = dumps(BUILT)
    assert "450000" in text
    assert not {"clip", "beta2", "optimizer", "max_epochs", "reviewers", "duplicates", "revision"} & set(text.split())


@st.composite
def variations(draw: st.DrawFn) -> Recipe:
    """The small recipe with values changed that are right by themselves."""
    share = draw(st.floats(0, 0.99))
    fi = draw(st.floats(0, 1))
    peak = draw(st.floats(1e-6, 1.0))
    rows = draw(st.integers(1, 64))
    cap = Mixture(
        Count(draw(st.integers(64 * 256, 10**13))),
        {"fi": fi, "en": 1 - fi},
        draw(st.sampled_from(["bytes", "documents", "tokens"])),
        share,
        {"en": 1.0},
        draw(st.floats(0.1, 100)),
    )
    stage = replace(
        BUILT.stage[1],
        batch_tokens=Count(256 * rows),
        peak_lr=peak,
        end_lr=peak * draw(st.floats(0, 1)),
        schedule=draw(st.sampled_from(["cosine", "wsd", "constant"])),
        ema=draw(st.floats(0, 0.999)),
        guard=draw(st.sampled_from(["stop", "skip", "rewind"])),
        eval_points=draw(st.integers(1, 50)),
        decay_share=draw(st.floats(0, 1)),
        optimizer=draw(st.sampled_from(["adamw", "muon"])),
    )
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    name = st.from_regex(NAME, fullmatch=True)
    about: dict[str, Any] = {
        "name": draw(name),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "release": Release("cap", draw(text)),
    }
    tuned: dict[str, Any] = {"tune": {}, "redteam": None, "review": None} if draw(st.booleans()) else {}
    source = {**BUILT.source, draw(name): Source("file:" + draw(text), "hi", draw(text), "text")}
    changed: dict[str, Any] = {"mixture": {**BUILT.mixture, "cap": cap}, "stage": (BUILT.stage[0], stage), **tuned}
    return replace(BUILT, source=source, **about, **changed)


@given(variations())
@settings(max_examples=60)
def test_what_is_written_comes_back(recipe: Recipe) -> None:
    check(recipe)
    assert loads(dumps(recipe)) == recipe


LETTERS = "use up to 100 letters, digits, `-`, `_` and `.`"
WRONG: dict[str, tuple[str, str, str, str, str]] = {  # replace this, by that: what, at, hint
    "unknown key": (
        "batch_tokens = 1024\npeak_lr = 3e-3", "batch_tokenss = 1024\npeak_lr = 3e-3",
        "unknown key `batch_tokenss`", "stage[0]", "did you mean `batch_tokens`?"),
    "unknown table": (
        "[release]", "[rellease]", "unknown key `rellease`", "the top of the recipe", "did you mean `release`?"),
    "a boolean for an integer": (
        "layers = 2", "layers = true",
        "`true` is a boolean, not an integer", "base.scratch.layers", "write an integer"),
    "a string for a number": (
        "peak_lr = 3e-3", 'peak_lr = "3e-3"', "`3e-3` is a string, not a number", "stage[0].peak_lr", "write a number"),
    "a number for a string": (
        'name = "small"', "name = 7", "`7` is an integer, not a string", "name", "write a string"),
    "a missing key": (
        'mixture = "old"\n', "", "`mixture` is missing", "stage[0]", "add `mixture` (a string)"),
    "a missing table": (
        '[release]\nmodel = "safe"\nlicense = "CC0-1.0"', "",
        "`release` is missing", "the top of the recipe", "add `release` (a table)"),
    "a count in words": (
        'tokens = "450K"', 'tokens = "58 billion"',
        "`58 billion` is not a count: write 377B, 4.2M, 20K or a plain integer", "mixture.old.tokens",
        'counts are integers or strings such as "377B"'),
    "a wrong choice": (
        'schedule = "wsd"', 'schedule = "cosin"', "`cosin` is not a choice here", "stage[1].schedule",
        "did you mean `cosine`?"),
    "an unknown optimizer": (
        "epochs = 3", 'epochs = 3\noptimizer = "adam"', "`adam` is not a choice here", "tune.safe.optimizer",
        "did you mean `adamw`?"),
    "no number": (
        "warmup_tokens = 0", "warmup_tokens = 0\nclip = nan", "`nan` is not finite", "stage[1].clip", "write a number"),
    "unknown source": (
        "weights = { fi = 1.0 }", "weights = { fin = 1.0 }", "there is no source `fin`", "mixture.cap.weights",
        "did you mean `fi`?"),
    "unknown source to fill in": (
        "fim = { en = 0.3 }", "fim = { code = 0.3 }", "there is no source `code`", "mixture.cap.fim",
        "there are `en`, `fi`"),
    "unknown language": (
        'lang = "fi"', 'lang = "xx"', "there is no language `xx`", "source.fi.lang", "use its ISO 639-1 code"),
    "unknown curate table": (
        'curate = "text", held_out', 'curate = "test", held_out', "there is no curate table `test`",
        "source.en.curate", "did you mean `text`?"),
    "everything held out": (
        "held_out = 0.15", "held_out = 1.0", "`1` is not a share", "source.en.held_out", "write a number from 0 to 1"),
    "weights that do not add up": (
        "weights = { en = 1 }", "weights = { en = 0.6, fi = 0.3 }", "the weights add up to 0.9, not to 1",
        "mixture.old.weights", "change the weights so that they add up to 1"),
    "neither weights nor sources": (
        "weights = { en = 1 }\n", "", "a mixture needs either `weights` or `sources`", "mixture.old",
        "declare shares, or name sources to be balanced"),
    "weights and sources": (
        "weights = { en = 1 }", 'weights = { en = 1 }\nsources = ["en"]',
        "a mixture needs either `weights` or `sources`", "mixture.old",
        "declare shares, or name sources to be balanced"),
    "unknown source to balance": (
        "weights = { en = 1 }", 'sources = ["eng"]', "there is no source `eng`", "mixture.old.sources",
        "did you mean `en`?"),
    "a source balanced twice": (
        "weights = { en = 1 }", 'sources = ["en", "en"]', "`en` is named twice", "mixture.old.sources",
        "name it once"),
    "a source balanced and replayed": (
        "weights = { fi = 1.0 }", 'sources = ["fi", "en"]', "`en` is also replayed", "mixture.cap.sources",
        "name it in one of the two, or write `weights`"),
    "a power above 1": (
        "weights = { en = 1 }", 'sources = ["en"]\nalpha = 1.5', "`1.5` is not a share", "mixture.old.alpha",
        "write a number from 0 to 1"),
    "a power of nothing": (
        "weights = { en = 1 }", "weights = { en = 1 }\nalpha = 0.3", "nothing is balanced", "mixture.old.alpha",
        "write it with `sources`"),
    "an unknown packing": (
        "weights = { en = 1 }", 'weights = { en = 1 }\npacking = "best-fit"', "`best-fit` is not a choice here",
        "mixture.old.packing", "did you mean `best_fit`?"),
    "replay without weights": (
        "replay_weights = { en = 1.0 }", "", "the weights add up to 0, not to 1", "mixture.cap.replay_weights",
        "change the weights so that they add up to 1"),
    "a share below 0": (
        "weights = { fi = 1.0 }", "weights = { fi = 1.5, en = -0.5 }", "`1.5` is not a share",
        "mixture.cap.weights.fi", "write a number from 0 to 1"),
    "no budget": (
        'tokens = "450K"', "tokens = 0", "a mixture needs a positive budget", "mixture.old",
        "set `tokens` and `max_epochs` above 0"),
    "start unknown": (
        'start = "base"', 'start = "bass"', "there is no model made before it `bass`", "stage[1] `cap`.start",
        "did you mean `base`?"),
    "a stage twice": (
        'name = "cap"\nstart', 'name = "base"\nstart', "`base` is made twice", "stage[1] `base`",
        "give every stage its own name"),
    "a tuning named as a stage": (
        "[tune.safe]", "[tune.cap]", "`cap` is made twice", "tune.cap", "give every model its own name"),
    "two starts from scratch": (
        'start = "base"', 'start = "scratch"', "a base from scratch is trained by the first stage", "stage[1] `cap`",
        'name it "base" and write start = "scratch"; no other stage starts so'),
    "mixture unknown": (
        'mixture = "old"', 'mixture = "odd"', "there is no mixture `odd`", "stage[0] `base`.mixture",
        "did you mean `old`?"),
    "a batch that is no rows": (
        "batch_tokens = 1024\npeak_lr = 3e-3", "batch_tokens = 1000\npeak_lr = 3e-3",
        "a batch of 1000 tokens is no whole number of rows of 256", "stage[0] `base`.batch_tokens",
        "make `batch_tokens` a multiple of `row_tokens`"),
    "a batch of nothing": (
        "batch_tokens = 1024\npeak_lr = 3e-3", "batch_tokens = 0\npeak_lr = 3e-3",
        "a batch of 0 tokens is no whole number of rows of 256", "stage[0] `base`.batch_tokens",
        "make `batch_tokens` a multiple of `row_tokens`"),
    "a batch larger than the mixture": (
        "tokens = 300_000", "tokens = 1000", "the mixture does not fill one batch", "stage[1] `cap`.batch_tokens",
        "make `batch_tokens` smaller or the mixture's `tokens` larger"),
    "rows too long": (
        "positions = 512", "positions = 128", "rows of 256 tokens do not fit 128 positions",
        "stage[0] `base`.row_tokens", "make rows shorter or `positions` larger"),
    "a rising rate": (
        "end_lr = 3e-4", "end_lr = 3e-2", "the learning rate goes from 0.003 to 0.03", "stage[0] `base`",
        "0 <= end_lr <= peak_lr, and peak_lr above 0"),
    "a long warm-up": (
        "warmup_tokens = 0", 'warmup_tokens = "300K"', "the warm-up is as long as the stage",
        "stage[1] `cap`.warmup_tokens",
        "warm up for a small share of the mixture's tokens"),
    "a decay longer than the stage": (
        'schedule = "wsd"', 'schedule = "wsd"\ndecay_share = 1.5', "`1.5` is not a share",
        "stage[1] `cap`.decay_share", "write a number from 0 to 1"),
    "margin missing": (
        "margins = { en = 0.05 }", "margins = {}", "an old language has no margin", "evals.margins",
        "give one for each of ['en']"),
    "a margin for nothing": (
        "margins = { en = 0.05 }", "margins = { en = 0.05, hi = 0.05 }", "there is no old language `hi`",
        "evals.margins.hi", "there are `en`"),
    "nothing held out": (
        ", held_out = 0.15", "", "there is no language with held-out text `en`", "evals.old", "there are none"),
    "release of no model": (
        'model = "safe"', 'model = "save"', "there is no model `save`", "release.model", "did you mean `safe`?"),
    "tuning without review": (
        '[review]\ndecisions = "sample:reviews/decisions"', "", "tuning needs reviewed rows", "tune.safe",
        "add [redteam] and [review]"),
    "tuning with an unknown mixture": (
        "epochs = 3", 'epochs = 3\nmixture = "capp"', "there is no mixture `capp`", "tune.safe.mixture",
        "did you mean `cap`?"),
    "replay from nowhere": (
        "epochs = 3", "epochs = 3\nreplay = 0.1", "there is no mixture ``", "tune.safe.mixture",
        "there are `old`, `cap`"),
    "heads that do not divide": (
        "\nheads = 4", "\nheads = 5", "width, heads and kv_heads do not divide", "base.scratch",
        "heads must divide width, kv_heads must divide heads"),
    "no heads": (
        "\nheads = 4", "\nheads = 0", "a model has no layers, width or heads", "base.scratch", "write 1 or more"),
    "too many key-value heads": (
        'arch = "llama"', 'arch = "gpt_bigcode"', "gpt_bigcode has one key-value head", "base.scratch.kv_heads",
        "write kv_heads = 1"),
    "a source that is no folder": (
        'fi = { uri', '"../../x" = { uri', "`../../x` is not a name", "source.../../x", LETTERS),
    "a curate table that is no folder": (
        "[curate.text]", '[curate."a/b"]', "`a/b` is not a name", "curate.a/b", LETTERS),
    "a mixture that is no folder": ("[mixture.old]", '[mixture." "]', "` ` is not a name", "mixture. ", LETTERS),
    "a tuning that is no folder": ("[tune.safe]", '[tune.""]', "`` is not a name", "tune.", LETTERS),
    "a quality model with a source on both sides": (
        "[mixture.old]", '[quality.good]\npositive = ["en"]\nnegative = ["fi", "en"]\n[mixture.old]',
        "`en` is on both sides", "quality.good", "put it on one"),
    "a quality model of nothing": (
        "[mixture.old]", '[quality.good]\npositive = ["en"]\nnegative = []\n[mixture.old]',
        "no source is named", "quality.good.negative", "name one or more"),
    "a register model of an unknown source": (
        "[mixture.old]", '[register.kind]\nsources = ["sv"]\nlabel = "register"\n[mixture.old]',
        "there is no source `sv`", "register.kind.sources", "there are `en`, `fi`"),
    "a tokenizer of nothing": (
        'tokenizer_sources = ["en", "fi"]', "tokenizer_sources = []", "the tokenizer has nothing to learn from",
        "base.scratch.tokenizer_sources", "name a source or more"),
    "answers longer than the model": (
        'suites = ["en", "safety"]', 'suites = ["en", "safety"]\nmax_new_tokens = 512',
        "512 new tokens leave no room for a prompt in 512 positions", "evals.max_new_tokens", "write fewer"),
    "a margin below 0": (
        "margins = { en = 0.05 }", "margins = { en = -0.05 }", "`-0.05` is out of range", "evals.margins.en",
        "write 0 or more"),
    "adapters beside blocks": (
        "epochs = 3", "epochs = 3\nexpand = 1\nlora = { rank = 8 }", "`lora` and `expand` each say what learns",
        "tune.safe.lora", "leave one of them out: with `lora` nothing but the adapters learns"),
    "adapters beside weights": (
        "warmup_tokens = 0", 'warmup_tokens = 0\ntrain = ["*"]\nlora = { rank = 8 }',
        "`lora` and `train` each say what learns",
        "stage[1] `cap`.lora", "leave one of them out: with `lora` nothing but the adapters learns"),
    "adapters without a rank": (
        "warmup_tokens = 0", "warmup_tokens = 0\nlora = { alpha = 8 }", "`rank` is missing", "stage[1].lora",
        "add `rank` (an integer)"),
    "an anchor of nothing": (
        "warmup_tokens = 0", "warmup_tokens = 0\nanchor = {}", "the anchor holds nothing", "stage[1] `cap`.anchor",
        "set `kl` or `l2` above 0"),
    "an anchor from scratch": (
        'start = "scratch"', 'start = "scratch"\nanchor = { l2 = 0.1 }',
        "a start from scratch is nothing to hold on to", "stage[0] `base`.anchor", "leave the anchor out"),
    "an anchor on an unknown mixture": (
        "warmup_tokens = 0", 'warmup_tokens = 0\nanchor = { kl = 0.1, mixture = "odd", batch_tokens = 256 }',
        "there is no mixture `odd`", "stage[1] `cap`.anchor.mixture", "did you mean `old`?"),
    "an anchor of no whole rows": (
        "warmup_tokens = 0", 'warmup_tokens = 0\nanchor = { kl = 0.1, mixture = "old", batch_tokens = 300 }',
        "a batch of 300 tokens is no whole number of rows of 256", "stage[1] `cap`.anchor.batch_tokens",
        "make `batch_tokens` a multiple of `row_tokens`"),
    "an anchor larger than its mixture": (
        "warmup_tokens = 0", 'warmup_tokens = 0\nanchor = { kl = 0.1, mixture = "old", batch_tokens = 460_800 }',
        "the mixture does not fill one batch", "stage[1] `cap`.anchor.batch_tokens",
        "make `batch_tokens` smaller or the mixture's `tokens` larger"),
    "text for an anchor that reads none": (
        "epochs = 3", 'epochs = 3\nanchor = { l2 = 0.1, mixture = "old" }', "the anchor's text is not read",
        "tune.safe.anchor", "set `kl` above 0, or leave out `mixture` and `batch_tokens`"),
    "a distance of adapters": (
        "warmup_tokens = 0", "warmup_tokens = 0\nlora = { rank = 8 }\nanchor = { l2 = 0.1 }",
        "`l2` holds weights that `lora` does not move", "stage[1] `cap`.anchor.l2",
        "leave `l2` out: adapters start from nothing"),
    "an infinite schedule without its constant": (
        'schedule = "wsd"', 'schedule = "infinite"', "an infinite schedule holds 0", "stage[1] `cap`.constant_lr",
        "end_lr <= constant_lr <= peak_lr, and constant_lr above 0"),
    "annealing to nothing": (
        'schedule = "wsd"', 'schedule = "infinite"\nconstant_lr = 1e-4', "it cannot anneal to 0",
        "stage[1] `cap`.end_lr", "set `end_lr` above 0, or decay_share = 0 for no annealing"),
    "another curve that goes on": (
        'schedule = "wsd"', "continues = true", "the curve goes on from `base`, whose `peak_lr` is 0.003",
        "stage[1] `cap`.peak_lr", "write the same in both"),
    "a choice of two": (
        'schedule = "wsd"', 'continues = "yes"', "`yes` is a string, not true or false", "stage[1].continues",
        "write true or false"),
    "the state of another optimizer": (
        'schedule = "wsd"', 'optimizer_state = "reuse"\noptimizer = "muon"',
        "`base` leaves no optimizer state that fits", "stage[1] `cap`.optimizer_state",
        "use the same `optimizer` and `train` in both, and neither `expand` nor `lora`; or start fresh"),
    "an action without a budget": (
        'schedule = "wsd"', 'over_budget = "pause"', "there is no budget to be over", "stage[1] `cap`.over_budget",
        "set `max_old_rise`, or leave it out"),
    "a budget of the base itself": (
        'warmup_tokens = "10K"', 'warmup_tokens = "10K"\nmax_old_rise = 0.1', "a base is compared with itself",
        "stage[0] `base`.max_old_rise", "leave the budget out"),
    "more replay for a tuning": (
        "epochs = 3", 'epochs = 3\nmax_old_rise = 0.1\nover_budget = "raise"', "there is no replay to raise",
        "tune.safe.over_budget", "give the stage's mixture some `replay`; a tuning can `warn` or `pause`"),
    "a hub source not pinned": (
        'uri = "sample:texts/fi"', 'uri = "hf:owner/set", revision = "main"', "a hub revision must be pinned",
        "source.fi.revision", "write the full commit, 40 hex digits, not a branch"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipes(case: str) -> None:
    old, new, *expected = WRONG[case]
    assert SMALL.count(old) == 1
    with pytest.raises(RecipeError) as caught:
        loads(SMALL.replace(old, new))
    assert [caught.value.what, caught.value.at, caught.value.hint] == expected
    assert caught.value.exit_code == 2


STAGE, TUNE, SUITES = "warmup_tokens = 0", "epochs = 3", 'suites = ["en", "safety"]'


@pytest.mark.parametrize(
    ("old", "key", "at", "wrong", "right"),
    [
        ("seed = 17", "seed", "seed", ["-1", "4294967296"], ["0", "4294967295"]),
        ('rows = "sample:safety/*"', "[duplicates]\nnear", "duplicates.near", ["0.0", "-0.1", "1.1"], ["0.01", "1.0"]),
        ('decisions = "sample:reviews/decisions"', "reviewers", "review.reviewers", ["0", "-1"], ["1"]),
        (TUNE, "epochs", "tune.safe.epochs", ["0", "-3"], ["1"]),
        (TUNE, "clip", "tune.safe.clip", ["0.0"], ["0.1"]),
        (STAGE, "clip", "stage[1] `cap`.clip", ["0.0", "-1.0"], ["0.1"]),
        (STAGE, "beta2", "stage[1] `cap`.beta2", ["1.0", "-0.1"], ["0.0", "0.999"]),
        (STAGE, "weight_decay", "stage[1] `cap`.weight_decay", ["-0.1"], ["0.0"]),
        (SUITES, "max_new_tokens", "evals.max_new_tokens", ["0", "-1"], ["1", "511"]),
        (SUITES, "max_held_bytes", "evals.max_held_bytes", ["0"], ["1"]),
    ],
)
def test_numbers_have_their_ranges(old: str, key: str, at: str, wrong: list[str], right: list[str]) -> None:
    assert SMALL.count(old) == 1
    kept = "" if old.startswith(key) else f"{old}\n"
    for value in right:
        loads(SMALL.replace(old, f"{kept}{key} = {value}"))
    for value in wrong:
        with pytest.raises(RecipeError) as caught:
            loads(SMALL.replace(old, f"{kept}{key} = {value}"))
        assert (caught.value.what, caught.value.at) == (f"`{value}` is out of range", at)
        assert caught.value.hint.startswith("write ")


@pytest.mark.parametrize(
    ("change", "what", "at"),
    [
        (lambda text: text.replace("0a" * 20, "main"), "a hub revision must be pinned", "base.revision"),
        (lambda text: text.replace("0a" * 20, "0A" * 20), "a hub revision must be pinned", "base.revision"),
        (lambda text: text.replace("hf:owner/name", "owner/name"), "`owner/name` is not a model", "base.model"),
        (
            lambda text: text.replace('model = "hf:owner/name"', ""),
            "the base needs either `model` or `scratch`",
            "base",
        ),
        (
            lambda text: text.replace('start = "base"', 'start = "scratch"'),
            "a base from scratch is trained by the first stage",
            "stage[0] `cap`",
        ),
    ],
)
def test_wrong_bases_from_the_hub(change: Callable[[str], str], what: str, at: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(change(FROM_HUB))
    assert (caught.value.what, caught.value.at) == (what, at)


SHAPED = FROM_HUB.replace(
    "[source]",
    """[base.shape]
arch = "gpt_bigcode"
layers = 40
width = 6144
heads = 48
kv_heads = 1
positions = 8192
vocab = 49152

[source]""",
)


def test_a_base_from_the_hub_may_say_its_shape() -> None:
    recipe = loads(SHAPED)
    assert recipe.base.shape == Shape("gpt_bigcode", 40, 6144, 48, 1, Count(8192), Count(49_152))
    assert loads(dumps(recipe)) == recipe
    own = loads(SHAPED.replace("vocab = 49152", "vocab = 49152\ninner = 7\ntied = false")).base.shape
    assert own == replace(recipe.base.shape, inner=Count(7), tied=False)


@pytest.mark.parametrize(
    ("old", "new", "what", "at"),
    [
        ("heads = 48\n", "heads = 5\n", "width, heads and kv_heads do not divide", "base.shape"),
        ("layers = 40", "layers = 0", "a model has no layers, width or heads", "base.shape"),
        ("kv_heads = 1", "kv_heads = 2", "gpt_bigcode has one key-value head", "base.shape.kv_heads"),
        (
            "positions = 8192",
            "positions = 128",
            "rows of 256 tokens do not fit 128 positions",
            "stage[0] `cap`.row_tokens",
        ),
    ],
)
def test_wrong_shapes(old: str, new: str, what: str, at: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(SHAPED.replace(old, new))
    assert (caught.value.what, caught.value.at) == (what, at)


def test_a_base_from_scratch_has_one_shape() -> None:
    table = SHAPED[SHAPED.index("[base.shape]") : SHAPED.index("[source]")]
    with pytest.raises(RecipeError, match="a base from scratch has two shapes"):
        loads(SMALL.replace("[source]", f"{table}\n[source]", 1))


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("", "expand", "-1"),
        ("lora = { rank = 0 }", "lora.rank", "0"),
        ("lora = { rank = 4, alpha = 0 }", "lora.alpha", "0"),
        ("anchor = { kl = -0.1 }", "anchor.kl", "-0.1"),
        ("anchor = { l2 = -0.1 }", "anchor.l2", "-0.1"),
    ],
)
def test_numbers_of_tables_in_a_stage_have_their_ranges(table: str, key: str, value: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(SMALL.replace("warmup_tokens = 0", f"warmup_tokens = 0\n{table or f'{key} = {value}'}"))
    assert (caught.value.what, caught.value.at) == (f"`{value}` is out of range", f"stage[1] `cap`.{key}")


def test_what_learns_and_what_holds_it_comes_back() -> None:
    more = """warmup_tokens = 0
train = ["model.layers.0.*", "*norm*"]
expand = 1
[stage.anchor]
kl = 0.1
mixture = "old"
batch_tokens = "512"
"""
    recipe = loads(SMALL.replace("warmup_tokens = 0", more, 1).replace('schedule = "wsd"\n', ""))
    cap = recipe.stage[1]
    assert (cap.train, cap.expand, cap.lora) == (("model.layers.0.*", "*norm*"), 1, None)
    assert cap.anchor == Anchor(kl=0.1, mixture="old", batch_tokens=Count(512))
    assert recipe.mixtures(cap) == ["cap", "old"]
    assert recipe.mixtures(recipe.tune["safe"]) == []
    assert loads(dumps(recipe)) == recipe
    tuned = loads(SMALL.replace("epochs = 3", "epochs = 3\nlora = { rank = 8 }")).tune["safe"]
    assert tuned.lora == Lora(8)


def test_no_stage_for_a_base_from_scratch() -> None:
    with pytest.raises(RecipeError) as caught:
        check(replace(BUILT, stage=(), tune={}))
    assert (caught.value.what, caught.value.at) == ("no stage makes the base", "stage")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot read the recipe: "),
        (b"\xff", "cannot read the recipe: "),
        (b"a = ", "not TOML: "),
        (b"a = " + b"[" * 9999 + b"]" * 9999, "not TOML: it is nested too deep"),
        (b"seed = " + b"9" * 5000, "not TOML: a number has too many digits"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert caught.value.what.startswith(what)
    assert caught.value.at == str(path)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("seed", 2**63, "the number is too large"),
        ("seed", 2**63 - 1, f"`{2**63 - 1}` is out of range"),
        ("duplicates.near", 10**400, "the number is too large"),
        ("evals.suites", [list(range(99))], f"`{str(list(range(99)))[:100]}...` is a list, not a string"),
        ("name", list(range(99)), f"`{str(list(range(99)))[:100]}...` is a list, not a string"),
    ],
)
def test_values_that_are_too_large(key: str, value: Any, what: str) -> None:
    table, *rest = key.split(".")
    data = tomllib.loads(dumps(BUILT))
    data[table] = {**data.get(table, {}), rest[0]: value} if rest else value
    with pytest.raises(RecipeError) as caught:
        loads(tomli_w.dumps(data))
    assert caught.value.what == what
    assert caught.value.at.startswith(key)


@pytest.mark.parametrize("line", [f"name.{'a.' * 5000}a = 1", f"name = 0x{'f' * 5000}"])
def test_values_that_nobody_can_print(line: str) -> None:
    with pytest.raises(RecipeError, match=r"`\.\.\.` is an? (table|integer), not a string"):
        loads(f"{line}\n")


@given(st.recursive(st.integers() | st.booleans() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)))
@settings(max_examples=30)
def test_any_value_in_any_place_is_right_or_a_recipe_error(value: Any) -> None:
    for old in (
        "seed = 17",
        "heads = 4",
        "weights = { fi = 1.0 }",
        'tokenizer_sources = ["en", "fi"]',
        "batch_tokens = 1024",
    ):
        try:
            recipe = loads(SMALL.replace(f"\n{old}\n", "\n" + tomli_w.dumps({old.split(" = ")[0]: value}) + "\n", 1))
        except RecipeError:
            continue
        assert loads(dumps(recipe)) == recipe


CURVE = """peak_lr = 3e-3
end_lr = 3e-4
warmup_tokens = "10K"
"""


def continued(first: str, second: str) -> str:
    """The small recipe with a second stage along the curve of the first, and more keys in both."""
    own = 'peak_lr = 1e-3\nend_lr = 0\nwarmup_tokens = 0\nschedule = "wsd"\n'
    both = SMALL.replace(own, f"{CURVE}continues = true\n{second}")
    return both.replace(CURVE, CURVE + first, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *[(keys, keys) for keys in ('horizon_tokens = "900K"\n', 'schedule = "constant"\n')],
        ('schedule = "wsd"\ndecay_share = 0.0\n', 'schedule = "wsd"\n'),
        *[('schedule = "infinite"\nconstant_lr = 1e-3\ncooldown_tokens = "20K"\ndecay_share = 0\n',) * 2],
    ],
)
def test_curves_that_may_go_on(first: str, second: str) -> None:
    recipe = loads(continued(first, second))
    assert recipe.stage[1].continues
    assert loads(dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("first", "second", "what", "key"),
    [
        ("", "", "the curve ended with `base`", "continues"),
        *[(keys, keys, "the curve ended with `base`", "continues") for keys in ('schedule = "wsd"\n',)],
        (
            "horizon_tokens = 900_000\n",
            "",
            "the curve goes on from `base`, whose `horizon_tokens` is 900000",
            "horizon_tokens",
        ),
        *[
            (
                'schedule = "wsd"\nhorizon_tokens = 900_000\n' + f"decay_share = {one}\n",
                'schedule = "wsd"\nhorizon_tokens = 900_000\n',
                f"the curve goes on from `base`, whose `decay_share` is {one}",
                "decay_share",
            )
            for one in ("0.1", "0.0")
        ],
        ("horizon_tokens = 9_000\n", "", "the warm-up is as long as the stage", "warmup_tokens"),
    ],
)
def test_curves_that_may_not(first: str, second: str, what: str, key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(continued(first, second))
    assert caught.value.what == what
    assert caught.value.at.endswith(f".{key}")


@pytest.mark.parametrize("key", ["continues = true", 'optimizer_state = "reuse"'])
def test_nothing_goes_on_from_a_base_of_others(key: str) -> None:
    with pytest.raises(RecipeError, match="there is no training step of this recipe `base`"):
        loads(FROM_HUB.replace('schedule = "wsd"', f'schedule = "constant"\n{key}'))


@pytest.mark.parametrize(
    ("key", "value"), [("ema", "1.0"), ("spike", "2.9"), ("eval_points", "0"), ("max_old_rise", "-0.1")]
)
def test_numbers_of_what_watches_a_stage_have_their_ranges(key: str, value: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(SMALL.replace('schedule = "wsd"', f"{key} = {value}"))
    assert (caught.value.what, caught.value.at) == (f"`{value}` is out of range", f"stage[1] `cap`.{key}")


def test_a_budget_needs_an_old_language_and_a_raise_some_replay() -> None:
    asked = SMALL.replace('schedule = "wsd"', 'max_old_rise = 0.1\nover_budget = "raise"')
    more = loads(asked).mixture["cap"].more_replay(0.3)
    assert (more.tokens, more.shares(), more.replay) == (165_000, {"en": 1.0}, 0.0)
    for old, new, what in (
        ("replay = 0.25\nreplay_weights = { en = 1.0 }\n", "", "there is no replay to raise"),
        ('old = ["en"]\nmargins = { en = 0.05 }', "old = []\nmargins = {}", "no language is old"),
    ):
        with pytest.raises(RecipeError, match=what):
            loads(asked.replace(old, new))


EXTEND = '\n[base.extend]\ntokens = "5K"\nsources = ["fi"]\n'
SHARDS = '\n[shards.pre]\nuri = "megatron:data/pre"\nlang = "fi"\nlicense = "CC0-1.0"\n'


def test_new_tokens_and_tokens_that_come_ready() -> None:
    extended = loads(FROM_HUB + EXTEND)
    assert extended.base.extend == Extend(Count(5000), ("fi",), "subtokens")
    assert loads(dumps(extended)) == extended
    read = loads(FROM_HUB.replace("weights = { fi = 1.0 }", "weights = { pre = 1.0 }") + SHARDS)
    assert read.shards == {"pre": Shards("megatron:data/pre", "fi", "CC0-1.0")}
    assert loads(dumps(read)) == read
    assert read.mixture["cap"].reads() == ["pre", "en"]


@pytest.mark.parametrize(
    ("text", "what", "at"),
    [
        (SMALL + EXTEND, "a base from scratch learns its tokens itself", "base.extend"),
        (
            SMALL.replace("[base.scratch]", '[base]\nend_token = "</s>"\n[base.scratch]'),
            "a base from scratch has an end token of its own",
            "base.end_token",
        ),
        (FROM_HUB + EXTEND.replace('"5K"', "0"), "there are no new tokens", "base.extend.tokens"),
        (FROM_HUB + EXTEND.replace('["fi"]', "[]"), "no source is named", "base.extend.sources"),
        (FROM_HUB + EXTEND.replace('"fi"', '"f"'), "there is no source `f`", "base.extend.sources"),
        (FROM_HUB + EXTEND + 'init = "focus"\n', "`focus` is not a choice here", "base.extend.init"),
        (SMALL + SHARDS, "tokens of the base are not those of a tokenizer that the run makes", "shards.pre"),
        (
            FROM_HUB + EXTEND + SHARDS,
            "tokens of the base are not those of a tokenizer that the run makes",
            "shards.pre",
        ),
        (
            FROM_HUB + SHARDS.replace("megatron:data", "file:data"),
            "`file:data/pre` is no place of tokens",
            "shards.pre.uri",
        ),
        (FROM_HUB + SHARDS.replace("data/pre", ""), "`megatron:` is no place of tokens", "shards.pre.uri"),
        (FROM_HUB + SHARDS.replace('lang = "fi"', 'lang = "suomi"'), "there is no language `suomi`", "shards.pre.lang"),
        (FROM_HUB + SHARDS.replace("shards.pre", "shards.fi"), "`fi` is a source and shards", "shards.fi"),
        (FROM_HUB + SHARDS.replace("shards.pre", 'shards."a/b"'), "`a/b` is not a name", "shards.a/b"),
    ],
)
def test_wrong_tokens(text: str, what: str, at: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(text)
    assert (caught.value.what, caught.value.at) == (what, at)


SELF = FROM_HUB.replace('uri = "sample:texts/fi"', 'uri = "self:base", documents = "20K"')


def test_a_source_that_the_base_writes() -> None:
    recipe = loads(SELF)
    assert recipe.source["fi"] == Source("self:base", "fi", "CC0-1.0", "text", documents=Count(20_000))
    assert loads(dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "what", "key"),
    [
        (SELF.replace("self:base", "self:cap"), "`self:cap` writes no documents", "uri"),
        (SELF.replace("self:base", "file:base"), "only the base writes documents", "documents"),
        (SELF.replace('"20K"', "0"), "the base writes no document", "documents"),
        (SELF.replace('"20K"', "-1"), "the base writes no document", "documents"),
        (SELF.replace('"20K"', "9, held_out = 0.1"), "the base is not measured by what it writes", "held_out"),
        (SELF.replace('"20K"', '9, form = "arxiv"'), "the base writes no `arxiv`", "form"),
        (
            SMALL.replace('uri = "sample:texts/fi"', 'uri = "self:base", documents = 9'),
            "a base from scratch cannot write its own sources",
            "uri",
        ),
    ],
)
def test_wrong_sources_that_the_base_writes(text: str, what: str, key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(text)
    assert (caught.value.what, caught.value.at) == (what, f"source.fi.{key}")


def test_tokens_that_come_ready_are_for_training_only() -> None:
    text = FROM_HUB + SHARDS + '[quality.good]\npositive = ["pre"]\nnegative = ["en"]\n'
    with pytest.raises(RecipeError, match="there is no source `pre`"):
        loads(text)


MERGE = """
[merge.soup]
models = { base = 0.25, cap = 0.75 }

[merge.back]
models = { soup = 1 }
method = "ties"
origin = "base"
density = 0.5
sweep = [0.125, 1]
"""


def test_merged_models_come_between_stages_and_tunings() -> None:
    recipe = loads(SMALL.replace('start = "cap"', 'start = "back_100"') + MERGE)
    soup, back = Merge({"base": 0.25, "cap": 0.75}), Merge({"soup": 1.0}, "ties", "base", 0.5, (0.125, 1.0))
    assert recipe.merge == {"soup": soup, "back": back}
    assert recipe.models() == ["base", "cap", "soup", "back_12.5", "back_100", "safe"]
    assert recipe.merges() == {"soup": (soup, 1.0), "back_12.5": (back, 0.125), "back_100": (back, 1.0)}
    assert (soup.reads(), back.reads()) == (["base", "cap"], ["soup", "base"])
    assert loads(dumps(recipe)) == recipe
    check(replace(recipe, release=Release("back_12.5", "CC0-1.0")))


SOUP, BACK = "[merge.soup]", "[merge.back]"
ONE = SMALL + MERGE[: MERGE.index(BACK)]
BOTH = SMALL + MERGE


@pytest.mark.parametrize(
    ("text", "what", "at"),
    [
        (ONE.replace("cap = 0.75", "caap = 0.75"), "there is no model made before it `caap`", "merge.soup.models"),
        (ONE.replace("cap = 0.75", "safe = 0.75"), "there is no model made before it `safe`", "merge.soup.models"),
        (ONE.replace("cap = 0.75", "soup = 0.75"), "there is no model made before it `soup`", "merge.soup.models"),
        (ONE.replace("base = 0.25, ", ""), "the weights add up to 0.75, not to 1", "merge.soup.models"),
        (ONE.replace("base = 0.25, cap = 0.75", ""), "a merge needs models beside its origin", "merge.soup.models"),
        (ONE.replace(SOUP, "[merge.cap]"), "`cap` is made twice", "merge.cap"),
        (ONE.replace(SOUP, "[merge.safe]"), "`safe` is made twice", "tune.safe"),
        (ONE.replace(SOUP, '[merge."a/b"]'), "`a/b` is not a name", "merge.a/b"),
        (
            ONE.replace('start = "base"', 'start = "soup"'),
            "there is no model made before it `soup`",
            "stage[1] `cap`.start",
        ),
        (
            BOTH.replace("soup = 1 ", "back_100 = 1 "),
            "there is no model made before it `back_100`",
            "merge.back.models",
        ),
        (
            BOTH.replace('origin = "base"', 'origin = "bas"'),
            "there is no model made before it `bas`",
            "merge.back.origin",
        ),
        (BOTH.replace("soup = 1 ", "base = 1 "), "a merge needs models beside its origin", "merge.back.models"),
        (BOTH.replace('origin = "base"', ""), "`ties` needs an origin", "merge.back.origin"),
        (BOTH.replace('method = "ties"\norigin = "base"', ""), "`sweep` needs an origin", "merge.back.origin"),
        (BOTH.replace('"ties"', '"slerp"'), "`slerp` is not a choice here", "merge.back.method"),
        (BOTH.replace("density = 0.5", "density = 0"), "`0.0` is out of range", "merge.back.density"),
        (BOTH.replace("density = 0.5", "density = 1.1"), "`1.1` is out of range", "merge.back.density"),
        (BOTH.replace("soup = 1 ", "soup = -1 "), "`-1` is out of range", "merge.back.models"),
        (BOTH.replace("[0.125, 1]", "[0.125, -1]"), "`-1` is out of range", "merge.back.sweep"),
        (BOTH.replace("[0.125, 1]", "[1, 1.0]"), "a scale is swept twice", "merge.back.sweep"),
        (
            BOTH.replace(SOUP, "[merge.back_100]").replace("soup = 1 ", "back_100 = 1 "),
            "`back_100` is made twice",
            "merge.back",
        ),
        (BOTH.replace('start = "cap"', 'start = "back"'), "there is no model made before it `back`", "tune.safe.start"),
        (
            ONE.replace('start = "cap"', 'start = "soup"\noptimizer_state = "reuse"'),
            "there is no training step of this recipe `soup`",
            "tune.safe.optimizer_state",
        ),
    ],
)
def test_wrong_merges(text: str, what: str, at: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loads(text)
    assert (caught.value.what, caught.value.at) == (what, at)


def test_linear_weights_with_an_origin_are_free() -> None:
    recipe = loads(BOTH.replace('"ties"', '"linear"').replace("soup = 1 ", "soup = -0.5, cap = 2 "))
    assert recipe.merge["back"].models == {"soup": -0.5, "cap": 2.0}


def test_a_name_is_no_longer_than_a_folder_may_be() -> None:
    with pytest.raises(RecipeError, match="is not a name"):
        check(replace(BUILT, name="a" * 101))
    check(replace(BUILT, name="a" * 100))


def test_what_is_secret_in_an_address_is_in_no_text() -> None:
    uri = "https://user:hunter2@host/a.jsonl?X-Amz-Signature=abc123&token=abc123"
    source = Source(uri, "hi", "CC0-1.0", "text")
    assert source == Source("https://host/a.jsonl", "hi", "CC0-1.0", "text")
    assert whole(source.uri) == whole(replace(source, lang="fi").uri) == uri
    recipe = replace(BUILT, source={**BUILT.source, "far": source})
    for shown in (dumps(recipe), repr(recipe), json.dumps(to_json(source)), json.dumps(plain(recipe))):
        assert "https://host/a.jsonl" in shown
        assert "hunter2" not in shown
        assert "abc123" not in shown
    assert loads(dumps(recipe)) == recipe
    text = dumps(recipe).replace("https://host/a.jsonl", uri)
    assert whole(loads(text).source["far"].uri) == uri
