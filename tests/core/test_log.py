"""The log: JSON lines for machines, plain lines or live bars for people, silence when asked."""

import io
import json
import sys
import time
from pathlib import Path

import pytest

from aurora_m.core import log as log_file
from aurora_m.core.log import Log, peak_memory_bytes


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of stderr; in the test itself, since pytest sets stderr after its fixtures."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return found


def test_events_are_json_lines_that_are_only_added_to(tmp_path: Path) -> None:
    before = time.time()
    log = Log(tmp_path / "events.jsonl", quiet=True)
    log.event("start", step="ä\n")
    log.event("done", seconds=1.5)
    rows = [json.loads(line) for line in log.events.read_text().splitlines()] if log.events else []
    assert [{k: v for k, v in row.items() if k != "at_s"} for row in rows] == [
        {"event": "start", "step": "ä\n"},
        {"event": "done", "seconds": 1.5},
    ]
    assert before - 0.01 <= rows[0]["at_s"] <= rows[1]["at_s"] <= time.time() + 0.01


def test_no_events_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Log().event("start")
    assert list(tmp_path.iterdir()) == []


def test_talk_goes_to_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    Log().say("hello [bold]")
    assert capsys.readouterr() == ("", "hello [bold]\n")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "PLAIN_EVERY_S", 0.0)
    log = Log(quiet=True)
    log.say("hello")
    with log.bar("work", 10, "docs") as bar:
        bar.update(10)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_have_done_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with Log().bar("tokens", 2_000_000, "docs") as bar:
        bar.started_s = bar.said_s = now_s
        now_s += 5
        bar.update(500_000)  # where a resumed run goes on; too early to speak
        assert capsys.readouterr().err == ""
        now_s += 5
        bar.update(1_500_000, "loss 2.1")
        assert capsys.readouterr().err == "  tokens  1.5M/2M docs  100,000 docs/s  loss 2.1  5.0s left\n"
        bar.update(1_600_000)
        assert capsys.readouterr().err == ""


def test_no_time_left_is_promised_before_there_is_a_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PLAIN_EVERY_S", 0.0)
    with Log().bar("tokens", 10, "docs") as bar:
        bar.update(3)
    assert capsys.readouterr().err == "  tokens  3/10 docs\n"


def test_a_rate_below_one_a_second_is_not_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with Log().bar("answers", 80, "items") as bar:
        bar.started_s = bar.said_s = now_s
        bar.update(0)
        now_s += 46
        bar.update(10)
    assert capsys.readouterr().err == "  answers  10/80 items  1 item in 4.6s  5m22s left\n"


def test_nobody_waits_long_for_a_sign_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PLAIN_EVERY_S", 0.2)
    log = Log()
    with log.pulse("cap"):
        time.sleep(0.5)
        with log.bar("held-out text", 300, "docs") as bar:
            bar.update(0)
            bar.update(128)
            time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    goes_on = [line for line in lines if line.startswith("  cap goes on, 0.")]
    of_bar = [line for line in lines if line.startswith("  held-out text  128/300 docs  ")]
    assert len(goes_on) >= 1
    assert len(of_bar) >= 1
    assert goes_on + of_bar == lines
    assert goes_on[0].endswith("s so far")
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_log_that_speaks_or_is_quiet_needs_no_sign_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PLAIN_EVERY_S", 0.5)
    log = Log()
    with log.pulse("cap"), Log(quiet=True).pulse("cap"):
        for _ in range(8):
            time.sleep(0.1)
            log.say("x")
    assert capsys.readouterr().err == "x\n" * 8


def test_a_live_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    log = Log()
    with log.bar("tokens [x]", 10, "docs") as bar:
        bar.update(4, "[odd] note")
        log.say("a line [above] it")
    text = screen.getvalue()
    for part in ("tokens [x]", "4/10 docs", "[odd] note", "a line [above] it"):
        assert part in text
    log.say("after")
    assert screen.getvalue().endswith("after\n")


def test_a_bar_inside_a_bar_shares_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    log = Log()
    with log.bar("outer", 10, "steps") as outer:
        with log.bar("inner", 2, "docs") as inner:
            inner.update(1)
        outer.update(5)
        outer.update(6)
        assert "6/10 steps" not in screen.getvalue()  # drawn by the display's clock, not a line for each update
    assert "6/10 steps" in screen.getvalue()


def test_a_failing_piece_of_work_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    log = Log()
    with pytest.raises(RuntimeError, match="broken"), log.bar("outer", 1, "docs"):
        raise RuntimeError("broken")
    log.say("plain again")
    assert screen.getvalue().endswith("plain again\n")


def test_memory_of_this_process() -> None:
    assert 2**20 < peak_memory_bytes() < 2**44
