"""Blocks as Markdown: every mark of a text is escaped, and no text ends its fence, its cell or its line."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from aurora_m.report.masks import Pieces
from aurora_m.report.render import blocks
from aurora_m.report.render.blocks import Block, Line, Span, spans
from aurora_m.report.render.html import CONTROL

MARKS = re.compile(r"[\\`*_{}\[\]<>#|~$&!]")  # what may be read as markup inside a line
STARTS = re.compile(r"\A([-+=]|\d+(?=[.)]))")  # and at its start, as a list or a rule
ENDS = re.compile(r"\r\n|[\r\x0c\u2028\u2029]")  # of lines, besides the usual one
CODES = ("code", "digest")
TICKS = re.compile("`+")
PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[a-z][\w./-]*\Z", re.IGNORECASE)  # a text in YAML


def document(parts: Iterable[Block], front: Mapping[str, str | Sequence[str]] | None = None) -> str:
    """A whole text, with what programs read ahead of it, in YAML."""
    fields = "".join(f"{key}:{_yaml(value)}\n" for key, value in (front or {}).items())
    return (f"---\n{fields}---\n\n" if fields else "") + "".join(map(show, parts)).rstrip() + "\n"


def show(block: Block) -> str:
    """One block, with a blank line behind it; empty for plots."""
    match block:
        case blocks.Heading(text, level):
            return f"{'#' * level} {_line(text)}\n\n"
        case blocks.Text(line):
            return f"{_paragraph(line)}\n\n"
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            return ""
        case blocks.Excerpt(about, pieces):
            return f"{_paragraph(about)}\n\n{_excerpt(pieces)}\n"
        case blocks.Program(text, kind):
            return f"{fenced(text, kind)}\n"
        case blocks.Fold(summary, parts):
            return f"{_paragraph(summary)}:\n\n" + "".join(map(show, parts))
        case blocks.KeyFigures(figures):
            return (
                "".join(f"- {_line(title)}: {_line(number)}, {_line(about)}\n" for title, number, about in figures)
                + "\n"
            )
        case blocks.Exchange(kind, prompt, _, replies):
            texts = (
                f"{_paragraph(f'{name} {judged}'.rstrip())}:\n\n{fenced(text)}\n"
                for name, (judged, text) in replies.items()
            )
            return f"{_paragraph(f'{kind}: {prompt}')}\n\n" + "".join(texts)


def fenced(text: str, kind: str = "") -> str:
    """Text between fences that it cannot close, its last line ended."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in TICKS.findall(text))])
    return f"{fence}{kind}\n{_plain(text).rstrip()}\n{fence}\n"


def _plain(text: str) -> str:
    """Text without the characters that no page may hold, and with one kind of line end."""
    return ENDS.sub("\n", CONTROL.sub("\ufffd", text))


def _paragraph(line: Line) -> str:
    return STARTS.sub(lambda start: f"{start[1]}\\" if start[1].isdigit() else f"\\{start[1]}", _line(line).lstrip())


def _line(line: Line, in_cell: bool = False) -> str:
    """Pieces on one line; an interval's brackets, which stand unescaped, begin no link, and code ends no cell."""
    text = ""
    for span in spans(line):
        shown = _span(span)
        if in_cell and isinstance(span, Span) and span.kind in CODES:
            shown = shown.replace("|", r"\|")
        text += f"\\{shown}" if text.endswith("]") and shown[:1] in ("(", ":") else shown
    return text


def _span(span: str | Span) -> str:
    """Words with every mark escaped, on one line; code between backticks that it cannot close."""
    text = " ".join(_plain(span if isinstance(span, str) else span.text).split("\n"))
    if isinstance(span, str) or span.kind not in CODES:
        shown = MARKS.sub(r"\\\g<0>", text)
        return f" [{shown}]" if isinstance(span, Span) and span.kind == "interval" else shown
    ticks = "`" * max([1, *(len(run) + 1 for run in TICKS.findall(text))])
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _table(table: blocks.Table) -> str:
    rows = [[_line(cell, in_cell=True) for cell in row] for row in table.rows]
    lines = [[*map(_line, table.head)], ["---"] * len(table.head), *rows]
    caption = f"{_paragraph(table.caption)}:\n\n" if table.caption else ""
    return caption + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _excerpt(pieces: Pieces) -> str:
    """A piece of a document; an edit as the lines around it, and those that it changed as `diff` writes them."""
    ahead, gone, come, behind = map(_plain, pieces)
    if not (gone or come):
        return fenced(ahead + behind)
    *above, left = ahead.split("\n")
    right, *below = behind.split("\n")
    changed = [
        f"{sign}{line}" for sign, piece in (("-", gone), ("+", come)) for line in (left + piece + right).split("\n")
    ]
    return fenced("\n".join([*(f" {line}" for line in above), *changed, *(f" {line}" for line in below)]), "diff")


def _yaml(value: str | Sequence[str]) -> str:
    if not isinstance(value, str):
        return "".join(f"\n-{_yaml(item)}" for item in value)
    return f" {value if PLAIN.match(value) else json.dumps(_plain(value), ensure_ascii=False)}"
