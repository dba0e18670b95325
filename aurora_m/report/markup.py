"""HTML from plain data, safe by construction: what is not `Html` is text, and is escaped."""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from aurora_m.report.numbers import SPACE, Estimate

STYLE = Path(__file__).with_name("page.css")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")  # what no page may hold
SIGNS = {"lost": "▼", "gained": "▲", "equivalent": "=", "cannot tell": "?"}

Row = Sequence[str]  # the cells after the first one
Group = tuple[str, Sequence[Row]]  # the first cell, over all rows that share it


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


def document(title: str, header: str, sections: Sequence[str]) -> Html:
    """A whole page, which needs no other file, no network and no script."""
    head = join(
        Html('<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Html('<meta name="color-scheme" content="light dark">\n'),
        tag("title", title),
        Html(f"\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"),
    )
    body = tag("body", "\n", header, "\n", tag("main", *sections), "\n")
    return join(Html("<!doctype html>\n"), tag("html", tag("head", head), "\n", body, lang="en"), "\n")


def section(name: str, title: str, *children: str) -> Html:
    """A section with a heading that can be linked to."""
    anchor = tag("a", "#", class_="anchor", href=f"#{name}", aria_label=f"Link to “{title}”")
    return Html(f"{tag('section', tag('h2', title, ' ', anchor), *children, id=name)}\n")


def table(caption: str, head: Row, groups: Sequence[Group], words: Sequence[int] = ()) -> Html:
    """A table that scrolls inside itself; columns are numbers but the first one and those in `words`."""
    style = ["w" if index == 0 or index in words else "n" for index in range(len(head))]
    heads = [tag("th", cell, scope="col", class_=kind) for cell, kind in zip(head, style, strict=True)]
    bodies = []
    for name, rows in groups:
        scope = {"scope": "rowgroup", "rowspan": str(len(rows))} if len(rows) > 1 else {"scope": "row"}
        lines = [[tag("td", cell, class_=kind) for cell, kind in zip(row, style[1:], strict=True)] for row in rows]
        first = tag("th", name, class_="w", **scope)
        bodies.append(tag("tbody", *(tag("tr", *([first] if at == 0 else []), *row) for at, row in enumerate(lines))))
    few = {"class_": "few"} if len(head) < 5 else {}
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", *heads)), *bodies, **few)
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=str(caption))


def figure(caption: str, *plots: str, columns: int = 1) -> Html:
    """Plots, as SVG markup, with their caption: a wide one scrolls, those in columns stack where the page is narrow."""
    scroll = {"class_": "scroll", "role": "region", "tabindex": "0", "aria_label": "plot"}
    inside = tag("div", *map(Html, plots), **(scroll if columns == 1 else {"class_": f"columns-{columns}"}))
    return tag("figure", inside, tag("figcaption", caption))


def details(summary: str, *children: str) -> Html:
    """What only the curious open."""
    return tag("details", tag("summary", summary), *children)


def paragraph(*parts: str) -> Html:
    """A paragraph."""
    return tag("p", *parts)


def excerpt(text: str, lang: str, kind: str = "excerpt") -> Html:
    """A piece of a document or of what a model wrote, with its language where it is one."""
    spoken = {} if lang in ("code", "mul") else {"lang": lang}
    return tag("div", text, class_=f"{kind} code" if lang == "code" else kind, dir="auto", **spoken)


def badge(verdict: str) -> Html:
    """A verdict as a sign and a word, so that colour is never all there is."""
    sign = tag("span", SIGNS[verdict], aria_hidden="true")
    return tag("span", sign, f"{SPACE}{verdict}", class_=f"verdict {verdict.replace(' ', '-')}")


def with_interval(found: Estimate | None, form: Callable[[float], str]) -> Html:
    """A number and its interval; a dash where there is none."""
    if found is None:
        return tag("span", "–", class_="interval")
    return join(form(found.value), between(found.low, found.high, form))


def between(low: float, high: float, form: Callable[[float], str]) -> Html:
    """The interval of a number, beside it."""
    ends = [form(end).removesuffix(f"{SPACE}%").removesuffix(f"{SPACE}pt") for end in (low, high)]
    return tag("span", f" [{ends[0]}, {ends[1]}]", class_="interval")
