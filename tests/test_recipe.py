"""Recipes: what is written comes back, and what is wrong is named with the place and the way out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import Count
from aurora_m.recipe import (
    NAME,
    Base,
    Curate,
    Evals,
    Mixture,
    Recipe,
    Redteam,
    Release,
    Review,
    Scratch,
    Source,
    Stage,
    Tune,
    check,
    dumps,
    load,
    loads,
)  # fmt: skip

FOLDER = Path(__file__).parents[1] / "aurora_m/recipes"
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
batch = 1024
peak_lr = 3e-3
end_lr = 3e-4
warmup = "10K"

[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 256
batch = 1024
peak_lr = 1e-3
end_lr = 0
warmup = 0
schedule = "wsd"

[redteam]
rows = "sample:safety/*"

[review]
decisions = "sample:reviews/decisions"

[tune.safe]
start = "cap"
epochs = 3
row_tokens = 512
batch = 1024
peak_lr = 1e-3
end_lr = 1e-4
warmup = "4K"

[evals]
suites = ["en", "safety"]
old = ["en"]
margins = { en = 0.05 }

[release]
model = "safe"
license = "CC0-1.0"
"""
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
        Stage("base", "scratch", "old", Count(256), Count(1024), 3e-3, 3e-4, Count(10_000)),
        Stage("cap", "base", "cap", Count(256), Count(1024), 1e-3, 0.0, Count(0), "wsd"),
    ),
    Evals(("en", "safety"), ("en",), {"en": 0.05}),
    Release("safe", "CC0-1.0"),
    redteam=Redteam("sample:safety/*"),
    review=Review("sample:reviews/decisions"),
    tune={"safe": Tune("cap", 3, Count(512), Count(1024), 1e-3, 1e-4, Count(4000))},
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
    assert recipe.models() == ["base", "cap", "cat", "safe"]
    for training in (*recipe.stage, *recipe.tune.values()):
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
        batch=Count(256 * rows),
        peak_lr=peak,
        end_lr=peak * draw(st.floats(0, 1)),
        schedule=draw(st.sampled_from(["cosine", "wsd", "constant"])),
        decay_share=draw(st.floats(0, 1)),
        optimizer=draw(st.sampled_from(["adamw", "muon"])),
    )
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    name = st.from_regex(NAME, fullmatch=True)
    about = {"name": draw(name), "seed": draw(st.integers(0, 2**32 - 1)), "release": Release("cap", draw(text))}
    tuned = {"tune": {}, "redteam": None, "review": None} if draw(st.booleans()) else {}
    source = {**BUILT.source, draw(name): Source("file:" + draw(text), "hi", draw(text), "text")}
    changed: dict[str, Any] = {"mixture": {**BUILT.mixture, "cap": cap}, "stage": (BUILT.stage[0], stage), **tuned}
    return replace(BUILT, source=source, **about, **changed)


@given(variations())
@settings(max_examples=60)
def test_what_is_written_comes_back(recipe: Recipe) -> None:
    check(recipe)
    assert loads(dumps(recipe)) == recipe


LETTERS = "use letters, digits, `-`, `_` and `.`"
WRONG: dict[str, tuple[str, str, str, str, str]] = {  # replace this, by that: what, at, hint
    "unknown key": (
        "batch = 1024\npeak_lr = 3e-3", "batchs = 1024\npeak_lr = 3e-3",
        "unknown key `batchs`", "stage[0]", "did you mean `batch`?"),
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
        "warmup = 0", "warmup = 0\nclip = nan", "`nan` is not finite", "stage[1].clip", "write a number"),
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
        "batch = 1024\npeak_lr = 3e-3", "batch = 1000\npeak_lr = 3e-3",
        "a batch of 1000 tokens is no whole number of rows of 256", "stage[0] `base`.batch",
        "make `batch` a multiple of `row_tokens`"),
    "a batch of nothing": (
        "batch = 1024\npeak_lr = 3e-3", "batch = 0\npeak_lr = 3e-3",
        "a batch of 0 tokens is no whole number of rows of 256", "stage[0] `base`.batch",
        "make `batch` a multiple of `row_tokens`"),
    "a batch larger than the mixture": (
        "tokens = 300_000", "tokens = 1000", "the mixture does not fill one batch", "stage[1] `cap`.batch",
        "make `batch` smaller or the mixture's `tokens` larger"),
    "rows too long": (
        "positions = 512", "positions = 128", "rows of 256 tokens do not fit 128 positions",
        "stage[0] `base`.row_tokens", "make rows shorter or `positions` larger"),
    "a rising rate": (
        "end_lr = 3e-4", "end_lr = 3e-2", "the learning rate goes from 0.003 to 0.03", "stage[0] `base`",
        "0 <= end_lr <= peak_lr, and peak_lr above 0"),
    "a long warm-up": (
        "warmup = 0", 'warmup = "300K"', "the warm-up is as long as the stage", "stage[1] `cap`.warmup",
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


STAGE, TUNE, SUITES = "warmup = 0", "epochs = 3", 'suites = ["en", "safety"]'


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
        (SUITES, "max_held", "evals.max_held", ["0"], ["1"]),
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


def test_no_stage_for_a_base_from_scratch() -> None:
    with pytest.raises(RecipeError) as caught:
        check(replace(BUILT, stage=(), tune={}))
    assert (caught.value.what, caught.value.at) == ("no stage makes the base", "stage")


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "cannot read the recipe: "), (b"\xff", "cannot read the recipe: "), (b"a = ", "not TOML: ")],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert caught.value.what.startswith(what)
    assert caught.value.at == str(path)


@given(st.recursive(st.integers() | st.booleans() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)))
@settings(max_examples=30)
def test_any_value_in_any_place_is_right_or_a_recipe_error(value: Any) -> None:
    for old in ("seed = 17", "heads = 4", "weights = { fi = 1.0 }", 'tokenizer_sources = ["en", "fi"]', "batch = 1024"):
        try:
            recipe = loads(SMALL.replace(f"\n{old}\n", "\n" + tomli_w.dumps({old.split(" = ")[0]: value}) + "\n", 1))
        except RecipeError:
            continue
        assert loads(dumps(recipe)) == recipe
