"""The ledger: append-only decisions of reviewers, each chained to the one before; many may write at once.

What it protects: a line that was changed, put in, moved or taken out of the middle is found, and a decision that was
acknowledged is not lost. What it does not: lines cut off at the end leave a whole chain; whoever can write the file can
write it anew from the first line; and who stands behind a name is nobody's knowledge here (see people.py).
"""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from aurora_m.core.canon import digest
from aurora_m.core.errors import DataError
from aurora_m.core.files import parse_json, sync_folder

VERDICTS = ("ok", "reject")
CONTENT = ("prompt", "answer", "twin", "twin_answer")  # what a decision is about
FIRST = "0" * 64
FORMAT = 1  # of a line
BLOCK_BYTES = 2**12  # read at a time, from the end


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
    format: int = FORMAT


def item_digest(row: dict[str, str]) -> str:
    """The name of a row's content."""
    return digest({key: row[key] for key in CONTENT})


def chain(decision: Decision, prev: str) -> Decision:
    """Link a decision to the one before it."""
    body = {**asdict(decision), "prev": prev, "hash": ""}
    return Decision(**{**body, "hash": digest(body)})


def append(path: Path, decisions: Iterable[Decision]) -> None:
    """Add decisions at the end of a ledger file. They are on the disk when this returns; others may append meanwhile.

    Only the last line is read: `read` verifies the chain. ValueError, and nothing is written, on a verdict that is
    none, and without a reviewer; DataError if the last line is not a decision.
    """
    new = list(decisions)
    for decision in new:
        if decision.verdict not in VERDICTS:
            raise ValueError(f"`{decision.verdict}` is none of {VERDICTS}")
        if not decision.reviewer.strip():
            raise ValueError("a decision has no reviewer")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        _lock(file, fcntl.LOCK_EX, path)
        prev = _end_whole(file, path.name)
        for decision in new:
            linked = chain(decision, prev)
            file.write(json.dumps(asdict(linked), ensure_ascii=False).encode() + b"\n")
            prev = linked.hash
        file.flush()
        os.fsync(file.fileno())
        sync_folder(path.parent)  # the file may be new


def _lock(file: IO[bytes], kind: int, path: Path) -> None:
    """Wait for the file's lock, which ends with the file. DataError where the file system has none."""
    try:
        fcntl.flock(file, kind)
    except OSError as error:
        what = f"the review ledger cannot be locked: {error.strerror}"
        raise DataError(what, at=str(path), hint="put it on a disk of this machine: there, files have locks") from error


def _end_whole(file: IO[bytes], name: str) -> str:
    """The hash of the last decision, after mending the end that a killed writer left.

    A last line without its end was never acknowledged: it is ended if it is whole, else cut off. What is JSON is whole.
    DataError if that is not a decision: an editor took the end away, and perhaps more.
    """
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start and tail.count(b"\n") < 2:  # the last whole line, and where it begins
        start = max(0, start - BLOCK_BYTES)
        file.seek(start)
        tail = file.read(end - start)
    *whole, half = tail.split(b"\n")
    is_whole = _json(half) is not None
    if half and not is_whole:
        file.truncate(end - len(half))
    lines = [*whole, half] if is_whole else whole
    last = _decision(lines[-1], None, f"{name}, the last line").hash if lines else FIRST
    if is_whole:
        file.write(b"\n")
    return last


def read(path: Path) -> list[Decision]:
    """Read a ledger. DataError if a line was changed, removed or put in, or is of another format.

    A last line without its end, which a killed writer left, counts if it is whole: if it is JSON.
    """
    with path.open("rb") as file:
        _lock(file, fcntl.LOCK_SH, path)  # no writer is half way
        *lines, half = file.read().split(b"\n")
    lines += [half] if _json(half) is not None else []
    decisions: list[Decision] = []
    prev = FIRST
    for number, line in enumerate(lines, 1):
        decisions.append(_decision(line, prev, f"{path.name}, line {number}"))
        prev = decisions[-1].hash
    return decisions


def _decision(line: bytes, prev: str | None, at: str) -> Decision:
    """The decision of a whole line that follows `prev`, or whatever it says it follows."""
    decision = _parsed(line)
    if decision is not None and _links(decision, decision.prev if prev is None else prev):
        return decision
    body = _json(line)
    if isinstance(body, dict) and {"item", "verdict"} <= body.keys() and body.get("format") != FORMAT:
        raise DataError(
            f"the review ledger is of format {body.get('format', 'none')}, not {FORMAT}",
            at=at,
            hint="another version of Aurora wrote it: append its decisions to a new file with this one",
        )
    hint = "restore the file; decisions are only ever added"
    raise DataError("the review ledger was changed by hand", at=at, hint=hint)


def _parsed(line: bytes) -> Decision | None:
    body = _json(line)
    kinds = {field.name: int if field.name == "format" else str for field in fields(Decision)}
    if not isinstance(body, dict) or body.keys() != kinds.keys():
        return None
    return Decision(**body) if all(type(body[name]) is kind for name, kind in kinds.items()) else None


def _json(line: bytes) -> Any:
    try:
        return parse_json(line, "")
    except DataError:
        return None


def _links(decision: Decision, prev: str) -> bool:
    """Whether a decision is unchanged, follows `prev`, and says its format and a verdict."""
    return decision == chain(decision, prev) and decision.verdict in VERDICTS and decision.format == FORMAT
