"""The recipe: what a run makes. Frozen dataclasses, strict TOML in, canonical TOML out.

A recipe holds no device and no worker count, and no path but `file:` names relative to itself: where and how
a run happens is `Runtime`.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aurora_m.core.errors import RecipeError
from aurora_m.core.typed import Count, build, plain

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what can be a folder anywhere
MASKS = ("email", "iban", "ip", "card", "phone")  # as data/pii.py finds them

# What a number may be, by its key wherever that stands.
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "seed": (lambda n: 0 <= n < 2**32, "write an integer from 0 to 4294967295"),
    "near": (lambda n: 0 < n <= 1, "write a number above 0 and up to 1"),
    **dict.fromkeys(("reviewers", "epochs", "max_new_tokens", "max_held"), (lambda n: n >= 1, "write 1 or more")),
    "weight_decay": (lambda n: n >= 0, "write 0 or more"),
    "beta2": (lambda n: 0 <= n < 1, "write a number from 0 and below 1"),
    "clip": (lambda n: n > 0, "write a number above 0"),
}

# ISO 639-1, and two words of ours: source code, and many languages in one source.
LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en"  # noqa: SIM905
    " eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv"
    " ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne"
    " ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st"
    " su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu code mul".split()
)


@dataclass(frozen=True)
class Scratch:
    """A base model that the run trains itself, in the stage named `base`."""

    arch: Literal["llama", "gpt_bigcode"]
    layers: int
    width: int
    heads: int
    kv_heads: int  # gpt_bigcode has 1, which is multi-query attention
    positions: Count
    vocab: Count
    tokenizer_sources: tuple[str, ...]  # that the tokenizer is trained on


@dataclass(frozen=True)
class Base:
    """The model to go on from: a Hugging Face folder or pinned hub id, or one from scratch."""

    model: str = ""  # hf:owner/name or file:folder
    revision: str = ""  # the commit of a hub model, 40 hex digits
    scratch: Scratch | None = None


@dataclass(frozen=True)
class Source:
    """Text from one place, in one language, under one licence."""

    uri: str  # file:GLOB, hf:owner/name, python:stdlib or sample:NAME
    lang: str
    license: str
    curate: str
    revision: str = ""
    form: Literal["text", "instruction"] = "text"
    held_out: float = 0.0  # share of documents never trained on, for bits per byte


@dataclass(frozen=True)
class Curate:
    """Which documents stay, as one expression over signal columns, and what is masked in them."""

    keep: str
    mask: tuple[str, ...] = ()


@dataclass(frozen=True)
class Duplicates:
    """When two documents are near-duplicates."""

    near: float = 0.8  # Jaccard similarity of 5-word shingles


@dataclass(frozen=True)
class Mixture:
    """What a stage reads: a budget, shares of new sources, and a declared share of replay."""

    tokens: Count
    weights: Mapping[str, float]  # of what is not replay; they add up to 1
    unit: Literal["bytes", "documents", "tokens"] = "bytes"  # what weights and replay are shares of
    replay: float = 0.0
    replay_weights: Mapping[str, float] = field(default_factory=dict)
    max_epochs: float = 4.0  # Muennighoff et al. 2023 (arXiv 2305.16264): up to 4 is nearly as good as new
    fim: Mapping[str, float] = field(default_factory=dict)  # share of documents to fill in the middle of

    def shares(self) -> dict[str, float]:
        """The share of every source, replay included; they add up to 1."""
        shares = {name: weight * (1 - self.replay) for name, weight in self.weights.items()}
        for name, weight in self.replay_weights.items():
            shares[name] = shares.get(name, 0.0) + weight * self.replay
        return {name: share for name, share in shares.items() if share > 0}


@dataclass(frozen=True)
class Stage:
    """One training stage over a mixture."""

    name: str
    start: str  # `base`, an earlier stage, or `scratch`
    mixture: str
    row_tokens: Count
    batch: Count  # tokens an optimizer step
    peak_lr: float
    end_lr: float
    warmup: Count  # tokens
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    decay_share: float = 0.2  # of a wsd schedule
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.1
    beta2: float = 0.95
    clip: float = 1.0


@dataclass(frozen=True)
class Redteam:
    """Safety prompts with drafted answers and benign twins, in several languages."""

    rows: str  # file:GLOB or sample:NAME


@dataclass(frozen=True)
class Review:
    """Who must agree before a safety row is trained on."""

    decisions: str  # file:PATH or sample:NAME of the ledger
    reviewers: int = 2


@dataclass(frozen=True)
class Tune:
    """Supervised tuning on the reviewed safety rows, between rows of replay."""

    start: str
    epochs: int
    row_tokens: Count
    batch: Count
    peak_lr: float
    end_lr: float
    warmup: Count
    mixture: str = ""  # what the replay is read from
    replay: float = 0.0  # share of rows
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    decay_share: float = 0.2
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.1
    beta2: float = 0.95
    clip: float = 1.0


@dataclass(frozen=True)
class Evals:
    """What every model of the chain is measured on, fixed before training."""

    suites: tuple[str, ...]
    old: tuple[str, ...]  # languages the base could already do, that must not be lost
    margins: Mapping[str, float]  # relative rise of bits per byte that counts as none, for each old language
    max_new_tokens: int = 48
    max_held: Count = Count(200_000)  # noqa: RUF009  # bytes of held-out text for each source


@dataclass(frozen=True)
class Release:
    """Which model leaves the house, under what licence."""

    model: str
    license: str


@dataclass(frozen=True)
class Recipe:
    """One run, from raw text to a released model."""

    name: str
    seed: int
    base: Base
    source: Mapping[str, Source]
    curate: Mapping[str, Curate]
    mixture: Mapping[str, Mixture]
    stage: tuple[Stage, ...]
    evals: Evals
    release: Release
    duplicates: Duplicates = Duplicates()
    redteam: Redteam | None = None
    review: Review | None = None
    tune: Mapping[str, Tune] = field(default_factory=dict)

    def models(self) -> list[str]:
        """The chain of models in the order they are made, the base first."""
        return list(dict.fromkeys(["base", *(stage.name for stage in self.stage), *self.tune]))

    def shares(self, training: Stage | Tune) -> dict[str, float]:
        """The sources that a training step reads, with their shares."""
        return self.mixture[training.mixture].shares() if training.mixture else {}


def load(path: Path) -> Recipe:
    """Read and check a recipe file. RecipeError names the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "give the path of a TOML file"
        raise RecipeError(f"cannot read the recipe: {error}", at=str(path), hint=hint) from error
    return loads(text, str(path))


