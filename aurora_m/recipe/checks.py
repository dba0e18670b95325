"""Whether the values of a recipe fit together: ranges, names, and what refers to what."""

from collections.abc import Iterable

from aurora_m.recipe.checks_base import check_base
from aurora_m.recipe.checks_data import check_data
from aurora_m.recipe.shape import Anchor, Merge, Recipe, Stage, Training
from aurora_m.recipe.values import check_name, check_ranges, check_share, known, need


def check(recipe: Recipe) -> None:
    """Check all that concerns more than one value. RecipeError names the first thing that is wrong."""
    check_name(recipe.name, "name")
    for table in ("source", "curate", "quality", "register", "mixture", "merge", "tune", "shards"):
        for name in getattr(recipe, table):
            check_name(name, f"{table}.{name}")
    check_base(recipe)
    check_data(recipe)
    _check_stages(recipe)
    for at, part in (("", recipe), ("duplicates.", recipe.duplicates), ("review.", recipe.review)):
        check_ranges(part, at)
    _check_evals(recipe)
    known(recipe.release.model, recipe.models(), "release.model", "model")


def _check_stages(recipe: Recipe) -> None:
    made = [] if recipe.base.scratch else ["base"]
    for number, stage in enumerate(recipe.stage):
        at = f"stage[{number}] `{stage.name}`"
        check_name(stage.name, at)
        need(stage.name not in made, f"`{stage.name}` is made twice", at, "give every stage its own name")
        first = recipe.base.scratch is not None and number == 0
        right = first == (stage.start == "scratch") and (not first or stage.name == "base")
        hint = 'name it "base" and write start = "scratch"; no other stage starts so'
        need(right, "a base from scratch is trained by the first stage", at, hint)
        if not first:
            known(stage.start, made, f"{at}.start", "model made before it")
        known(stage.mixture, recipe.mixture, f"{at}.mixture", "mixture")
        _check_training(stage, at, recipe)
        tokens = recipe.mixture[stage.mixture].tokens
        hint = "warm up for a small share of the mixture's tokens"
        warms = stage.warmup_tokens < (stage.horizon_tokens or tokens)
        need(warms, "the warm-up is as long as the stage", f"{at}.warmup_tokens", hint)
        hint = "make `batch_tokens` smaller or the mixture's `tokens` larger"
        need(stage.batch_tokens <= tokens, "the mixture does not fill one batch", f"{at}.batch_tokens", hint)
        made.append(stage.name)
    hint = 'the first [[stage]] is named "base" with start = "scratch"'
    need(made[:1] == ["base"], "no stage makes the base", "stage", hint)
    for name, merge in recipe.merge.items():
        _check_merge(merge, f"merge.{name}", made)
        for model in merge.scales(name):
            need(model not in made, f"`{model}` is made twice", f"merge.{name}", "give every model its own name")
            made.append(model)
    for name, tune in recipe.tune.items():
        need(name not in made, f"`{name}` is made twice", f"tune.{name}", "give every model its own name")
        known(tune.start, made, f"tune.{name}.start", "model made before it")
        _check_training(tune, f"tune.{name}", recipe)
        check_share(tune.replay, f"tune.{name}.replay", below=0.99)
        if tune.replay or tune.mixture:
            known(tune.mixture, recipe.mixture, f"tune.{name}.mixture", "mixture")
        reviewed = bool(recipe.redteam and recipe.review)
        need(reviewed, "tuning needs reviewed rows", f"tune.{name}", "add [redteam] and [review]")
        made.append(name)


def _check_merge(merge: Merge, at: str, made: Iterable[str]) -> None:
    """What is merged, of the models made before it."""
    check_ranges(merge, f"{at}.")
    for model in merge.reads():
        known(model, made, f"{at}.{'models' if model in merge.models else 'origin'}", "model made before it")
    right, hint = bool(merge.models) and merge.origin not in merge.models, "name others, with their weights"
    need(right, "a merge needs models beside its origin", f"{at}.models", hint)
    along = "ties" if merge.method == "ties" else "sweep" if merge.sweep else ""
    need(bool(merge.origin or not along), f"`{along}` needs an origin", f"{at}.origin", "name the model to go on from")
    total, hint = sum(merge.models.values()), "change them, or name an `origin`, which takes the rest"
    right = bool(merge.origin) or abs(total - 1) <= 1e-6
    need(right, f"the weights add up to {total:g}, not to 1", f"{at}.models", hint)
    for key, values in (("models", merge.models.values() if along == "ties" else ()), ("sweep", merge.sweep)):
        lowest = min(values, default=0.0)
        need(lowest >= 0, f"`{lowest:g}` is out of range", f"{at}.{key}", "write 0 or more")
    once = len(merge.scales("")) == max(1, len(merge.sweep))
    need(once, "a scale is swept twice", f"{at}.sweep", "name it once")


