"""The ledger: any edit is found, and no decision is lost, whoever writes beside and whoever is killed."""

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.review.decisions import FIRST, Decision, append, chain, read

Lines = list[bytes]


def decision(item: str = "x", verdict: str = "ok", reviewer: str = "ann") -> Decision:
    return Decision(item, verdict, reviewer, "a reason: 日本", "2026-01-01T00:00:00Z")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Five decisions, added in two goes."""
    path = tmp_path / "decisions.jsonl"
    append(path, [decision(f"i{n}") for n in range(3)])
    append(path, [decision(f"i{n}", "reject") for n in range(3, 5)])
    return path


def test_the_chain(ledger: Path) -> None:
    found = read(ledger)
    assert [d.item for d in found] == ["i0", "i1", "i2", "i3", "i4"]
    assert [d.prev for d in found] == [FIRST, *(d.hash for d in found[:-1])]
    assert all(chain(d, d.prev) == d for d in found)
    assert len({d.hash for d in found}) == 5
    assert replace(found[1], prev=FIRST, hash="") == decision("i1")


def edited(lines: Lines) -> Lines:
    return [lines[0], lines[1].replace(b'"verdict": "ok"', b'"verdict": "reject"'), *lines[2:]]


def rehashed(lines: Lines) -> Lines:
    """An edit by somebody who knows how a hash is made: the next line gives it away."""
    changed = Decision(**{**json.loads(lines[1]), "verdict": "reject"})
    return [lines[0], json.dumps(asdict(chain(changed, changed.prev))).encode(), *lines[2:]]


def inserted(lines: Lines) -> Lines:
    new = chain(decision("new"), json.loads(lines[1])["hash"])
    return [*lines[:2], json.dumps(asdict(new)).encode(), *lines[2:]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (edited, 2),
        (rehashed, 3),
        (inserted, 4),
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines, lines[-1]], 6),
        (lambda lines: [*lines[:3], lines[3].replace(b'"reason"', b'"raison"'), *lines[4:]], 4),
        (lambda lines: [*lines[:4], lines[4][:-9]], 5),
        (lambda lines: [*lines[:2], b"", *lines[2:]], 3),
        (lambda lines: [b"[]", *lines], 1),
        (lambda lines: [json.dumps(asdict(chain(decision("i", "maybe"), FIRST))).encode()], 1),
    ],
)
def test_a_change_by_hand_is_found(ledger: Path, change: Callable[[Lines], Lines], line: int) -> None:
    whole = ledger.read_bytes()
    ledger.write_bytes(b"\n".join(change(whole.splitlines())) + b"\n")
    with pytest.raises(DataError) as caught:
        read(ledger)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        "the review ledger was changed by hand",
        f"decisions.jsonl, line {line}",
        "restore the file; decisions are only ever added",
    )


def test_nothing_is_added_to_a_last_line_that_was_changed(ledger: Path) -> None:
    changed = ledger.read_bytes()[:-9] + b'"\n'
    ledger.write_bytes(changed)
    with pytest.raises(DataError, match="changed by hand") as caught:
        append(ledger, [decision()])
    assert caught.value.at == "decisions.jsonl, the last line"
    assert ledger.read_bytes() == changed


@pytest.mark.parametrize(("number", "said"), [(None, "none"), (2, "2")])
def test_another_format_is_refused(ledger: Path, number: int | None, said: str) -> None:
    lines = read_jsonl(ledger)
    for line in lines:
        del line["format"]
    write_jsonl(ledger, [line if number is None else {**line, "format": number} for line in lines])
    for use, at in ((read, "line 1"), (lambda path: append(path, [decision()]), "the last line")):
        with pytest.raises(DataError) as caught:
            use(ledger)
        assert str(caught.value) == (
            f"error: the review ledger is of format {said}, not 1\n  at: decisions.jsonl, {at}\n\n"
            "hint: another version of Aurora wrote it: append its decisions to a new file with this one"
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.replace(b'"ok"', b'"reject"'), "the review ledger was changed by hand"),
        (lambda line: line.replace(b', "format": 1', b""), "the review ledger is of format none, not 1"),
        (lambda _: b"{}", "the review ledger was changed by hand"),
    ],
)
def test_a_whole_last_line_is_never_cut_off(tmp_path: Path, change: Callable[[bytes], bytes], said: str) -> None:
    """An editor may take the file's last line feed away: what stands there then is no half decision."""
    path = tmp_path / "decisions.jsonl"
    append(path, [decision()])
    path.write_bytes(change(path.read_bytes().removesuffix(b"\n")))
    before = path.read_bytes()
    for use in (lambda: read(path), lambda: append(path, [decision("new")])):
        with pytest.raises(DataError, match=said):
            use()
        assert path.read_bytes() == before


