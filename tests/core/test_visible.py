"""What terminals are shown: no escape code, no control character, no text turned around."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.log import Bar, Log
from aurora_m.core.visible import all_visible, raw, visible, visible_output

HOSTILE = "a\x1b]0;title\x07\x1b[31m\r\x9b2J\x08\x7f\u061c\u200e\u200f\u202e\u2066\u2028\udcffz"


@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_json_stays_the_same_json(text: str) -> None:
    shown = visible(json.dumps({"name": text}, ensure_ascii=False))
    assert json.loads(shown)["name"] == text
    shown.encode()
    assert all(char in "\n\t" or char.isprintable() or ord(char) >= 0xA0 for char in shown)


def test_texts_of_people_stay_as_they_are() -> None:
    for text in ("Grüße\n\tनमस्ते क्‍ष", "日本語", "Tiếng Việt", "עברית", "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿"):
        assert visible(text) == text


def test_output_is_visible_while_a_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with visible_output():
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
        assert sys.stdout.isatty() is False
        assert raw(sys.stdout) is not sys.stdout
    assert raw(sys.stdout) is sys.stdout
    shown = (
        r"a\u001b]0;title\u0007\u001b[31m\u000d\u009b2J\u0008\u007f\u061c\u200e\u200f\u202e\u2066\u2028\udcffz" + "\n"
    )
    assert capsys.readouterr() == (shown, shown)


def test_a_log_says_nothing_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.say(HOSTILE)
    bar = Bar(log, HOSTILE, 2, HOSTILE)
    bar.update(0)
    bar.said_s -= 99
    bar.update(1, HOSTILE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(r"\u001b[31m") == 5
    assert "\x1b" not in err
    assert "\x9b" not in err


def test_a_bar_on_a_terminal_draws_no_code_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    log = Log()
    with visible_output(), log.bar("\x1b]0;x\x07", 2, "docs") as bar:
        log.say("\x1b]0;y\x07")
        bar.update(1, "\x1b]0;z\x07")
    assert "\x1b[" in stream.getvalue()  # its own
    assert "\x1b]" not in stream.getvalue()


def test_values_inside_values() -> None:
    assert all_visible({"\x1b": ["\x07", 1, None, ("\r",)]}) == {"\\u001b": ["\\u0007", 1, None, ["\\u000d"]]}
