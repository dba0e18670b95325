"""Whether the values of a recipe fit together: ranges, names, and what refers to what."""

import re
from collections.abc import Callable, Iterable, Mapping

from aurora_m.core.errors import RecipeError, did_you_mean
from aurora_m.recipe.shape import Anchor, Merge, Mixture, Recipe, Scratch, Shape, Source, Stage, Training

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what can be a folder anywhere
PACKAGED = re.compile(r"python:\w+/.+\.gguf")  # a file of an installed package

# What a number may be, by its key wherever that stands.
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "seed": (lambda n: 0 <= n < 2**32, "write an integer from 0 to 4294967295"),
    **dict.fromkeys(("near", "density"), (lambda n: 0 < n <= 1, "write a number above 0 and up to 1")),
    **dict.fromkeys(("reviewers", "epochs", "max_new_tokens", "max_held"), (lambda n: n >= 1, "write 1 or more")),
    **dict.fromkeys(("weight_decay", "expand", "kl", "l2"), (lambda n: n >= 0, "write 0 or more")),
    **dict.fromkeys(("rank", "alpha"), (lambda n: n >= 1, "write 1 or more")),
    "beta2": (lambda n: 0 <= n < 1, "write a number from 0 and below 1"),
    "clip": (lambda n: n > 0, "write a number above 0"),
    **dict.fromkeys(("ema", "wsm"), (lambda n: 0 <= n < 1, "write a number from 0 and below 1")),
    "spike": (lambda n: n >= 3, "write 3 standard deviations or more"),
    "eval_points": (lambda n: n >= 1, "write 1 or more"),
    "max_old_rise": (lambda n: n >= 0, "write 0 or more"),
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
    for table in ("source", "curate", "quality", "register", "mixture", "merge", "tune", "shards"):
        for name in getattr(recipe, table):
            _named(name, f"{table}.{name}")
    _check_base(recipe)
    for name, source in recipe.source.items():
        known(source.lang, LANGUAGES, f"source.{name}.lang", "language")
        known(source.curate, recipe.curate, f"source.{name}.curate", "curate table")
        _share(source.held_out, f"source.{name}.held_out", below=1.0)
        if source.uri.startswith("hf:"):
            _pinned(source.revision, f"source.{name}.revision")
        _check_written(source, f"source.{name}", recipe)
    _check_shards(recipe)
    for name, curate in recipe.curate.items():
        _check_ranges(curate, f"curate.{name}.")
        _share(curate.repo_marks, f"curate.{name}.repo_marks")
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
    right = base.model.startswith(("hf:", "file:")) or base.model == "" or PACKAGED.fullmatch(base.model)
    hint = "write hf:owner/name, file:folder, file:model.gguf or python:package/model.gguf"
    _need(bool(right), f"`{base.model}` is not a model", "base.model", hint)
    if scratch:
        at = "base.scratch.tokenizer_sources"
        _need(bool(scratch.tokenizer_sources), "the tokenizer has nothing to learn from", at, "name a source or more")
        for name in scratch.tokenizer_sources:
            known(name, recipe.source, at, "source")
        _check_shape(scratch, "base.scratch")
    if base.extend:
        hint = "leave [base.extend] out, and write a larger `vocab`"
        _need(not scratch, "a base from scratch learns its tokens itself", "base.extend", hint)
        _need(base.extend.tokens >= 1, "there are no new tokens", "base.extend.tokens", "write 1 or more")
        _check_sources(base.extend.sources, recipe, "base.extend.sources")
    if base.shape:
        _need(not scratch, "a base from scratch has two shapes", "base.shape", "leave it out")
        _check_shape(base.shape, "base.shape")


def _check_shape(shape: Scratch | Shape, at: str) -> None:
    one = shape.arch != "gpt_bigcode" or shape.kv_heads == 1
    _need(one, "gpt_bigcode has one key-value head", f"{at}.kv_heads", "write kv_heads = 1")
    least = min(shape.layers, shape.width, shape.heads, shape.kv_heads)
    _need(least >= 1, "a model has no layers, width or heads", at, "write 1 or more")
    divide = shape.width % shape.heads == 0 and shape.heads % shape.kv_heads == 0
    hint = "heads must divide width, kv_heads must divide heads"
    _need(divide, "width, heads and kv_heads do not divide", at, hint)