@pytest.mark.parametrize("end", [b"\r\n", b" \n", b"\r"])
def test_line_ends_of_another_system(ledger: Path, end: bytes) -> None:
    items = [d.item for d in read(ledger)]
    ledger.write_bytes(end.join(ledger.read_bytes().split(b"\n")) if end != b"\r" else ledger.read_bytes()[:-1] + end)
    append(ledger, [decision("new")])
    assert [d.item for d in read(ledger)] == [*items, "new"]


def test_a_file_system_without_locks(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger.read_bytes()

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    for use in (lambda: read(ledger), lambda: append(ledger, [decision("new")])):
        with pytest.raises(DataError) as caught:
            use()
        assert str(caught.value) == (
            f"error: the review ledger cannot be locked: No locks available\n  at: {ledger}\n\n"
            "hint: put it on a disk of this machine: there, files have locks"
        )
        assert ledger.read_bytes() == before


@given(st.integers(0, 4), st.sampled_from(["item", "verdict", "reviewer", "reason", "at", "prev", "hash"]))
def test_no_key_can_be_changed(number: int, key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        append(path, [decision(f"i{n}") for n in range(5)])
        lines = read_jsonl(path)
        lines[number][key] = "reject" if key == "verdict" else lines[number][key] + "0"
        write_jsonl(path, lines)
        with pytest.raises(DataError, match="changed by hand"):
            read(path)


def test_what_is_no_verdict_is_not_written(ledger: Path) -> None:
    before = ledger.read_bytes()
    with pytest.raises(ValueError, match="`maybe` is none of"):
        append(ledger, [decision(), decision(verdict="maybe")])
    assert ledger.read_bytes() == before


# --- killed writers, and many at once


@pytest.mark.parametrize("standing", [0, 1, 5])
def test_a_half_last_line_is_cut_off_and_a_whole_one_ended(tmp_path: Path, standing: int) -> None:
    path = tmp_path / "ledger" / "decisions.jsonl"
    append(path, [decision(f"i{n}") for n in range(standing)])
    before = path.read_bytes()
    prev = read(path)[-1].hash if standing else FIRST
    whole = json.dumps(asdict(chain(decision("last"), prev)), ensure_ascii=False).encode()
    for length in range(len(whole) + 1):
        path.write_bytes(before + whole[:length])
        there = [*(f"i{n}" for n in range(standing)), *(["last"] if length == len(whole) else [])]
        assert [d.item for d in read(path)] == there
        append(path, [decision("new")])
        assert [d.item for d in read(path)] == [*there, "new"]


DECISIONS, KILLS = 500, 8
WRITER = """
import sys
from pathlib import Path
from aurora_m.review.decisions import Decision, append
path, who, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(first, last):
    append(path, [Decision(str(number), "ok", who, "a reason: 日本" * 40, "2026-01-01T00:00:00Z")])
    print(number, flush=True)
"""


def write(path: Path, who: str, acknowledged: list[int], kills: int) -> None:
    """Let a process append until all decisions are acknowledged; kill it some `kills` times and start it again."""
    moments = random.Random(who)
    while (first := len(acknowledged)) < DECISIONS:
        command = [sys.executable, "-c", WRITER, str(path), who, str(first), str(DECISIONS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            if kills:
                spared = moments.randrange(2, 2 * DECISIONS // (3 * kills))  # appends before the kill
                lines = [process.stdout.readline() for _ in range(spared)]
                process.kill()  # it has gone on meanwhile: somewhere in one of the next appends
                lines += process.stdout.readlines()
                kills -= process.wait() == -signal.SIGKILL
            else:
                lines = process.stdout.readlines()
                assert process.wait() == 0
        acknowledged += [int(line) for line in lines if line.endswith(b"\n")]
    assert kills <= KILLS // 2, "it was killed too seldom to show anything"


@pytest.mark.parametrize("writers", [2, 4])
def test_no_acknowledged_decision_is_lost(tmp_path: Path, writers: int) -> None:
    path = tmp_path / "decisions.jsonl"
    acknowledged: dict[str, list[int]] = {f"writer{n}": [] for n in range(writers)}
    threads = [
        threading.Thread(target=write, args=(path, who, numbers, 0 if who == "writer0" else KILLS))
        for who, numbers in acknowledged.items()
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            read(path)  # whole at any moment
        threads[0].join(0.3)
    for who, numbers in acknowledged.items():
        assert numbers == [*range(DECISIONS)]
        assert {d.item for d in read(path) if d.reviewer == who} == {str(number) for number in numbers}
