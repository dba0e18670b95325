"""Whether the values of a recipe fit together: ranges, names, and what refers to what."""

import re
from collections.abc import Callable, Iterable, Mapping

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.recipe.shape import Mixture, Recipe, Stage, Tune

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what can be a folder anywhere

# What a number may be, by its key wherever that stands.
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "seed": (lambda n: 0 <= n < 2**32, "write an integer from 0 to 4294967295"),
    "near": (lambda n: 0 < n <= 1, "write a number above 0 and up to 1"),
    **dict.fromkeys(("reviewers", "epochs", "max_new_tokens", "max_held"), (lambda n: n >= 1, "write 1 or more")),
    "weight_decay": (lambda n: n >= 0, "write 0 or more"),
    "beta2": (lambda n: 0 <= n < 1, "write a number from 0 and below 1"),
    "clip": (lambda n: n > 0, "write a number above 0"),
    "boilerplate": (lambda n: n == 0 or n >= 2, "write 2 pages or more, or 0 for none"),
    "max_docs": (lambda n: n >= 10, "write 10 or more"),
    "max_bytes": (lambda n: n >= 1, "write 1 or more"),
}

# ISO 639-1, and two words of ours: source code, and many languages in one source.
LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en"  # noqa: SIM905
    " eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv"
    " ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne"
    " ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st"
    " su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu code mul".split()
)


def check(recipe: Recipe) -> None:
    """Check all that concerns more than one value. RecipeError names the first thing that is wrong."""
    _named(recipe.name, "name")
    for table in ("source", "curate", "quality", "register", "mixture", "tune"):
        for name in getattr(recipe, table):
            _named(name, f"{table}.{name}")
    _check_base(recipe)
    for name, source in recipe.source.items():
        known(source.lang, LANGUAGES, f"source.{name}.lang", "language")
        known(source.curate, recipe.curate, f"source.{name}.curate", "curate table")
        _share(source.held_out, f"source.{name}.held_out", below=1.0)
        if source.uri.startswith("hf:"):
            _pinned(source.revision, f"source.{name}.revision")
    for name, curate in recipe.curate.items():
        _check_ranges(curate, f"curate.{name}.")
    _check_models(recipe)
    for name, mixture in recipe.mixture.items():
        _check_mixture(mixture, recipe, f"mixture.{name}")
    _check_stages(recipe)
    for at, part in (("", recipe), ("duplicates.", recipe.duplicates), ("review.", recipe.review)):
        _check_ranges(part, at)
    _check_evals(recipe)
    known(recipe.release.model, recipe.models(), "release.model", "model")


def _need(right: bool, what: str, at: str, hint: str) -> None:
    if not right:
        raise RecipeError(what, at=at, hint=hint)


def _named(name: str, at: str) -> None:
    _need(bool(NAME.fullmatch(name)), f"`{name}` is not a name", at, "use letters, digits, `-`, `_` and `.`")


def _check_ranges(part: object, at: str) -> None:
    for key, (right, hint) in RANGES.items():
        value = getattr(part, key, None)
        _need(value is None or right(value), f"`{value}` is out of range", f"{at}{key}", hint)


def _check_base(recipe: Recipe) -> None:
    base, scratch = recipe.base, recipe.base.scratch
    hint = 'write model = "hf:owner/name", or a table [base.scratch]'
    _need(bool(base.model) != bool(scratch), "the base needs either `model` or `scratch`", "base", hint)
    if base.model.startswith("hf:"):
        _pinned(base.revision, "base.revision")
    right = base.model.startswith(("hf:", "file:")) or base.model == ""
    _need(right, f"`{base.model}` is not a model", "base.model", "write hf:owner/name or file:folder")
    if scratch:
        at = "base.scratch.tokenizer_sources"
        _need(bool(scratch.tokenizer_sources), "the tokenizer has nothing to learn from", at, "name a source or more")
        for name in scratch.tokenizer_sources:
            known(name, recipe.source, at, "source")
        one = scratch.arch != "gpt_bigcode" or scratch.kv_heads == 1
        _need(one, "gpt_bigcode has one key-value head", "base.scratch.kv_heads", "write kv_heads = 1")
        least = min(scratch.layers, scratch.width, scratch.heads, scratch.kv_heads)
        _need(least >= 1, "a model has no layers, width or heads", "base.scratch", "write 1 or more")
        divide = scratch.width % scratch.heads == 0 and scratch.heads % scratch.kv_heads == 0
        hint = "heads must divide width, kv_heads must divide heads"
        _need(divide, "width, heads and kv_heads do not divide", "base.scratch", hint)