def loads(text: str, at: str = "recipe") -> Recipe:
    """Parse and check the text of a recipe."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "strings need quotes; a table starts with [name]"
        raise RecipeError(f"not TOML: {error}", at=at, hint=hint) from error
    recipe = build(Recipe, data)
    check(recipe)
    return recipe


def dumps(recipe: Recipe) -> str:
    """Write a recipe as canonical TOML: declared order, defaults left out. `loads` gives it back."""
    import tomli_w

    return tomli_w.dumps(plain(recipe))


def check(recipe: Recipe) -> None:
    """Check all that concerns more than one value. RecipeError names the first thing that is wrong."""
    _named(recipe.name, "name")
    for table in ("source", "curate", "mixture", "tune"):
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
        for kind in curate.mask:
            known(kind, MASKS, f"curate.{name}.mask", "kind to mask")
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
        near = difflib.get_close_matches(name, names, 1)
        listed = ", ".join(f"`{n}`" for n in names[:12]) + (", ..." if len(names) > 12 else "")
        hint = "use its ISO 639-1 code" if what == "language" and len(names) > 12 else f"there are {listed or 'none'}"
        hint = f"did you mean `{near[0]}`?" if near else hint
        raise RecipeError(f"there is no {what} `{name}`", at=at, hint=hint)
