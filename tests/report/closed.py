"""Whether the elements of a page are closed in order."""

from html.parser import HTMLParser
from typing import Any


def check_closed(text: str) -> None:
    """AssertionError at an element that is closed out of order or never."""
    depth: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag != "meta":
                depth.append(tag)

        def handle_startendtag(self, tag: str, attrs: Any) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert depth.pop() == tag

    Check().feed(text)
    assert depth == []
