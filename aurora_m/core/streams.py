"""The standard streams, whatever the locale: what cannot be written is escaped as in JSON, what is read is UTF-8."""

import codecs
import sys
from io import TextIOWrapper

ESCAPED = "aurora.escaped"


def set_up() -> None:
    """Let stdout and stderr write any character, and stdin take any byte.

    A character that a stream's encoding does not have becomes `\\u....`, in a text for people and in a value of JSON
    alike. A byte of stdin that is not UTF-8 becomes a lone surrogate: `str.encode` tells of it.
    """
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end
