"""The shapes of a recipe: frozen dataclasses, one for each table. The comment of a field is its documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from aurora_m.core.address import Address, public
from aurora_m.core.typed import Count


@dataclass(frozen=True)
class Scratch:
    """A base model that the run trains itself, in the stage named `base`."""

    arch: Literal["llama", "gpt_bigcode"]  # model family
    layers: int  # transformer blocks
    width: int  # of the model
    heads: int  # of attention
    kv_heads: int  # of keys and values; gpt_bigcode has 1, which is multi-query attention
    positions: Count  # the longest row, in tokens
    vocab: Count  # tokens of the tokenizer
    tokenizer_sources: tuple[str, ...]  # that the tokenizer is trained on


@dataclass(frozen=True)
class Shape:
    """The shape of a base that is not there yet, by which a run is planned; checked when the base is fetched."""

    arch: Literal["llama", "gpt_bigcode"]  # model family
    layers: int  # transformer blocks
    width: int  # of the model
    heads: int  # of attention
    kv_heads: int  # of keys and values
    positions: Count  # the longest row that it was made for, in tokens
    vocab: Count  # tokens of the tokenizer
    inner: Count = Count(0)  # width of the feed-forward layers; 0: as in a base from scratch
    tied: bool = True  # the head is the embeddings


@dataclass(frozen=True)
class Extend:
    """New tokens for the base's tokenizer, learned on some sources, and rows for them in the model."""

    tokens: Count  # how many new ones
    sources: tuple[str, ...]  # that they are learned on
    init: Literal["subtokens", "mean", "random"] = "subtokens"  # a row: mean of its parts' rows, mean of all, or noise


@dataclass(frozen=True)
class Base:
    """The model to go on from: a Hugging Face folder or pinned hub id, or one from scratch."""

    model: str = ""  # hf:owner/name, file:folder, file:model.gguf or python:package/model.gguf
    revision: str = ""  # the commit of a hub model, 40 hex digits
    end_token: str = ""  # of `model`: that ends a document, where its files do not say it, or name several
    scratch: Scratch | None = None  # instead of `model`: see [base.scratch]
    shape: Shape | None = None  # of `model`, before it is there: see [base.shape]
    extend: Extend | None = None  # new tokens: see [base.extend]


@dataclass(frozen=True)
class Source:
    """Text from one place, in one language, under one licence."""

    uri: str  # file:GLOB, hf:owner/name, python:stdlib, sample:NAME or self:base
    lang: str  # ISO 639-1, `code`, or `mul` for many
    license: str  # of the texts
    curate: str  # the [curate] table that applies
    revision: str = ""  # the commit of a hub data set, 40 hex digits
    form: Literal["text", "instruction", "arxiv", "uspto", "stackexchange"] = "text"  # how fields become text
    held_out: float = 0.0  # share of documents never trained on, for bits per byte
    documents: Count = Count(0)  # that the base writes, of `self:base` only

    def __post_init__(self) -> None:
        """Keep what is secret in the address out of all that is made of the recipe: texts, keys and pages."""
        if public(self.uri) != self.uri:
            object.__setattr__(self, "uri", Address(self.uri))


@dataclass(frozen=True)
class Shards:
    """Text that comes already tokenized, by the base's tokenizer; read as it stands, without curation."""

    uri: str  # megatron:PREFIX of the files PREFIX.bin and PREFIX.idx, relative to the recipe; may be a glob
    lang: str  # ISO 639-1, `code`, or `mul` for many
    license: str  # of the texts


@dataclass(frozen=True)
class Curate:
    """Which documents stay, as one expression over columns and named rules, and how those that stay are rewritten."""

    keep: str  # expression over columns and rules; what fails it leaves
    mask: tuple[str, ...] = ()  # kinds of personal data and secrets
    repo_marks: float = 0.0  # of code: probability of each of the marks of repository, file and stars before a file
    boilerplate_pages: int = 0  # drop lines that stand on so many pages of one site; 0: none
    words: str = ""  # file:GLOB of terms, one a line, that count as toxic beside those that ship


@dataclass(frozen=True)
class Quality:
    """A column of its name: how likely a document is of the positive sources rather than of the negative ones."""

    positive: tuple[str, ...]  # sources, such as pages that reference sites link to
    negative: tuple[str, ...]  # sources
    max_docs: Count = Count(100_000)  # learned from, on each side


@dataclass(frozen=True)
class Register:
    """Columns of its name: a document's kind of text, how likely it is, and whether it stays when kinds are thinned."""

    sources: tuple[str, ...]  # whose documents say their register
    label: str  # field of their metadata
    # the most that a register may be of the bytes that stay; of labels with 10 documents or more
    shares: Mapping[str, float] = field(default_factory=dict)
    max_docs: Count = Count(100_000)  # learned from


@dataclass(frozen=True)
class Duplicates:
    """When two documents are near-duplicates."""

    near: float = 0.8  # Jaccard similarity of 5-word shingles


@dataclass(frozen=True)
class Perplexity:
    """The column `perplexity` of its language: how far a document is from clean text."""

    sources: tuple[str, ...]  # of clean text
    max_bytes: Count = Count(64_000_000)  # learned from


