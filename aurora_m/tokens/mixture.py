"""Mixtures: from declared shares and a budget to exact rows and epochs for each source, or an error."""

import math
from collections.abc import Mapping

from aurora_m.core.errors import RecipeError
from aurora_m.core.files import write_json
from aurora_m.core.step import Artifact, Facts, Work

FILE = "mixture.json"


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
) -> Facts:
    """Resolve a mixture and write mixture.json: for each source its share of tokens, rows, rows an epoch, and epochs.

    shares  what each source is to have, in `unit`; they add up to 1
    errors  RecipeError if a source would be read more than `max_epochs` times, or is shorter than one row
    """
    sizes = {source: shards[source].facts for source in shares}
    weights = token_shares(shares, unit, sizes)
    num_rows = tokens // row_tokens
    sources: dict[str, Facts] = {}
    for source, weight in weights.items():
        have = (int(str(sizes[source]["tokens"])) - 1) // row_tokens
        epochs = weight * num_rows / have if have > 0 else math.inf
        if epochs > max_epochs:
            raise _too_small(name, source, epochs, max_epochs)
        sources[source] = {
            "share": shares[source],
            "token_share": round(weight, 9),
            "rows": round(weight * num_rows),
            "rows_an_epoch": have,
            "epochs": round(epochs, 4),
            "fim": fim.get(source, 0.0),
        }
    facts: Facts = {"rows": num_rows, "row_tokens": row_tokens, "unit": unit, "sources": dict(sources)}
    write_json(work.out / FILE, facts)
    return facts


def token_shares(shares: Mapping[str, float], unit: str, sizes: Mapping[str, Facts]) -> dict[str, float]:
    """Turn shares of bytes or documents into shares of tokens.

    The same text costs unlike tokens in unlike languages, so equal bytes are unequal tokens.
    """
    cost = {}
    for source, share in shares.items():
        size = {key: float(str(sizes[source][key])) for key in ("tokens", "docs", "bytes")}
        whole = size["tokens"] if unit == "tokens" else size["docs"] if unit == "documents" else size["bytes"]
        cost[source] = share * size["tokens"] / whole if whole else share
    total = sum(cost.values())
    return {source: value / total for source, value in cost.items()}


def _too_small(mixture: str, source: str, epochs: float, max_epochs: float) -> RecipeError:
    too_often = f"would be read {epochs:.1f} times, more than {max_epochs:g}"
    return RecipeError(
        f"source `{source}` {'is shorter than one row' if math.isinf(epochs) else too_often}",
        at=f"mixture.{mixture}",
        hint="lower its weight or the budget, add text to the source, or raise `max_epochs`",
    )