def _check_training(stage: Training, at: str, recipe: Recipe) -> None:
    whole = stage.row_tokens >= 2 and stage.batch_tokens >= 1 and stage.batch_tokens % stage.row_tokens == 0
    what = f"a batch of {stage.batch_tokens} tokens is no whole number of rows of {stage.row_tokens}"
    need(whole, what, f"{at}.batch_tokens", "make `batch_tokens` a multiple of `row_tokens`")
    shape = recipe.base.scratch or recipe.base.shape
    positions = shape.positions if shape else stage.row_tokens
    what = f"rows of {stage.row_tokens} tokens do not fit {positions} positions"
    need(stage.row_tokens <= positions, what, f"{at}.row_tokens", "make rows shorter or `positions` larger")
    falls = 0 <= stage.end_lr <= stage.peak_lr and stage.peak_lr > 0
    what = f"the learning rate goes from {stage.peak_lr:g} to {stage.end_lr:g}"
    need(falls, what, at, "0 <= end_lr <= peak_lr, and peak_lr above 0")
    check_share(stage.decay_share, f"{at}.decay_share")
    check_ranges(stage, f"{at}.")
    _check_parts(stage, at)
    _check_curve(stage, at, recipe)
    _check_budget(stage, at, recipe)
    if stage.anchor:
        _check_anchor(stage, stage.anchor, f"{at}.anchor", recipe)


def _check_parts(stage: Training, at: str) -> None:
    """What of the model learns."""
    if stage.lora:
        check_ranges(stage.lora, f"{at}.lora.")
        others = [key for key in ("train", "expand") if getattr(stage, key)]
        what = f"`lora` and `{min(others, default='')}` each say what learns"
        need(not others, what, f"{at}.lora", "leave one of them out: with `lora` nothing but the adapters learns")


def _check_curve(stage: Training, at: str, recipe: Recipe) -> None:
    """The learning rate's curve, and what goes on from an earlier step: the curve, or the optimizer's state."""
    if stage.schedule == "infinite":
        falls = stage.end_lr <= stage.constant_lr <= stage.peak_lr and stage.constant_lr > 0
        what = f"an infinite schedule holds {stage.constant_lr:g}"
        need(falls, what, f"{at}.constant_lr", "end_lr <= constant_lr <= peak_lr, and constant_lr above 0")
        hint = "set `end_lr` above 0, or decay_share = 0 for no annealing"
        need(stage.end_lr > 0 or not stage.decay_share, "it cannot anneal to 0", f"{at}.end_lr", hint)
    if stage.wsm:
        hint = 'a merge stands for a decay: write schedule = "constant", and no `ema`'
        need(stage.schedule == "constant" and not stage.ema, "the weights cannot be merged", f"{at}.wsm", hint)
    others = {**{other.name: other for other in recipe.stage}, **recipe.tune}
    if stage.continues or stage.optimizer_state == "reuse":
        key = "continues" if stage.continues else "optimizer_state"
        known(stage.start, others, f"{at}.{key}", "training step of this recipe")
    if stage.optimizer_state == "reuse":
        before = others[stage.start]
        same = (before.optimizer, before.train, before.expand, before.lora)
        right = same == (stage.optimizer, stage.train, 0, stage.lora) and not stage.expand and not stage.lora
        hint = "use the same `optimizer` and `train` in both, and neither `expand` nor `lora`; or start fresh"
        need(right, f"`{stage.start}` leaves no optimizer state that fits", f"{at}.optimizer_state", hint)
    if not stage.continues:
        return
    before = others[stage.start]
    shape = ("schedule", "peak_lr", "end_lr", "warmup_tokens", "constant_lr", "cooldown_tokens", "horizon_tokens")
    for key in (*shape, *(["decay_share"] if stage.horizon_tokens else [])):
        what = f"the curve goes on from `{stage.start}`, whose `{key}` is {getattr(before, key)}"
        need(getattr(stage, key) == getattr(before, key), what, f"{at}.{key}", "write the same in both")
    if stage.schedule != "constant" and not stage.horizon_tokens:
        ended = stage.schedule == "cosine" or before.decay_share > 0
        hint = "set `horizon_tokens`, the tokens of the whole curve, in both" + (
            "" if stage.schedule == "cosine" else f", or decay_share = 0 in `{stage.start}`"
        )
        need(not ended, f"the curve ended with `{stage.start}`", f"{at}.continues", hint)


