"""The gate: training rows pass when enough reviewers approved each; it waits for people where they have not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError, Waiting
from aurora_m.core.files import parse_json, write_jsonl
from aurora_m.core.step import Work
from aurora_m.core.uri import local_files, pinned
from aurora_m.review.decisions import CONTENT, VERDICTS, item_digest, read
from aurora_m.review.people import check_people, last_words

SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class ReviewFacts:
    """What people said of the training rows."""

    rows: int
    passed: int
    languages: Mapping[str, int]  # rows that passed
    reviewers: tuple[str, ...]
    agreement: float | None = None  # a share of the pairs of votes on one row
    alpha: float | None = None  # Krippendorff's


def gate(work: Work, *, rows: str, rows_pin: str, decisions: str, decisions_pin: str, reviewers: int) -> ReviewFacts:
    """Let through the training rows that enough reviewers approved; wait while some have too few decisions.

    writes   rows.jsonl: {id, lang, concern, prompt, answer, kind}, harmful prompts and benign twins alike
    errors   DataError on reviewers without a name, with names that look alike, or of mixed scripts
             Waiting (exit 3) while a row of the split `train` has fewer than `reviewers` decisions
    """
    root = work.runtime.root
    with pinned(local_files(rows, root), rows_pin, rows):
        train = [row for row in _read_rows(rows, root) if row["split"] == "train"]
    if not train:
        raise DataError("no safety row is for training", at=rows, hint='give some the split "train"')
    with pinned(local_files(decisions, root), decisions_pin, decisions):
        ledgers = [read(path) for path in local_files(decisions, root).values()]
    people, verdicts = check_people(ledgers), last_words(ledgers)
    decided = [list(verdicts.get(item_digest(row), {}).values()) for row in train]
    open_rows = sum(len(votes) < reviewers for votes in decided)
    if open_rows:
        raise Waiting(
            f"{len(train) - open_rows} of {len(train)} safety rows are reviewed",
            at=f"review.decisions = {decisions}",
            hint=f"every row needs {reviewers} reviewers; the run goes on from here when they have decided",
        )
    passed = [row for row, votes in zip(train, decided, strict=True) if set(votes) == {"ok"}]
    write_jsonl(work.out / "rows.jsonl", list(_examples(passed)))
    agreed, alpha = agreement(decided)
    return ReviewFacts(
        rows=len(train),
        passed=len(passed),
        languages=dict(sorted(Counter(row["lang"] for row in passed).items())),
        reviewers=tuple(sorted(people.values())),
        agreement=agreed,
        alpha=alpha,
    )


def _read_rows(uri: str, root: Path) -> list[dict[str, str]]:
    """Read safety rows. DataError names the line that is no such row."""
    return [
        _row(line, f"{path.name}, line {number}")
        for path in local_files(uri, root).values()
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.strip()
    ]


def _row(line: bytes, at: str) -> dict[str, str]:
    hint = 'rows look like {"id": "fi-saf-001", "lang": "fi", "concern": ..., "split": "train", "prompt": ..., ...}'
    try:
        row = parse_json(line, at)
    except DataError as error:
        raise DataError(f"a safety row is not JSON: {error.what}", at=at, hint=error.hint) from None
    if not isinstance(row, dict):
        raise DataError("a safety row is not a JSON object", at=at, hint=hint)
    missing = [key for key in ("id", "lang", "concern", "split", *CONTENT) if not isinstance(row.get(key), str)]
    missing += [key for key in ("id", "lang") if row.get(key) == ""]
    if missing:
        raise DataError(f"a safety row has no {missing[0]}", at=at, hint=hint)
    if row["split"] not in SPLITS:
        listed = " or ".join(f"`{split}`" for split in SPLITS)
        raise DataError(f"there is no split `{row['split']}`", at=at, hint=f"write {listed}")
    return row


def _examples(rows: Iterable[dict[str, str]]) -> Iterable[JSON]:
    for row in rows:
        about: dict[str, Any] = {"id": row["id"], "lang": row["lang"], "concern": row["concern"]}
        yield {**about, "kind": "harmful", "prompt": row["prompt"], "answer": row["answer"]}
        yield {**about, "kind": "twin", "prompt": row["twin"], "answer": row["twin_answer"]}


def agreement(votes: Sequence[Sequence[str]]) -> tuple[float | None, float | None]:
    """Percent agreement and Krippendorff's alpha for nominal verdicts, over all rows with two votes or more.

    source  Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; alpha is None where nobody disagrees with
            anybody on anything, because then chance explains it all
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for row in votes:
        for i, a in enumerate(row):
            for j, b in enumerate(row):
                if i != j:
                    pairs[a, b] += 1 / (len(row) - 1)  # type: ignore[assignment]  # a Counter of shares
    total = sum(pairs.values())
    if not total:
        return None, None
    values = {value: sum(n for (a, _), n in pairs.items() if a == value) for value in VERDICTS}
    observed = sum(n for (a, b), n in pairs.items() if a != b) / total
    expected = sum(values[a] * values[b] for a in values for b in values if a != b) / (total * (total - 1))
    return round(1 - observed, 4), round(1 - observed / expected, 4) if expected else None