@dataclass(frozen=True)
class Mixture:
    """What a stage reads: a budget, shares of new sources, and a declared share of replay."""

    tokens: Count  # budget
    weights: Mapping[str, float] = field(default_factory=dict)  # of what is not replay; 1 in all. Or `sources`
    unit: Literal["bytes", "documents", "tokens"] = "bytes"  # what weights and replay are shares of
    replay: float = 0.0  # share that is replay
    replay_weights: Mapping[str, float] = field(default_factory=dict)  # of each source in the replay; 1 in all
    max_epochs: float = 4.0  # up to 4 is nearly as good as new (Muennighoff et al. 2023, arXiv 2305.16264)
    fim: Mapping[str, float] = field(default_factory=dict)  # share of a source's documents to fill in the middle of
    # instead of `weights`: balanced by their sizes, none read more than `max_epochs` times
    sources: tuple[str, ...] = ()
    # of `sources`: shares as size to this power. 0: equal parts (UniMax, arXiv 2304.09151); 0.3: as XLM-R (arXiv
    # 1911.02116); 1: as large as the sources
    alpha: float = 0.0
    # documents end to end, cut where a row ends, or whole where they fit a row (arXiv 2404.10830)
    packing: Literal["concat", "best_fit"] = "concat"

    def shares(self) -> dict[str, float]:
        """The declared share of every source, replay included; they add up to 1, or, with `sources`, to the replay."""
        shares = {name: weight * (1 - self.replay) for name, weight in self.weights.items()}
        for name, weight in self.replay_weights.items():
            shares[name] = shares.get(name, 0.0) + weight * self.replay
        return {name: share for name, share in shares.items() if share > 0}

    def more_replay(self, share: float) -> "Mixture":
        """Nothing but replay: as much as this mixture has, and a further share of its tokens."""
        tokens = Count(round(self.tokens * (self.replay + share)))
        return replace(self, tokens=tokens, weights=self.replay_weights, replay=0.0, replay_weights={}, sources=())

    def reads(self) -> list[str]:
        """All sources that are read, those that are balanced last."""
        return [*self.shares(), *self.sources]


@dataclass(frozen=True)
class Anchor:
    """What holds a model near the one that it starts from."""

    kl: float = 0.0  # weight of KL(start ‖ model), in nats a token, on rows of `mixture`
    mixture: str = ""  # of text like that which the start learned from; read again when it ends
    batch_tokens: Count = Count(0)  # tokens of it an optimizer step, besides the stage's own: whole rows
    l2: float = 0.0  # weight of half the squared distance of the weights that learn from where they started


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters, merged into the weights at the end."""

    rank: int  # of an adapter
    alpha: int = 32  # an adapter's product is scaled by `alpha` / `rank`


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training step says: where it starts, how long its rows are, and how fast it learns."""

    start: str  # `base`, an earlier model, or `scratch`
    row_tokens: Count  # length of a row
    batch_tokens: Count  # tokens an optimizer step
    peak_lr: float  # learning rate after warm-up
    end_lr: float  # learning rate at the end
    warmup_tokens: Count  # in which the learning rate rises
    schedule: Literal["cosine", "wsd", "infinite", "constant"] = "cosine"  # shape of the learning rate
    # last share of a wsd or infinite schedule, in which it goes down to `end_lr`; 0: it does not
    decay_share: float = 0.2
    cooldown_tokens: Count = Count(0)  # in which an infinite schedule goes from `peak_lr` to `constant_lr`
    constant_lr: float = 0.0  # that an infinite schedule holds
    horizon_tokens: Count = Count(0)  # of the whole curve, which may end after this step; 0: it ends with it
    continues: bool = False  # go on along the curve of `start`, which has the same keys, from where it ended
    optimizer_state: Literal["fresh", "reuse"] = "fresh"  # `reuse`: as `start`, a step of this recipe, left it
    # `muon`: for the matrices between the embeddings, those of experts too; AdamW for the rest, routers too
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.1  # of matrices
    beta2: float = 0.95  # of AdamW
    clip: float = 1.0  # largest gradient norm
    # patterns of names of weights, such as "model.layers.1?.*", that learn; none: all, or the new blocks
    train: tuple[str, ...] = ()
    expand: int = 0  # blocks to insert, spread evenly, which change nothing before they learn
    lora: Lora | None = None  # only adapters learn: see [stage.lora]
    anchor: Anchor | None = None  # what holds the model near its start: see [stage.anchor]
    ema: float = 0.0  # decay of a moving average of the weights, which is measured and becomes the model; 0: none
    # last share of a constant schedule whose weights are merged as if the rate had decayed by 1 - sqrt (arXiv
    # 2507.17634); the merge is measured and becomes the model
    wsm: float = 0.0
    guard: Literal["stop", "skip", "rewind"] = "stop"  # what follows a loss or gradient that is not finite, or a spike
    spike: float = 8.0  # robust standard deviations above the last 128 steps; `stop` knows none, but a loss run away
    eval_points: int = 4  # even distances at which held-out text is measured
    # the most that bits per byte of an `evals.old` language may rise over the base, relatively; 0: no budget
    max_old_rise: float = 0.0
    over_budget: Literal["warn", "pause", "raise"] = "warn"  # `pause`: for people; `raise`: more replay for the rest

    def settings(self) -> "Training":
        """What a stage or a tuning says of training, alone. `start` is empty: that model is an input of the step."""
        return Training(**{**{f.name: getattr(self, f.name) for f in fields(Training)}, "start": ""})