def _check_written(source: Source, at: str, recipe: Recipe) -> None:
    """What the base writes itself."""
    if not source.uri.startswith("self:"):
        _need(not source.documents, "only the base writes documents", f"{at}.documents", "leave it out")
        return
    _need(source.uri == "self:base", f"`{source.uri}` writes no documents", f"{at}.uri", "write self:base")
    hint = "replay the sources that the base is trained on"
    _need(recipe.base.scratch is None, "a base from scratch cannot write its own sources", f"{at}.uri", hint)
    _need(source.documents >= 1, "the base writes no document", f"{at}.documents", 'say how many: documents = "20K"')
    _need(not source.held_out, "the base is not measured by what it writes", f"{at}.held_out", "leave it out")
    _need(source.form == "text", f"the base writes no `{source.form}`", f"{at}.form", "leave it out")


def _check_shards(recipe: Recipe) -> None:
    """What comes tokenized: by the tokenizer of the base, as it is."""
    for name, shards in recipe.shards.items():
        at = f"shards.{name}"
        _need(name not in recipe.source, f"`{name}` is a source and shards", at, "give each its own name")
        known(shards.lang, LANGUAGES, f"{at}.lang", "language")
        right = shards.uri.startswith("megatron:") and shards.uri != "megatron:"
        _need(right, f"`{shards.uri}` is no place of tokens", f"{at}.uri", "write `megatron:PREFIX`")
        own = bool(recipe.base.scratch or recipe.base.extend)
        hint = "make it a [source] of text, or go on from the base's own tokenizer"
        _need(not own, "tokens of the base are not those of a tokenizer that the run makes", at, hint)


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
            known(name, {**recipe.source, **recipe.shards}, f"{at}.{part}", "source")
            _share(getattr(mixture, part)[name], f"{at}.{part}.{name}")
    _share(mixture.replay, f"{at}.replay", below=1.0)
    _check_balance(mixture, recipe, at)
    declared = [] if mixture.sources else ["weights"]
    for part in (*declared, *(["replay_weights"] if mixture.replay else [])):
        total = sum(getattr(mixture, part).values())
        hint = "change the weights so that they add up to 1"
        _need(abs(total - 1) <= 1e-6, f"the weights add up to {total:g}, not to 1", f"{at}.{part}", hint)
    budget = mixture.tokens >= 1 and mixture.max_epochs > 0
    _need(budget, "a mixture needs a positive budget", at, "set `tokens` and `max_epochs` above 0")


def _check_balance(mixture: Mixture, recipe: Recipe, at: str) -> None:
    one = bool(mixture.weights) != bool(mixture.sources)
    _need(one, "a mixture needs either `weights` or `sources`", at, "declare shares, or name sources to be balanced")
    for name in mixture.sources:
        known(name, {**recipe.source, **recipe.shards}, f"{at}.sources", "source")
        _need(mixture.sources.count(name) == 1, f"`{name}` is named twice", f"{at}.sources", "name it once")
        again = mixture.replay > 0 and mixture.replay_weights.get(name, 0.0) > 0
        _need(not again, f"`{name}` is also replayed", f"{at}.sources", "name it in one of the two, or write `weights`")
    _share(mixture.alpha, f"{at}.alpha")
    _need(bool(mixture.sources) or not mixture.alpha, "nothing is balanced", f"{at}.alpha", "write it with `sources`")


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
        warms = stage.warmup_tokens < (stage.horizon_tokens or tokens)
        _need(warms, "the warm-up is as long as the stage", f"{at}.warmup_tokens", hint)
        hint = "make `batch_tokens` smaller or the mixture's `tokens` larger"
        _need(stage.batch_tokens <= tokens, "the mixture does not fill one batch", f"{at}.batch_tokens", hint)
        made.append(stage.name)
    hint = 'the first [[stage]] is named "base" with start = "scratch"'
    _need(made[:1] == ["base"], "no stage makes the base", "stage", hint)
    for name, merge in recipe.merge.items():
        _check_merge(merge, f"merge.{name}", made)
        for model in merge.scales(name):
            _need(model not in made, f"`{model}` is made twice", f"merge.{name}", "give every model its own name")
            made.append(model)
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


