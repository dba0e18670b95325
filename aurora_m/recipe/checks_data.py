"""Whether the texts of a recipe fit together: sources, curation, the models of text, and mixtures."""

from collections.abc import Iterable

from aurora_m.recipe.shape import Mixture, Recipe, Source
from aurora_m.recipe.values import LANGUAGES, check_pinned, check_ranges, check_share, known, need


def check_data(recipe: Recipe) -> None:
    """Check sources, shards, curation, the models of text and mixtures."""
    for name, source in recipe.source.items():
        known(source.lang, LANGUAGES, f"source.{name}.lang", "language")
        known(source.curate, recipe.curate, f"source.{name}.curate", "curate table")
        check_share(source.held_out, f"source.{name}.held_out", below=1.0)
        if source.uri.startswith("hf:"):
            check_pinned(source.revision, f"source.{name}.revision")
        _check_written(source, f"source.{name}", recipe)
    _check_shards(recipe)
    for name, curate in recipe.curate.items():
        check_ranges(curate, f"curate.{name}.")
        check_share(curate.repo_marks, f"curate.{name}.repo_marks")
    _check_models(recipe)
    for name, mixture in recipe.mixture.items():
        _check_mixture(mixture, recipe, f"mixture.{name}")


def _check_written(source: Source, at: str, recipe: Recipe) -> None:
    """What the base writes itself."""
    if not source.uri.startswith("self:"):
        need(not source.documents, "only the base writes documents", f"{at}.documents", "leave it out")
        return
    need(source.uri == "self:base", f"`{source.uri}` writes no documents", f"{at}.uri", "write self:base")
    hint = "replay the sources that the base is trained on"
    need(recipe.base.scratch is None, "a base from scratch cannot write its own sources", f"{at}.uri", hint)
    need(source.documents >= 1, "the base writes no document", f"{at}.documents", 'say how many: documents = "20K"')
    need(not source.held_out, "the base is not measured by what it writes", f"{at}.held_out", "leave it out")
    need(source.form == "text", f"the base writes no `{source.form}`", f"{at}.form", "leave it out")


def _check_shards(recipe: Recipe) -> None:
    """What comes tokenized: by the tokenizer of the base, as it is."""
    for name, shards in recipe.shards.items():
        at = f"shards.{name}"
        need(name not in recipe.source, f"`{name}` is a source and shards", at, "give each its own name")
        known(shards.lang, LANGUAGES, f"{at}.lang", "language")
        right = shards.uri.startswith("megatron:") and shards.uri != "megatron:"
        need(right, f"`{shards.uri}` is no place of tokens", f"{at}.uri", "write `megatron:PREFIX`")
        own = bool(recipe.base.scratch or recipe.base.extend)
        hint = "make it a [source] of text, or go on from the base's own tokenizer"
        need(not own, "tokens of the base are not those of a tokenizer that the run makes", at, hint)


def _check_models(recipe: Recipe) -> None:
    """The models of text that the recipe trains."""
    for name, quality in recipe.quality.items():
        check_ranges(quality, f"quality.{name}.")
        for side in ("positive", "negative"):
            check_sources(getattr(quality, side), recipe, f"quality.{name}.{side}")
        both = set(quality.positive) & set(quality.negative)
        need(not both, f"`{min(both, default='')}` is on both sides", f"quality.{name}", "put it on one")
        need(name not in recipe.register, f"`{name}` is two models", f"quality.{name}", "give each its own name")
    for name, register in recipe.register.items():
        check_ranges(register, f"register.{name}.")
        check_sources(register.sources, recipe, f"register.{name}.sources")
        for label, share in register.shares.items():
            check_share(share, f"register.{name}.shares.{label}")

    for lang, perplexity in recipe.perplexity.items():
        known(lang, LANGUAGES, f"perplexity.{lang}", "language")
        check_ranges(perplexity, f"perplexity.{lang}.")
        check_sources(perplexity.sources, recipe, f"perplexity.{lang}.sources")


def _check_mixture(mixture: Mixture, recipe: Recipe, at: str) -> None:
    for part in ("weights", "replay_weights", "fim"):
        for name in getattr(mixture, part):
            known(name, {**recipe.source, **recipe.shards}, f"{at}.{part}", "source")
            check_share(getattr(mixture, part)[name], f"{at}.{part}.{name}")
    check_share(mixture.replay, f"{at}.replay", below=1.0)
    _check_balance(mixture, recipe, at)
    declared = [] if mixture.sources else ["weights"]
    for part in (*declared, *(["replay_weights"] if mixture.replay else [])):
        total = sum(getattr(mixture, part).values())
        hint = "change the weights so that they add up to 1"
        need(abs(total - 1) <= 1e-6, f"the weights add up to {total:g}, not to 1", f"{at}.{part}", hint)
    budget = mixture.tokens >= 1 and mixture.max_epochs > 0
    need(budget, "a mixture needs a positive budget", at, "set `tokens` and `max_epochs` above 0")


def _check_balance(mixture: Mixture, recipe: Recipe, at: str) -> None:
    one = bool(mixture.weights) != bool(mixture.sources)
    need(one, "a mixture needs either `weights` or `sources`", at, "declare shares, or name sources to be balanced")
    for name in mixture.sources:
        known(name, {**recipe.source, **recipe.shards}, f"{at}.sources", "source")
        need(mixture.sources.count(name) == 1, f"`{name}` is named twice", f"{at}.sources", "name it once")
        again = mixture.replay > 0 and mixture.replay_weights.get(name, 0.0) > 0
        need(not again, f"`{name}` is also replayed", f"{at}.sources", "name it in one of the two, or write `weights`")
    check_share(mixture.alpha, f"{at}.alpha")
    need(bool(mixture.sources) or not mixture.alpha, "nothing is balanced", f"{at}.alpha", "write it with `sources`")


def check_sources(names: Iterable[str], recipe: Recipe, at: str) -> None:
    need(bool([*names]), "no source is named", at, "name one or more")
    for name in names:
        known(name, recipe.source, at, "source")