def _check_budget(stage: Training, at: str, recipe: Recipe) -> None:
    """How far old languages may fall, and what follows."""
    if not stage.max_old_rise:
        right = stage.over_budget == "warn"
        need(right, "there is no budget to be over", f"{at}.over_budget", "set `max_old_rise`, or leave it out")
        return
    need(bool(recipe.evals.old), "no language is old", f"{at}.max_old_rise", "name one or more in `evals.old`")
    need(stage.start != "scratch", "a base is compared with itself", f"{at}.max_old_rise", "leave the budget out")
    if stage.over_budget == "raise":
        mixture = recipe.mixture.get(getattr(stage, "mixture", ""))
        right = isinstance(stage, Stage) and mixture is not None and mixture.replay > 0
        hint = "give the stage's mixture some `replay`; a tuning can `warn` or `pause`"
        need(right, "there is no replay to raise", f"{at}.over_budget", hint)


def _check_anchor(stage: Training, anchor: Anchor, at: str, recipe: Recipe) -> None:
    check_ranges(anchor, f"{at}.")
    need(stage.start != "scratch", "a start from scratch is nothing to hold on to", at, "leave the anchor out")
    need(anchor.kl > 0 or anchor.l2 > 0, "the anchor holds nothing", at, "set `kl` or `l2` above 0")
    hint = "leave `l2` out: adapters start from nothing"
    need(not (stage.lora and anchor.l2), "`l2` holds weights that `lora` does not move", f"{at}.l2", hint)
    if not anchor.kl:
        none = not anchor.mixture and not anchor.batch_tokens
        need(none, "the anchor's text is not read", at, "set `kl` above 0, or leave out `mixture` and `batch_tokens`")
        return
    known(anchor.mixture, recipe.mixture, f"{at}.mixture", "mixture")
    whole = anchor.batch_tokens >= 1 and anchor.batch_tokens % stage.row_tokens == 0
    what = f"a batch of {anchor.batch_tokens} tokens is no whole number of rows of {stage.row_tokens}"
    need(whole, what, f"{at}.batch_tokens", "make `batch_tokens` a multiple of `row_tokens`")
    fills = anchor.batch_tokens <= recipe.mixture[anchor.mixture].tokens
    hint = "make `batch_tokens` smaller or the mixture's `tokens` larger"
    need(fills, "the mixture does not fill one batch", f"{at}.batch_tokens", hint)


def _check_evals(recipe: Recipe) -> None:
    evals, shape = recipe.evals, recipe.base.scratch or recipe.base.shape
    check_ranges(evals, "evals.")
    if shape:
        what = f"{evals.max_new_tokens} new tokens leave no room for a prompt in {shape.positions} positions"
        need(evals.max_new_tokens < shape.positions, what, "evals.max_new_tokens", "write fewer")
    for name, margin in evals.margins.items():
        known(name, evals.old, f"evals.margins.{name}", "old language")
        need(margin >= 0, f"`{margin:g}` is out of range", f"evals.margins.{name}", "write 0 or more")
    langs = {source.lang for source in recipe.source.values() if source.held_out > 0}
    for lang in evals.old:
        known(lang, langs, "evals.old", "language with held-out text")
    hint = f"give one for each of {list(evals.old)}"
    need(set(evals.old) <= set(evals.margins), "an old language has no margin", "evals.margins", hint)
