"""Markup: what is text is escaped, whatever it holds."""

import html

from hypothesis import given
from hypothesis import strategies as st

from aurora_m.report.render.blocks import Table
from aurora_m.report.render.html import CONTROL, Html, escape, join, show, tag


def test_only_markup_is_markup() -> None:
    assert tag("p", "a < b", Html("<b>c</b>"), class_="x", aria_label='"y"') == (
        '<p class="x" aria-label="&quot;y&quot;">a &lt; b<b>c</b></p>'
    )
    assert join("&", Html("&amp;")) == "&amp;&amp;"


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_can_be_shown(text: str) -> None:
    shown = escape(text)
    shown.encode()
    assert not set(shown) & set("<>\"'\x00\x1b")
    assert html.unescape(shown) == CONTROL.sub("\ufffd", text)


def test_rows_of_a_group_share_their_first_cell() -> None:
    found = show(Table("About", ["lang", "x"], [["en", "1"], ["en", "2"], ["fi", "3"]]))
    assert found.count('scope="rowgroup" rowspan="2">en') == 1
    assert found.count('scope="row">fi') == 1
    assert found.count("<tr>") == 4
