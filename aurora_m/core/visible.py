"""Text for terminals: what would move the cursor, colour a line or turn it around is shown as `\\u001b`, not done."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Controls but tab and line feed, line ends that only some see, marks that turn text around, and halves of characters.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """A text in which nothing is hidden. JSON stays the same JSON: there this is how such characters are written."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def all_visible(value: Any) -> Any:
    """JSON with all its texts visible."""
    if isinstance(value, dict):
        return {visible(str(key)): all_visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_visible(item) for item in value]
    return visible(value) if isinstance(value, str) else value


class Visible:
    """A stream of text in which nothing is hidden."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def raw(stream: Any) -> Any:
    """The stream itself, for what draws with escape codes of its own and makes its texts visible before."""
    return stream.stream if isinstance(stream, Visible) else stream


@contextmanager
def visible_output() -> Iterator[None]:
    """Print nothing that is hidden, to stdout and to stderr."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Visible(before[0]), Visible(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
