"""Mixtures: from declared or balanced shares and a budget to exact rows and epochs for each source, or an error.

mixture.json   what is read of each source
packs/NAME/    the rows of a source, where they are packed by best fit
"""

import math
from collections.abc import Mapping
from typing import Any

from aurora_m.core.errors import RecipeError
from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.tokens.packing import cut_end_to_end, pack
from aurora_m.tokens.shards import Shards

FILE, PACKS = "mixture.json", "packs"
SIZE = {"tokens": "tokens", "documents": "docs", "bytes": "bytes"}  # of a source, by the unit of its share
SLACK = 1e-9  # by which arithmetic may miss a bound


def mix(
    work: Work,
    *,
    shards: dict[str, Artifact],
    name: str,
    shares: dict[str, float],
    unit: str,
    tokens: int,
    row_tokens: int,
    max_epochs: float,
    fim: dict[str, float],
    packing: str = "concat",
    sources: list[str] | None = None,
    alpha: float = 0.0,
) -> Facts:
    """Resolve a mixture and write mixture.json: for each source its share of tokens, rows, rows an epoch, and epochs.

    shares   what each source is to have, in `unit`; they add up to 1, or, where there are `sources`, to the replay
    sources  those that divide what is not replay among them: see `balanced`
    packing  concat or best_fit: how rows are made, see `packing`
    returns  what is in the file; of each source also `cut_docs`, documents that lie in more than one row, `padding`,
             the share of its rows that is none of its text, and with best_fit `cut_docs_concat`, for comparison
    errors   RecipeError if a source would be read more than `max_epochs` times, or is shorter than one row
    """
    sizes = {source: given.facts for source, given in shards.items()}
    num_rows = tokens // row_tokens
    made: dict[str, Facts] = {}
    with work.log.bar("rows", len(shards), "sources") as bar:
        for number, source in enumerate(sorted(shards), 1):
            made[source] = _rows(work, source, shards[source], row_tokens, packing, bool(fim.get(source)))
            bar.update(number)
    for source in shards:
        if not made[source]["rows_an_epoch"]:
            raise _too_small(name, source, math.inf, max_epochs)
    an_epoch = {source: _int(about["rows_an_epoch"]) for source, about in made.items()}
    padding = {source: _float(about["padding"]) for source, about in made.items()}
    if sources:
        size = {source: _size(sizes[source], unit) for source in made}
        rows = {s: _int(sizes[s]["tokens"]) / size[s] / (1 - padding[s]) / row_tokens for s in made}  # a unit takes
        replay = sum(shares.values())
        beside = sum(share * rows[source] for source, share in shares.items()) / (1 - replay)  # replay of a unit takes
        powers = {source: size[source] ** alpha for source in sources}
        most = {source: max_epochs * an_epoch[source] / rows[source] for source in sources}
        parts = balanced(powers, most, {source: rows[source] + beside for source in sources}, num_rows)
        if parts is None:
            raise _too_little(name, max_epochs)
        shares = {**shares, **{source: part * (1 - replay) for source, part in parts.items()}}
    weights = token_shares(shares, unit, sizes)
    by_row = row_shares(weights, padding)
    found: dict[str, Facts] = {}
    for source, weight in weights.items():
        epochs = by_row[source] * num_rows / an_epoch[source]
        if epochs > max_epochs * (1 + SLACK):
            raise _too_small(name, source, epochs, max_epochs)
        found[source] = {
            "share": shares[source],
            "token_share": round(weight, 9),
            "row_share": round(by_row[source], 9),
            "unit_a_token": round(_size(sizes[source], unit) / _int(sizes[source]["tokens"]), 9),
            "rows": round(by_row[source] * num_rows),
            "epochs": round(epochs, 4),
            "fim": fim.get(source, 0.0),
            **made[source],
        }
    facts: Facts = {"rows": num_rows, "row_tokens": row_tokens, "unit": unit, "packing": packing, "sources": {**found}}
    write_json(work.out / FILE, facts)
    return facts


def _rows(work: Work, source: str, given: Artifact, row_tokens: int, packing: str, filled: bool) -> Facts:
    """Make a source's rows, if they are not just its tokens end to end, and count them and what they cut and pad."""
    shards, tokens = Shards.of(given), _int(given.facts["tokens"])
    cut = cut_end_to_end(shards, row_tokens)
    if packing == "concat":
        return {"rows_an_epoch": max(0, tokens - 1) // row_tokens, "cut_docs": cut, "padding": 0.0}
    packed = pack(shards, row_tokens, filled, work.out / PACKS / source)
    padding = 1 - tokens / (packed["rows"] * row_tokens) if packed["rows"] else 0.0
    about: Facts = {"cut_docs": packed["cut_docs"], "padding": round(padding, 6), "cut_docs_concat": cut}
    return {"rows_an_epoch": packed["rows"], **about}


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


def token_shares(shares: Mapping[str, float], unit: str, sizes: Mapping[str, Facts]) -> dict[str, float]:
    """Turn shares of bytes or documents into shares of tokens.

    The same text costs unlike tokens in unlike languages, so equal bytes are unequal tokens.
    """
    cost = {}
    for source, share in shares.items():
        tokens, whole = _float(sizes[source]["tokens"]), _size(sizes[source], unit)
        cost[source] = share * tokens / whole if whole else share
    return _whole(cost)


def row_shares(weights: Mapping[str, float], padding: Mapping[str, float]) -> dict[str, float]:
    """Turn shares of tokens into shares of rows, which hold fewer tokens where they have padding."""
    return _whole({source: weight / (1 - padding[source]) for source, weight in weights.items()})


def achieved(plan: Mapping[str, Any], tokens: Mapping[str, float]) -> Facts:
    """What was read of each source of a mixture: tokens learnt from, their share, that in the unit, and epochs.

    plan    of mixture.json
    tokens  learnt from, of each source; the marks of infilling count
    """
    sources, row_tokens = plan["sources"], plan["row_tokens"]
    units = _whole({name: tokens.get(name, 0.0) * about["unit_a_token"] for name, about in sources.items()})
    shares = _whole({name: tokens.get(name, 0.0) for name in sources})
    return {
        name: {
            "tokens": round(tokens.get(name, 0.0)),
            "token_share": round(shares[name], 6),
            "share": round(units[name], 6),
            "epochs": round(tokens.get(name, 0.0) / (about["rows_an_epoch"] * row_tokens * (1 - about["padding"])), 4),
        }
        for name, about in sources.items()
    }


def _whole(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values()) or 1.0
    return {name: part / total for name, part in parts.items()}


def _size(facts: Facts, unit: str) -> float:
    return _float(facts[SIZE[unit]])


def _float(value: object) -> float:
    return float(str(value))


def _int(value: object) -> int:
    return int(str(value))


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