def _check_models(recipe: Recipe) -> None:
    """The models of text that the recipe trains."""
    for name, quality in recipe.quality.items():
        _check_ranges(quality, f"quality.{name}.")
        for side in ("positive", "negative"):
            _check_sources(getattr(quality, side), recipe, f"quality.{name}.{side}")
        both = set(quality.positive) & set(quality.negative)
        _need(not both, f"`{min(both, default='')}` is on both sides", f"quality.{name}", "put it on one")
        _need(name not in recipe.register, f"`{name}` is two models", f"quality.{name}", "give each its own name")
    for name, register in recipe.register.items():
        _check_ranges(register, f"register.{name}.")
        _check_sources(register.sources, recipe, f"register.{name}.sources")
        for label, share in register.shares.items():
            _share(share, f"register.{name}.shares.{label}")

    for lang, perplexity in recipe.perplexity.items():
        known(lang, LANGUAGES, f"perplexity.{lang}", "language")
        _check_ranges(perplexity, f"perplexity.{lang}.")
        _check_sources(perplexity.sources, recipe, f"perplexity.{lang}.sources")


def _check_sources(names: Iterable[str], recipe: Recipe, at: str) -> None:
    _need(bool([*names]), "no source is named", at, "name one or more")
    for name in names:
        known(name, recipe.source, at, "source")


def _check_mixture(mixture: Mixture, recipe: Recipe, at: str) -> None:
    for part in ("weights", "replay_weights", "fim"):
        for name in getattr(mixture, part):
            known(name, recipe.source, f"{at}.{part}", "source")
            _share(getattr(mixture, part)[name], f"{at}.{part}.{name}")
    _share(mixture.replay, f"{at}.replay", below=1.0)
    for part in ("weights", *(["replay_weights"] if mixture.replay else [])):
        total = sum(getattr(mixture, part).values())
        hint = "change the weights so that they add up to 1"
        _need(abs(total - 1) <= 1e-6, f"the weights add up to {total:g}, not to 1", f"{at}.{part}", hint)
    budget = mixture.tokens >= 1 and mixture.max_epochs > 0
    _need(budget, "a mixture needs a positive budget", at, "set `tokens` and `max_epochs` above 0")


def _check_stages(recipe: Recipe) -> None:
    made = [] if recipe.base.scratch else ["base"]
    for number, stage in enumerate(recipe.stage):
        at = f"stage[{number}] `{stage.name}`"
        _named(stage.name, at)
        _need(stage.name not in made, f"`{stage.name}` is made twice", at, "give every stage its own name")
        first = recipe.base.scratch is not None and number == 0
        right = first == (stage.start == "scratch") and (not first or stage.name == "base")
        hint = 'name it "base" and write start = "scratch"; no other stage starts so'
        _need(right, "a base from scratch is trained by the first stage", at, hint)
        if not first:
            known(stage.start, made, f"{at}.start", "model made before it")
        known(stage.mixture, recipe.mixture, f"{at}.mixture", "mixture")
        _check_training(stage, at, recipe)
        tokens = recipe.mixture[stage.mixture].tokens
        hint = "warm up for a small share of the mixture's tokens"
        _need(stage.warmup < tokens, "the warm-up is as long as the stage", f"{at}.warmup", hint)
        hint = "make `batch` smaller or the mixture's `tokens` larger"
        _need(stage.batch <= tokens, "the mixture does not fill one batch", f"{at}.batch", hint)
        made.append(stage.name)
    hint = 'the first [[stage]] is named "base" with start = "scratch"'
    _need(made[:1] == ["base"], "no stage makes the base", "stage", hint)
    for name, tune in recipe.tune.items():
        _need(name not in made, f"`{name}` is made twice", f"tune.{name}", "give every model its own name")
        known(tune.start, made, f"tune.{name}.start", "model made before it")
        _check_training(tune, f"tune.{name}", recipe)
        _share(tune.replay, f"tune.{name}.replay", below=0.99)
        if tune.replay or tune.mixture:
            known(tune.mixture, recipe.mixture, f"tune.{name}.mixture", "mixture")
        reviewed = bool(recipe.redteam and recipe.review)
        _need(reviewed, "tuning needs reviewed rows", f"tune.{name}", "add [redteam] and [review]")
        made.append(name)