def _check_merge(merge: Merge, at: str, made: Iterable[str]) -> None:
    """What is merged, of the models made before it."""
    _check_ranges(merge, f"{at}.")
    for model in merge.reads():
        known(model, made, f"{at}.{'models' if model in merge.models else 'origin'}", "model made before it")
    right, hint = bool(merge.models) and merge.origin not in merge.models, "name others, with their weights"
    _need(right, "a merge needs models beside its origin", f"{at}.models", hint)
    along = "ties" if merge.method == "ties" else "sweep" if merge.sweep else ""
    _need(bool(merge.origin or not along), f"`{along}` needs an origin", f"{at}.origin", "name the model to go on from")
    total, hint = sum(merge.models.values()), "change them, or name an `origin`, which takes the rest"
    right = bool(merge.origin) or abs(total - 1) <= 1e-6
    _need(right, f"the weights add up to {total:g}, not to 1", f"{at}.models", hint)
    for key, values in (("models", merge.models.values() if along == "ties" else ()), ("sweep", merge.sweep)):
        lowest = min(values, default=0.0)
        _need(lowest >= 0, f"`{lowest:g}` is out of range", f"{at}.{key}", "write 0 or more")
    once = len(merge.scales("")) == max(1, len(merge.sweep))
    _need(once, "a scale is swept twice", f"{at}.sweep", "name it once")


def _check_training(stage: Training, at: str, recipe: Recipe) -> None:
    whole = stage.row_tokens >= 2 and stage.batch_tokens >= 1 and stage.batch_tokens % stage.row_tokens == 0
    what = f"a batch of {stage.batch_tokens} tokens is no whole number of rows of {stage.row_tokens}"
    _need(whole, what, f"{at}.batch_tokens", "make `batch_tokens` a multiple of `row_tokens`")
    shape = recipe.base.scratch or recipe.base.shape
    positions = shape.positions if shape else stage.row_tokens
    what = f"rows of {stage.row_tokens} tokens do not fit {positions} positions"
    _need(stage.row_tokens <= positions, what, f"{at}.row_tokens", "make rows shorter or `positions` larger")
    falls = 0 <= stage.end_lr <= stage.peak_lr and stage.peak_lr > 0
    what = f"the learning rate goes from {stage.peak_lr:g} to {stage.end_lr:g}"
    _need(falls, what, at, "0 <= end_lr <= peak_lr, and peak_lr above 0")
    _share(stage.decay_share, f"{at}.decay_share")
    _check_ranges(stage, f"{at}.")
    _check_parts(stage, at)
    _check_curve(stage, at, recipe)
    _check_budget(stage, at, recipe)
    if stage.anchor:
        _check_anchor(stage, stage.anchor, f"{at}.anchor", recipe)


def _check_parts(stage: Training, at: str) -> None:
    """What of the model learns."""
    if stage.lora:
        _check_ranges(stage.lora, f"{at}.lora.")
        others = [key for key in ("train", "expand") if getattr(stage, key)]
        what = f"`lora` and `{min(others, default='')}` each say what learns"
        _need(not others, what, f"{at}.lora", "leave one of them out: with `lora` nothing but the adapters learns")


