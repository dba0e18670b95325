"""A text in blocks, written once and shown twice: as Markdown and as HTML, in which no text can become markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aurora_m.report import markup
from aurora_m.report.cards import table
from aurora_m.report.markup import CONTROL, Group, Html, details, excerpt, join, tag
from aurora_m.report.masks import Pieces

MARKS = re.compile(r"[\\`*_{}\[\]<>#|~$&!]")  # what Markdown may read as markup inside a line
ENDS = re.compile(r"\r\n|[\r\x0c\u2028\u2029]")  # of lines, besides the usual one
TICKS = re.compile("`+")


class Code(str):
    """A name, a condition or a piece of a program: shown as it stands."""

    __slots__ = ()


@dataclass(frozen=True)
class Text:
    """A paragraph, of words and code."""

    parts: Sequence[str]


@dataclass(frozen=True)
class Title:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; the columns in `words` are no numbers, and neither is the first."""

    caption: str
    head: Sequence[str]
    groups: Sequence[Group]
    words: Sequence[int] = ()


@dataclass(frozen=True)
class Sample:
    """A piece of a document with what is to be said of it; where nothing went or came it is no edit."""

    about: Sequence[str]
    pieces: Pieces
    lang: str


@dataclass(frozen=True)
class Samples:
    """What only the curious open."""

    summary: str
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Picture:
    """A plot, which stands beside a table that says the same: Markdown leaves it out."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Program:
    """A file, as it is."""

    summary: str
    text: str
    kind: str


Block: TypeAlias = Text | Title | Table | Samples | Picture | Program


def as_html(block: Block) -> Html:
    """One block as HTML."""
    match block:
        case Text(parts):
            return markup.paragraph(*map(_html, parts))
        case Title(text):
            return tag("h3", text)
        case Table(caption, head, groups, words):
            cells = [(_html(name), [[*map(_html, row)] for row in rows]) for name, rows in groups]
            return markup.table(caption, head, cells, words)
        case Samples(summary, samples):
            return details(summary, *map(_sample_html, samples))
        case Picture(caption, svg):
            return markup.figure(caption, svg)
        case Program(summary, text):
            return details(summary, tag("pre", text, tabindex="0"))


def as_markdown(block: Block) -> str:
    """One block as Markdown, with a blank line behind it; empty for a picture."""
    match block:
        case Text(parts):
            return "".join(map(_markdown, parts)) + "\n\n"
        case Title(text):
            return f"### {_markdown(text)}\n\n"
        case Table(caption, head, groups):
            rows = [[_cell(cell) for cell in (name, *row)] for name, rows in groups for row in rows]
            return f"{_markdown(caption)}:\n\n{table(map(_cell, head), rows)}\n"
        case Samples(summary, samples):
            return f"{_markdown(summary)}:\n\n" + "".join(map(_sample_markdown, samples))
        case Picture():
            return ""
        case Program(summary, text, kind):
            return f"{_markdown(summary)}:\n\n{fenced(text, kind)}\n"


def fenced(text: str, kind: str = "") -> str:
    """Text between fences that it cannot close, its last line ended."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in TICKS.findall(text))])
    return f"{fence}{kind}\n{_plain(text).rstrip()}\n{fence}\n"


def _plain(text: str) -> str:
    """Text without the characters that no page may hold, and with one kind of line end."""
    return ENDS.sub("\n", CONTROL.sub("\ufffd", text))


def _html(text: str) -> Html:
    return tag("code", text) if isinstance(text, Code) else markup.escape(text)


def _sample_html(sample: Sample) -> Html:
    ahead, gone, come, behind = sample.pieces
    changed = [tag("del", gone), " ", tag("ins", come)] if gone or come else []
    about = tag("p", *map(_html, sample.about), class_="values")
    return join(about, excerpt(join(ahead, *changed, behind), sample.lang))


def _markdown(text: str) -> str:
    """Words with every mark escaped, on one line; code between backticks that it cannot close."""
    line = " ".join(_plain(text).split("\n"))
    if not isinstance(text, Code):
        return MARKS.sub(r"\\\g<0>", line)
    ticks = "`" * max([1, *(len(run) + 1 for run in TICKS.findall(line))])
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def _cell(text: str) -> str:
    shown = _markdown(text)
    return shown.replace("|", r"\|") if isinstance(text, Code) else shown


def _sample_markdown(sample: Sample) -> str:
    whole, gone, come, _ = sample.pieces
    about = "".join(map(_markdown, sample.about)) + "\n\n"
    if not (gone or come):
        return about + fenced(whole) + "\n"
    return about + fenced("\n".join(_changed_lines(sample.pieces)), "diff") + "\n"


def _changed_lines(pieces: Pieces) -> list[str]:
    """The lines around an edit, with those that it changed before and after, as `diff` writes them."""
    ahead, gone, come, behind = map(_plain, pieces)
    *above, left = ahead.split("\n")
    right, *below = behind.split("\n")
    changed = [f"{sign}{line}" for sign, piece in (("-", gone), ("+", come)) for line in _lines(left + piece + right)]
    return [*(f" {line}" for line in above), *changed, *(f" {line}" for line in below)]


def _lines(text: str) -> list[str]:
    return text.split("\n")
