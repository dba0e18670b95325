"""Mixtures: from declared or balanced shares and a budget to exact rows and epochs for each source, or an error.

mixture.json   what is read of each source
packs/NAME/    the rows of a source, where they are packed by best fit
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import from_json, to_json
from aurora_m.core.files import read_json, write_json
from aurora_m.core.step import Artifact, Work
from aurora_m.tokens.packing import cut_end_to_end, pack
from aurora_m.tokens.shards import ShardFacts, Shards

FILE, PACKS = "mixture.json", "packs"
SIZE: dict[str, Callable[[ShardFacts], int]] = {  # of a source, by the unit of its share
    "tokens": lambda source: source.tokens,
    "documents": lambda source: source.docs,
    "bytes": lambda source: source.bytes,
}
SLACK = 1e-9  # by which arithmetic may miss a bound

Packing: TypeAlias = Literal["concat", "best_fit"]
Unit: TypeAlias = Literal["bytes", "documents", "tokens"]


@dataclass(frozen=True)
class Cut:
    """What it takes to cut a source into rows."""

    rows_an_epoch: int
    cut_docs: int  # that lie in more than one row
    padding: float  # share of its rows that is none of its text
    cut_docs_concat: int | None = None  # that would, where rows are packed by best fit


@dataclass(frozen=True)
class SourceMix:
    """What a mixture reads of a source."""

    share: float  # in the mixture's unit
    token_share: float
    row_share: float
    unit_a_token: float  # units that a token is
    rows: int
    epochs: float
    fim: float  # share of documents whose middle is filled in
    rows_an_epoch: int
    cut_docs: int
    padding: float
    cut_docs_concat: int | None = None


@dataclass(frozen=True)
class MixtureFacts:
    """A resolved mixture: what mixture.json says."""

    rows: int
    row_tokens: int
    unit: Unit
    packing: Packing
    sources: Mapping[str, SourceMix]


@dataclass(frozen=True)
class SourceRead:
    """What was read of a source: tokens learnt from, their share, that in the mixture's unit, and epochs."""

    tokens: int
    token_share: float
    share: float
    epochs: float


def mix(  # noqa: PLR0913  # a step
    work: Work,
    *,
    shards: dict[str, Artifact],
    name: str,
    shares: Mapping[str, float],
    unit: Unit,
    tokens: int,
    row_tokens: int,
    max_epochs: float,
    fim: Mapping[str, float],
    packing: Packing = "concat",
    sources: Sequence[str] | None = None,
    alpha: float = 0.0,
) -> MixtureFacts:
    """Resolve a mixture and write mixture.json: for each source its share of tokens, rows, rows an epoch, and epochs.

    shares   what each source is to have, in `unit`; they add up to 1, or, where there are `sources`, to the replay
    sources  those that divide what is not replay among them: see `balanced`
    packing  concat or best_fit: how rows are made, see `packing`
    errors   RecipeError if a source would be read more than `max_epochs` times, or is shorter than one row
    """
    num_rows = tokens // row_tokens
    sizes = {source: given.read(ShardFacts) for source, given in shards.items()}
    cuts: dict[str, Cut] = {}
    with work.log.bar("rows", len(shards), "sources") as bar:
        for number, source in enumerate(sorted(shards), 1):
            cuts[source] = _cut(work, source, shards[source], row_tokens, packing, bool(fim.get(source)))
            bar.update(number)
    for source in shards:
        if not cuts[source].rows_an_epoch:
            raise _too_small(name, source, math.inf, max_epochs)
    padding = {source: cut.padding for source, cut in cuts.items()}
    if sources:
        size = {source: SIZE[unit](about) for source, about in sizes.items()}
        rows = {s: sizes[s].tokens / size[s] / (1 - padding[s]) / row_tokens for s in cuts}  # a unit takes
        replay = sum(shares.values())
        beside = sum(share * rows[source] for source, share in shares.items()) / (1 - replay)  # replay of a unit takes
        powers = {source: size[source] ** alpha for source in sources}
        most = {source: max_epochs * cuts[source].rows_an_epoch / rows[source] for source in sources}
        parts = balanced(powers, most, {source: rows[source] + beside for source in sources}, num_rows)
        if parts is None:
            raise _too_little(name, max_epochs)
        shares = {**shares, **{source: part * (1 - replay) for source, part in parts.items()}}
    weights = token_shares(shares, unit, sizes)
    by_row = row_shares(weights, padding)
    made: dict[str, SourceMix] = {}
    for source, weight in weights.items():
        cut, about = cuts[source], sizes[source]
        epochs = by_row[source] * num_rows / cut.rows_an_epoch
        if epochs > max_epochs * (1 + SLACK):
            raise _too_small(name, source, epochs, max_epochs)
        made[source] = SourceMix(
            share=shares[source],
            token_share=round(weight, 9),
            row_share=round(by_row[source], 9),
            unit_a_token=round(SIZE[unit](about) / about.tokens, 9),
            rows=round(by_row[source] * num_rows),
            epochs=round(epochs, 4),
            fim=fim.get(source, 0.0),
            rows_an_epoch=cut.rows_an_epoch,
            cut_docs=cut.cut_docs,
            padding=cut.padding,
            cut_docs_concat=cut.cut_docs_concat,
        )
    facts = MixtureFacts(num_rows, row_tokens, unit, packing, made)
    write_json(work.out / FILE, to_json(facts))
    return facts