def _check_curve(stage: Training, at: str, recipe: Recipe) -> None:
    """The learning rate's curve, and what goes on from an earlier step: the curve, or the optimizer's state."""
    if stage.schedule == "infinite":
        falls = stage.end_lr <= stage.constant_lr <= stage.peak_lr and stage.constant_lr > 0
        what = f"an infinite schedule holds {stage.constant_lr:g}"
        _need(falls, what, f"{at}.constant_lr", "end_lr <= constant_lr <= peak_lr, and constant_lr above 0")
        hint = "set `end_lr` above 0, or decay_share = 0 for no annealing"
        _need(stage.end_lr > 0 or not stage.decay_share, "it cannot anneal to 0", f"{at}.end_lr", hint)
    if stage.wsm:
        hint = 'a merge stands for a decay: write schedule = "constant", and no `ema`'
        _need(stage.schedule == "constant" and not stage.ema, "the weights cannot be merged", f"{at}.wsm", hint)
    others = {**{other.name: other for other in recipe.stage}, **recipe.tune}
    if stage.continues or stage.optimizer_state == "reuse":
        key = "continues" if stage.continues else "optimizer_state"
        known(stage.start, others, f"{at}.{key}", "training step of this recipe")
    if stage.optimizer_state == "reuse":
        before = others[stage.start]
        same = (before.optimizer, before.train, before.expand, before.lora)
        right = same == (stage.optimizer, stage.train, 0, stage.lora) and not stage.expand and not stage.lora
        hint = "use the same `optimizer` and `train` in both, and neither `expand` nor `lora`; or start fresh"
        _need(right, f"`{stage.start}` leaves no optimizer state that fits", f"{at}.optimizer_state", hint)
    if not stage.continues:
        return
    before = others[stage.start]
    shape = ("schedule", "peak_lr", "end_lr", "warmup_tokens", "constant_lr", "cooldown_tokens", "horizon_tokens")
    for key in (*shape, *(["decay_share"] if stage.horizon_tokens else [])):
        what = f"the curve goes on from `{stage.start}`, whose `{key}` is {getattr(before, key)}"
        _need(getattr(stage, key) == getattr(before, key), what, f"{at}.{key}", "write the same in both")
    if stage.schedule != "constant" and not stage.horizon_tokens:
        ended = stage.schedule == "cosine" or before.decay_share > 0
        hint = "set `horizon_tokens`, the tokens of the whole curve, in both" + (
            "" if stage.schedule == "cosine" else f", or decay_share = 0 in `{stage.start}`"
        )
        _need(not ended, f"the curve ended with `{stage.start}`", f"{at}.continues", hint)


def _check_budget(stage: Training, at: str, recipe: Recipe) -> None:
    """How far old languages may fall, and what follows."""
    if not stage.max_old_rise:
        need = stage.over_budget == "warn"
        _need(need, "there is no budget to be over", f"{at}.over_budget", "set `max_old_rise`, or leave it out")
        return
    _need(bool(recipe.evals.old), "no language is old", f"{at}.max_old_rise", "name one or more in `evals.old`")
    _need(stage.start != "scratch", "a base is compared with itself", f"{at}.max_old_rise", "leave the budget out")
    if stage.over_budget == "raise":
        mixture = recipe.mixture.get(getattr(stage, "mixture", ""))
        right = isinstance(stage, Stage) and mixture is not None and mixture.replay > 0
        hint = "give the stage's mixture some `replay`; a tuning can `warn` or `pause`"
        _need(right, "there is no replay to raise", f"{at}.over_budget", hint)


def _check_anchor(stage: Training, anchor: Anchor, at: str, recipe: Recipe) -> None:
    _check_ranges(anchor, f"{at}.")
    _need(stage.start != "scratch", "a start from scratch is nothing to hold on to", at, "leave the anchor out")
    _need(anchor.kl > 0 or anchor.l2 > 0, "the anchor holds nothing", at, "set `kl` or `l2` above 0")
    hint = "leave `l2` out: adapters start from nothing"
    _need(not (stage.lora and anchor.l2), "`l2` holds weights that `lora` does not move", f"{at}.l2", hint)
    if not anchor.kl:
        none = not anchor.mixture and not anchor.batch_tokens
        _need(none, "the anchor's text is not read", at, "set `kl` above 0, or leave out `mixture` and `batch_tokens`")
        return
    known(anchor.mixture, recipe.mixture, f"{at}.mixture", "mixture")
    whole = anchor.batch_tokens >= 1 and anchor.batch_tokens % stage.row_tokens == 0
    what = f"a batch of {anchor.batch_tokens} tokens is no whole number of rows of {stage.row_tokens}"
    _need(whole, what, f"{at}.batch_tokens", "make `batch_tokens` a multiple of `row_tokens`")
    fills = anchor.batch_tokens <= recipe.mixture[anchor.mixture].tokens
    hint = "make `batch_tokens` smaller or the mixture's `tokens` larger"
    _need(fills, "the mixture does not fill one batch", f"{at}.batch_tokens", hint)


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
