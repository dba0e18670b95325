"""Two models on the same items: what changed, how sure that is, and a verdict. Pure: rows of scores in, changes out."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from aurora_m.evals.interval import holm, mcnemar, middle_95, resample

RESAMPLES = 10_000
MIN_PAIRS = 8  # of fewer documents or items a bootstrap interval is too narrow to be believed
ALPHA = 0.05
LOWER_IS_BETTER = ("bpb", "solution_bpb", "infill_bpb", "infill_left_bpb", "over_refusal")

Verdict: TypeAlias = Literal["lost", "gained", "equivalent", "cannot tell"]
Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True)
class Change:
    """One metric of one task before and after. `change` is relative for bits per byte, else in the metric's unit."""

    task: str
    lang: str
    metric: str
    before: float
    after: float
    change: float
    low: float  # 95 % paired bootstrap interval of `change`
    high: float
    relative: bool
    n: int  # pairs
    lost: int  # items that became worse
    gained: int
    p: float | None  # exact McNemar, corrected by Holm over all that are compared; None for bits per byte
    margin: float
    verdict: Verdict


def compare_scores(
    before_rows: Iterable[Mapping[str, Any]], after_rows: Iterable[Mapping[str, Any]], margins: Mapping[str, float]
) -> list[Change]:
    """Compare each (task, lang, metric) that both sides have, item by item, in sorted order.

    Rows are those of `score`; `margins` gives for a metric how large a change is of no concern (0 where it is absent).
    A verdict is `equivalent` if the whole interval lies within the margin, `lost` or `gained` if it excludes 0 and,
    for what is right or wrong, the exact test agrees; else, and of fewer than `MIN_PAIRS` pairs, `cannot tell`.
    """
    before, after = _by_key(before_rows), _by_key(after_rows)
    changes = [
        _change(key, before[key], after[key], margins.get(key[2], 0.0))
        for key in sorted(before.keys() & after.keys())
        if before[key].keys() & after[key].keys()
    ]
    tested = [index for index, change in enumerate(changes) if change.p is not None]
    for index, p in zip(tested, holm([changes[index].p or 0.0 for index in tested]), strict=True):
        sure = p < ALPHA or changes[index].verdict == "equivalent"
        changes[index] = replace(changes[index], p=p, verdict=changes[index].verdict if sure else "cannot tell")
    return changes


def _by_key(rows: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, tuple[float, float]]]:
    by_key: dict[Key, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in rows:
        by_key[row["task"], row["lang"], row["metric"]][row["id"]] = (row["value"], row["weight"])
    return by_key


def _change(
    key: Key, before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]], margin: float
) -> Change:
    metric, pairs = key[2], sorted(before.keys() & after.keys())
    rows_NC = np.array([[*before[name], *after[name]] for name in pairs], dtype=np.float64)
    relative = metric.endswith("bpb")
    sign = -1 if metric in LOWER_IS_BETTER else 1
    sums_RC = np.vstack([rows_NC.sum(0), resample(rows_NC, "/".join(key), RESAMPLES)])
    before_R, after_R = sums_RC[:, 0] / sums_RC[:, 1], sums_RC[:, 2] / sums_RC[:, 3]
    change_R = (after_R - before_R) / (before_R if relative else 1.0)
    low, high = middle_95(change_R[1:])
    better_N = sign * (rows_NC[:, 2] / rows_NC[:, 3] - rows_NC[:, 0] / rows_NC[:, 1])
    lost, gained = int((better_N < 0).sum()), int((better_N > 0).sum())
    return Change(
        *key,
        before=float(before_R[0]),
        after=float(after_R[0]),
        change=float(change_R[0]),
        low=low,
        high=high,
        relative=relative,
        n=len(pairs),
        lost=lost,
        gained=gained,
        p=None if relative else mcnemar(lost, gained),
        margin=margin,
        verdict=_verdict(low, high, margin, sign) if len(pairs) >= MIN_PAIRS else "cannot tell",
    )


def _verdict(low: float, high: float, margin: float, sign: int) -> Verdict:
    if margin > 0 and -margin <= low and high <= margin:
        return "equivalent"
    if low <= 0 <= high:
        return "cannot tell"
    return "gained" if (low > 0) == (sign > 0) else "lost"
