"""Blocks as one HTML page, safe by construction: what is not `Html` is text, and is escaped."""

import html
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from aurora_m.report.render import blocks
from aurora_m.report.render.blocks import Block, Heading, Line, Span, spans
from aurora_m.report.words import SPACE

STYLE = Path(__file__).with_name("page.css")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")  # what no page may hold
SIGNS = {"lost": "▼", "gained": "▲", "equivalent": "=", "cannot tell": "?"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Turn any text into markup that shows it; markup stays as it is."""
    return text if isinstance(text, Html) else Html(html.escape(CONTROL.sub("\ufffd", text)))


def join(*parts: str) -> Html:
    """Put texts and markup one after the other."""
    return Html("".join(map(escape, parts)))


def tag(name: str, *children: str, **attributes: str) -> Html:
    """One element; `class_` means `class`, `aria_label` means `aria-label`."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def page(title: str, over: str, parts: Iterable[Block]) -> str:
    """A whole page, which needs no other file, no network and no script: header, contents, sections.

    over  a line on top, before the heading
    """
    header: list[Html] = []
    sections: dict[Heading, list[Html]] = {}
    for block in parts:
        if isinstance(block, Heading) and block.level == 2:
            sections[block] = []
        (list(sections.values()) or [header])[-1].append(show(block))
    links = [tag("li", tag("a", heading.text, href=f"#{heading.anchor}")) for heading in sections]
    nav = tag("nav", tag("ol", *links), aria_label="Contents")
    head = join(
        Html('<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Html('<meta name="color-scheme" content="light dark">\n'),
        tag("title", title),
        Html(f"\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"),
    )
    main = [part for heading, shown in sections.items() for part in (tag("section", *shown, id=heading.anchor), "\n")]
    top = tag("header", tag("p", over, class_="over"), *header, nav)
    body = tag("body", "\n", top, "\n", tag("main", *main), "\n")
    return join(Html("<!doctype html>\n"), tag("html", tag("head", head), "\n", body, lang="en"), "\n")


def show(block: Block) -> Html:
    """One block as HTML."""
    match block:
        case Heading(text, level, anchor):
            link = tag("a", "#", class_="anchor", href=f"#{anchor}", aria_label=f"Link to “{text}”")
            return tag(f"h{level}", text, *([" ", link] if anchor else []))
        case blocks.Text(line):
            return tag("p", _line(line))
        case blocks.Table():
            return _table(block)
        case blocks.Figure(caption, plots, columns):
            scroll = {"class_": "scroll", "role": "region", "tabindex": "0", "aria_label": "plot"}
            inside = tag("div", *map(Html, plots), **(scroll if columns == 1 else {"class_": f"columns-{columns}"}))
            return tag("figure", inside, tag("figcaption", caption))
        case blocks.Excerpt(about, (ahead, gone, come, behind), lang):
            changed = [tag("del", gone), " ", tag("ins", come)] if gone or come else []
            return join(tag("p", _line(about), class_="values"), _document(join(ahead, *changed, behind), lang))
        case blocks.Program(text):
            return tag("pre", text, tabindex="0")
        case blocks.Fold(summary, parts):
            return tag("details", tag("summary", summary), *map(show, parts))
        case blocks.KeyFigures(figures):
            return tag("ul", *(_figure(*figure) for figure in figures), class_="key")
        case blocks.Exchange():
            return _exchange(block)


def _span(span: str | Span) -> Html:
    if isinstance(span, str):
        return escape(span)
    match span.kind:
        case "code":
            return tag("code", span.text)
        case "digest":
            return tag("code", span.text, class_="digest")
        case "interval":
            return tag("span", f" [{span.text}]", class_="interval")
        case "faint":
            return tag("span", span.text, class_="faint")
        case "verdict":  # a sign and a word, so that colour is never all there is
            sign = tag("span", SIGNS[span.text], aria_hidden="true")
            return tag("span", sign, f"{SPACE}{span.text}", class_=f"verdict {span.text.replace(' ', '-')}")


def _line(line: Line) -> Html:
    return join(*map(_span, spans(line)))


def _table(table: blocks.Table) -> Html:
    """A table that scrolls inside itself."""
    style = ["w" if at == 0 or at in table.words else "n" for at in range(len(table.head))]
    heads = [tag("th", cell, scope="col", class_=kind) for cell, kind in zip(table.head, style, strict=True)]
    bodies = []
    for name, group in groupby(table.rows, key=lambda row: row[0]):
        lines = [[tag("td", _line(cell), class_=k) for cell, k in zip(r[1:], style[1:], strict=True)] for r in group]
        scope = {"scope": "rowgroup", "rowspan": str(len(lines))} if len(lines) > 1 else {"scope": "row"}
        first = tag("th", _line(name), class_="w", **scope)
        bodies.append(tag("tbody", *(tag("tr", *([first] if at == 0 else []), *row) for at, row in enumerate(lines))))
    few = {"class_": "few"} if len(table.head) < 5 else {}
    caption = [tag("caption", table.caption)] if table.caption else []
    whole = tag("table", *caption, tag("thead", tag("tr", *heads)), *bodies, **few)
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=table.caption or "table")


def _document(text: str, lang: str) -> Html:
    """A piece of a document or of what a model wrote, with its language where it is one."""
    named = {} if lang in ("code", "mul") else {"lang": lang}
    return tag("div", text, class_="excerpt code" if lang == "code" else "excerpt", dir="auto", **named)


def _figure(title: str, number: str, about: Line) -> Html:
    parts = (tag("span", title, class_="what"), tag("strong", number), tag("span", _line(about), class_="about"))
    return tag("li", *parts)


def _exchange(exchange: blocks.Exchange) -> Html:
    rows = []
    for model, (judgement, text) in exchange.replies.items():
        rows.append(tag("dt", model, " ", tag("span", judgement, class_="judged") if judgement else ""))
        nothing = tag("em", "nothing", class_="nothing")
        rows.append(tag("dd", _document(text, exchange.lang) if text.strip() else nothing))
    kind = tag("span", exchange.kind, class_=f"kind {exchange.kind}")
    prompt = tag("p", kind, " ", tag("span", exchange.prompt, lang=exchange.lang, dir="auto"))
    return tag("article", prompt, tag("dl", *rows), class_="asked")