def _check_training(stage: Stage | Tune, at: str, recipe: Recipe) -> None:
    whole = stage.row_tokens >= 2 and stage.batch >= 1 and stage.batch % stage.row_tokens == 0
    what = f"a batch of {stage.batch} tokens is no whole number of rows of {stage.row_tokens}"
    _need(whole, what, f"{at}.batch", "make `batch` a multiple of `row_tokens`")
    positions = recipe.base.scratch.positions if recipe.base.scratch else stage.row_tokens
    what = f"rows of {stage.row_tokens} tokens do not fit {positions} positions"
    _need(stage.row_tokens <= positions, what, f"{at}.row_tokens", "make rows shorter or `positions` larger")
    falls = 0 <= stage.end_lr <= stage.peak_lr and stage.peak_lr > 0
    what = f"the learning rate goes from {stage.peak_lr:g} to {stage.end_lr:g}"
    _need(falls, what, at, "0 <= end_lr <= peak_lr, and peak_lr above 0")
    _share(stage.decay_share, f"{at}.decay_share")
    _check_ranges(stage, f"{at}.")


def _check_evals(recipe: Recipe) -> None:
    evals, scratch = recipe.evals, recipe.base.scratch
    _check_ranges(evals, "evals.")
    if scratch:
        what = f"{evals.max_new_tokens} new tokens leave no room for a prompt in {scratch.positions} positions"
        _need(evals.max_new_tokens < scratch.positions, what, "evals.max_new_tokens", "write fewer")
    for name, margin in evals.margins.items():
        known(name, evals.old, f"evals.margins.{name}", "old language")
        _need(margin >= 0, f"`{margin:g}` is out of range", f"evals.margins.{name}", "write 0 or more")
    langs = {source.lang for source in recipe.source.values() if source.held_out > 0}
    for lang in evals.old:
        known(lang, langs, "evals.old", "language with held-out text")
    hint = f"give one for each of {list(evals.old)}"
    _need(set(evals.old) <= set(evals.margins), "an old language has no margin", "evals.margins", hint)


def _pinned(revision: str, at: str) -> None:
    pinned = len(revision) == 40 and not set(revision) - set("0123456789abcdef")
    _need(pinned, "a hub revision must be pinned", at, "write the full commit, 40 hex digits, not a branch")


def _share(value: float, at: str, below: float = 1.0 + 1e-9) -> None:
    _need(0 <= value < below, f"`{value:g}` is not a share", at, "write a number from 0 to 1")


def known(name: str, among: Iterable[str], at: str, what: str) -> None:
    """RecipeError, with the nearest name, unless `name` is one of `among`."""
    names = list(among)
    if name not in names:
        listed = ", ".join(f"`{n}`" for n in names[:12]) + (", ..." if len(names) > 12 else "")
        hint = "use its ISO 639-1 code" if what == "language" and len(names) > 12 else f"there are {listed or 'none'}"
        raise RecipeError(f"there is no {what} `{name}`", at=at, hint=did_you_mean(name, names, hint))