@dataclass(frozen=True, kw_only=True)
class Stage(Training):
    """One training stage over a mixture."""

    name: str  # of the model that the stage makes
    mixture: str  # the [mixture] table that is read


@dataclass(frozen=True)
class Redteam:
    """Safety prompts with drafted answers and benign twins, in several languages."""

    rows: str  # file:GLOB or sample:NAME


@dataclass(frozen=True)
class Review:
    """Who must agree before a safety row is trained on."""

    decisions: str  # file:PATH or sample:NAME of the ledger
    reviewers: int = 2  # who must agree on a row


@dataclass(frozen=True, kw_only=True)
class Tune(Training):
    """Supervised tuning on the reviewed safety rows, between rows of replay."""

    epochs: int  # over the reviewed rows
    mixture: str = ""  # what the replay is read from
    replay: float = 0.0  # share of rows


@dataclass(frozen=True)
class Merge:
    """A model made of others' weights, without training; with `sweep`, one for each scale."""

    # made before it, all of one shape, and their weights; without `origin` these add up to 1
    models: Mapping[str, float]
    # `linear`: the sum of the models, or with `origin` of their changes (arXiv 2203.05482, 2212.04089); `ties`: small
    # changes left out, then for each weight the mean of those of the stronger sign (arXiv 2306.01708)
    method: Literal["linear", "ties"] = "linear"
    origin: str = ""  # the model whose changes are merged: what `models` have that it has not; for `ties` and `sweep`
    density: float = 0.2  # of `ties`: the share of each change, its largest entries, that stays
    # how far along the way from the origin: [0.25, 0.5] makes NAME_25 and NAME_50; none: all the way
    sweep: tuple[float, ...] = ()

    def reads(self) -> list[str]:
        """All models that it is made of, the origin last."""
        return [*self.models, *([self.origin] if self.origin else [])]

    def scales(self, name: str) -> dict[str, float]:
        """The models that it makes, with the scale of each."""
        return {f"{name}_{100 * scale:g}": scale for scale in self.sweep} or {name: 1.0}


@dataclass(frozen=True)
class Evals:
    """What every model of the chain is measured on, fixed before training."""

    suites: tuple[str, ...]  # names, or file:PATH.jsonl
    old: tuple[str, ...]  # languages the base could already do, that must not be lost
    margins: Mapping[str, float]  # relative rise of bits per byte that counts as none, for each old language
    max_new_tokens: int = 48  # of a generated answer
    max_held_bytes: Count = Count(200_000)  # of held-out text for each source


@dataclass(frozen=True)
class Release:
    """Which model leaves the house, under what licence."""

    model: str  # which model
    license: str  # of the weights
    dtype: Literal["base", "float32", "bfloat16", "float16"] = "base"  # of the weights; `base`: as the base's files


@dataclass(frozen=True)
class Recipe:
    """One run, from raw text to a released model."""

    name: str  # the run; names of artifacts begin with it
    seed: int  # of all that is random
    base: Base
    source: Mapping[str, Source]
    curate: Mapping[str, Curate]
    mixture: Mapping[str, Mixture]
    stage: tuple[Stage, ...]
    evals: Evals
    release: Release
    duplicates: Duplicates = Duplicates()
    quality: Mapping[str, Quality] = field(default_factory=dict)
    register: Mapping[str, Register] = field(default_factory=dict)
    perplexity: Mapping[str, Perplexity] = field(default_factory=dict)
    redteam: Redteam | None = None
    review: Review | None = None
    tune: Mapping[str, Tune] = field(default_factory=dict)
    shards: Mapping[str, Shards] = field(default_factory=dict)
    merge: Mapping[str, Merge] = field(default_factory=dict)

    def models(self) -> list[str]:
        """The chain of models in the order they are made, the base first."""
        return list(dict.fromkeys(["base", *(stage.name for stage in self.stage), *self.merges(), *self.tune]))

    def merges(self) -> dict[str, tuple[Merge, float]]:
        """Every merged model, with its table and its scale."""
        return {made: (how, scale) for name, how in self.merge.items() for made, scale in how.scales(name).items()}

    def shares(self, training: Stage | Tune) -> dict[str, float]:
        """The sources that a training step reads, with their declared shares."""
        return self.mixture[training.mixture].shares() if training.mixture else {}

    def mixtures(self, training: Stage | Tune) -> list[str]:
        """The mixtures that a training step reads: its own, and its anchor's."""
        found = [training.mixture, training.anchor.mixture if training.anchor else ""]
        return [name for name in found if name]
