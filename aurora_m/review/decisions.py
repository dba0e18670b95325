"""The ledger: append-only decisions of reviewers, each chained to the one before, and the gate that waits for them."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON, digest
from aurora_m.core.errors import DataError, Waiting
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Facts, Work
from aurora_m.core.uri import check_pin, local_files

VERDICTS = ("ok", "reject")
CONTENT = ("prompt", "answer", "twin", "twin_answer")  # what a decision is about
SPLITS = ("train", "held_out")
FIRST = "0" * 64


@dataclass(frozen=True)
class Decision:
    """One reviewer's verdict on one row, named by the row's content: a changed text needs a new decision."""

    item: str
    verdict: str
    reviewer: str
    reason: str
    at: str  # ISO 8601
    prev: str = FIRST  # the hash of the decision before
    hash: str = ""


def item_digest(row: dict[str, str]) -> str:
    """The name of a row's content."""
    return digest({key: row[key] for key in CONTENT})


def chain(decision: Decision, prev: str) -> Decision:
    """Link a decision to the one before it."""
    body = {**asdict(decision), "prev": prev, "hash": ""}
    return Decision(**{**body, "hash": digest(body)})


def append(path: Path, decisions: Iterable[Decision]) -> None:
    """Add decisions at the end of a ledger file, after checking that what stands there is whole.

    ValueError, and nothing is written, on a verdict that is none.
    """
    standing = read(path) if path.exists() else []
    prev = standing[-1].hash if standing else FIRST
    for decision in decisions:
        if decision.verdict not in VERDICTS:
            raise ValueError(f"`{decision.verdict}` is none of {VERDICTS}")
        standing.append(chain(decision, prev))
        prev = standing[-1].hash
    write_jsonl(path, [asdict(decision) for decision in standing])


def read(path: Path) -> list[Decision]:
    """Read a ledger. DataError if a line was changed, removed or put in."""
    found: list[Decision] = []
    prev = FIRST
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        decision = _decision(line)
        if decision is None or decision != chain(decision, prev) or decision.verdict not in VERDICTS:
            raise DataError(
                "the review ledger was changed by hand",
                at=f"{path.name}, line {number}",
                hint="restore the file; decisions are only ever added",
            )
        found.append(decision)
        prev = decision.hash
    return found


def _decision(line: bytes) -> Decision | None:
    try:
        return Decision(**json.loads(line))
    except (ValueError, TypeError):
        return None


def gate(work: Work, *, rows: str, rows_pin: str, decisions: str, decisions_pin: str, reviewers: int) -> Facts:
    """Let through the training rows that enough reviewers approved; wait while some have too few decisions.

    writes   rows.jsonl: {id, lang, concern, prompt, answer, kind}, harmful prompts and benign twins alike
    errors   Waiting (exit 3) while a row of the split `train` has fewer than `reviewers` decisions
    """
    check_pin(local_files(rows, work.runtime.root), rows_pin, rows)
    check_pin(local_files(decisions, work.runtime.root), decisions_pin, decisions)
    train = [row for row in _read_rows(rows, work.runtime.root) if row["split"] == "train"]
    ledger = [d for path in local_files(decisions, work.runtime.root).values() for d in read(path)]
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)
    for decision in ledger:
        verdicts[decision.item][decision.reviewer] = decision.verdict  # a later one of the same person counts
    decided = [list(verdicts[item_digest(row)].values()) for row in train]
    open_rows = sum(len(votes) < reviewers for votes in decided)
    if open_rows:
        raise Waiting(
            f"{len(train) - open_rows} of {len(train)} safety rows are reviewed",
            at=f"review.decisions = {decisions}",
            hint=f"every row needs {reviewers} reviewers; the run goes on from here when they have decided",
        )
    passed = [row for row, votes in zip(train, decided, strict=True) if set(votes) == {"ok"}]
    write_jsonl(work.out / "rows.jsonl", list(_examples(passed)))
    return {
        "rows": len(train),
        "passed": len(passed),
        "languages": dict(sorted(Counter(row["lang"] for row in passed).items())),
        "reviewers": [*sorted({d.reviewer for d in ledger})],
        **agreement(decided),
    }


def _read_rows(uri: str, root: Path) -> list[dict[str, str]]:
    """Read safety rows; the language is the front of the id. DataError names the line that is no such row."""
    return [
        _row(line, f"{path.name}, line {number}")
        for path in local_files(uri, root).values()
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.strip()
    ]


def _row(line: bytes, at: str) -> dict[str, str]:
    hint = 'rows look like {"id": "fi-saf-001", "concern": ..., "split": "train", "prompt": ..., ...}'
    try:
        row = json.loads(line.decode())
    except ValueError as error:
        raise DataError(f"a safety row is not JSON: {error}", at=at, hint=hint) from error
    if not isinstance(row, dict):
        raise DataError("a safety row is not a JSON object", at=at, hint=hint)
    missing = [key for key in ("id", "concern", "split", *CONTENT) if not isinstance(row.get(key), str)]
    lang = re.match(r"[a-z]{2}(?=-)", str(row.get("id")))
    if missing or not lang:
        raise DataError(f"a safety row has no {missing[0] if missing else 'language in its id'}", at=at, hint=hint)
    if row["split"] not in SPLITS:
        listed = " or ".join(f"`{split}`" for split in SPLITS)
        raise DataError(f"there is no split `{row['split']}`", at=at, hint=f"write {listed}")
    return {**row, "lang": lang[0]}


def _examples(rows: Iterable[dict[str, str]]) -> Iterable[JSON]:
    for row in rows:
        about: dict[str, Any] = {"id": row["id"], "lang": row["lang"], "concern": row["concern"]}
        yield {**about, "kind": "harmful", "prompt": row["prompt"], "answer": row["answer"]}
        yield {**about, "kind": "twin", "prompt": row["twin"], "answer": row["twin_answer"]}


def agreement(votes: Sequence[Sequence[str]]) -> Facts:
    """Percent agreement and Krippendorff's alpha for nominal verdicts, over all rows with two votes or more.

    source  Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; alpha is null where nobody disagrees with
            anybody on anything, because then chance explains it all
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for row in votes:
        if len(row) >= 2:
            for i, a in enumerate(row):
                for j, b in enumerate(row):
                    if i != j:
                        pairs[a, b] += 1 / (len(row) - 1)  # type: ignore[assignment]  # a Counter of shares
    total = sum(pairs.values())
    if not total:
        return {"agreement": None, "alpha": None}
    seen = {value: sum(n for (a, _), n in pairs.items() if a == value) for value in VERDICTS}
    observed = sum(n for (a, b), n in pairs.items() if a != b) / total
    expected = sum(seen[a] * seen[b] for a in seen for b in seen if a != b) / (total * (total - 1))
    return {"agreement": round(1 - observed, 4), "alpha": round(1 - observed / expected, 4) if expected else None}
