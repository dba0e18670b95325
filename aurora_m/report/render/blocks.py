"""What a document is made of: a list of blocks, written once and shown as HTML or as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aurora_m.report.masks import Pieces


@dataclass(frozen=True)
class Span:
    """A piece of a line that is no plain words; an interval comes without its brackets."""

    text: str
    kind: Literal["code", "digest", "interval", "faint", "verdict"]


Parts: TypeAlias = list[str | Span]
Line: TypeAlias = str | Span | Sequence[str | Span]


@dataclass(frozen=True)
class Heading:
    """A title: level 1 of the document, 2 of a section, which has an anchor, and 3 inside a section."""

    text: str
    level: int = 3
    anchor: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    line: Line


@dataclass(frozen=True)
class Table:
    """A table, where rows that begin alike share their first cell; it and the columns in `words` are no numbers."""

    caption: str  # may be empty
    head: Sequence[str]
    rows: Sequence[Sequence[Line]]
    words: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """Plots as SVG, beside a table that says the same: Markdown leaves them out."""

    caption: str
    plots: Sequence[str]
    columns: int = 1


@dataclass(frozen=True)
class Excerpt:
    """A piece of a document with what is to be said of it; where nothing was removed or added it is no edit."""

    about: Line
    pieces: Pieces
    lang: str


@dataclass(frozen=True)
class Program:
    """A file, as it is."""

    text: str
    kind: str


@dataclass(frozen=True)
class Fold:
    """What only the curious open."""

    summary: str
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class KeyFigures:
    """The few numbers that most readers look for: (title, number, what it is of)."""

    figures: Sequence[tuple[str, str, Line]]


@dataclass(frozen=True)
class Exchange:
    """A prompt of this kind and language, and by model the judgement on its reply and the reply."""

    kind: str
    prompt: str
    lang: str
    replies: Mapping[str, tuple[str, str]]


Block: TypeAlias = Heading | Text | Table | Figure | Excerpt | Program | Fold | KeyFigures | Exchange


def code(text: str) -> Span:
    """A name, a condition or a piece of a program: shown as it stands."""
    return Span(text, "code")


def spans(line: Line) -> Sequence[str | Span]:
    """The pieces of a line."""
    return [line] if isinstance(line, str | Span) else line