def read_mixture(folder: Path) -> MixtureFacts:
    """What mixture.json of a folder says."""
    return from_json(MixtureFacts, read_json(folder / FILE), str(folder / FILE))


def _cut(work: Work, source: str, given: Artifact, row_tokens: int, packing: Packing, filled: bool) -> Cut:
    """Make a source's rows, if they are not just its tokens end to end, and count them and what they cut and pad."""
    shards, tokens = Shards.of(given), given.read(ShardFacts).tokens
    cut = cut_end_to_end(shards, row_tokens)
    if packing == "concat":
        return Cut(max(0, tokens - 1) // row_tokens, cut, 0.0)
    packed = pack(shards, row_tokens, filled, work.out / PACKS / source)
    padding = 1 - tokens / (packed["rows"] * row_tokens) if packed["rows"] else 0.0
    return Cut(packed["rows"], packed["cut_docs"], round(padding, 6), cut)


def balanced(
    powers: Mapping[str, float], most: Mapping[str, float], cost: Mapping[str, float], budget: float
) -> dict[str, float] | None:
    """Divide a budget by powers, none more than it has; what one cannot take goes to the others. They add up to 1.

    With powers of 1 this is UniMax (Chung et al. 2023, arXiv 2304.09151, algorithm 1): equal parts, but no source more
    than so many times. With the powers size ** alpha and no source at its bound it is sampling with a temperature
    (Lample and Conneau 2019, arXiv 1901.07291, section 3.1: alpha 0.5 and 0.7; XLM-R, arXiv 1911.02116: 0.3).

    most     of each source, in the unit of the shares
    cost     of a unit of each source
    budget   in what costs are in
    returns  the share of each, in the unit; None if all of all sources is less than the budget
    """
    parts: dict[str, float] = {}
    left = sorted(powers, key=lambda source: (most[source] / powers[source], source))
    while left:
        part = budget / sum(powers[source] * cost[source] for source in left)
        if part * powers[left[0]] <= most[left[0]] * (1 + SLACK):
            parts |= {source: part * powers[source] for source in left}
            break
        scarce = left.pop(0)
        parts[scarce] = most[scarce]
        budget -= most[scarce] * cost[scarce]
    else:
        return None
    total = sum(parts.values())
    return {source: parts[source] / total for source in powers}


def token_shares(shares: Mapping[str, float], unit: Unit, sizes: Mapping[str, ShardFacts]) -> dict[str, float]:
    """Turn shares of bytes or documents into shares of tokens.

    The same text costs unlike tokens in unlike languages, so equal bytes are unequal tokens.
    """
    cost = {}
    for source, share in shares.items():
        tokens, whole = sizes[source].tokens, SIZE[unit](sizes[source])
        cost[source] = share * tokens / whole if whole else share
    return _whole(cost)


def row_shares(weights: Mapping[str, float], padding: Mapping[str, float]) -> dict[str, float]:
    """Turn shares of tokens into shares of rows, which hold fewer tokens where they have padding."""
    return _whole({source: weight / (1 - padding[source]) for source, weight in weights.items()})


def achieved(plan: MixtureFacts, tokens: Mapping[str, float]) -> dict[str, SourceRead]:
    """What was read of each source of a mixture: `tokens` learnt from, those of infilling marks too."""
    units = _whole({name: tokens.get(name, 0.0) * about.unit_a_token for name, about in plan.sources.items()})
    shares = _whole({name: tokens.get(name, 0.0) for name in plan.sources})
    found = {}
    for name, about in plan.sources.items():
        read, an_epoch = tokens.get(name, 0.0), about.rows_an_epoch * plan.row_tokens * (1 - about.padding)
        share, epochs = round(units[name], 6), round(read / an_epoch, 4)
        found[name] = SourceRead(tokens=round(read), token_share=round(shares[name], 6), share=share, epochs=epochs)
    return found


def _whole(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values()) or 1.0
    return {name: part / total for name, part in parts.items()}


def _too_small(mixture: str, source: str, epochs: float, max_epochs: float) -> RecipeError:
    too_often = f"would be read {epochs:.1f} times, more than {max_epochs:g}"
    return RecipeError(
        f"source `{source}` {'is shorter than one row' if math.isinf(epochs) else too_often}",
        at=f"mixture.{mixture}",
        hint="lower its weight or the budget, add text to the source, or raise `max_epochs`",
    )


def _too_little(mixture: str, max_epochs: float) -> RecipeError:
    return RecipeError(
        f"all of its `sources`, read {max_epochs:g} times, are less than the budget",
        at=f"mixture.{mixture}",
        hint="lower `tokens`, add text or sources, or raise `max_epochs`",
    )
