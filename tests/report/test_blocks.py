"""Blocks: the same text as Markdown and as HTML, and none of it becomes markup."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aurora_m.report.render import html, markdown
from aurora_m.report.render.blocks import (
    Excerpt,
    Exchange,
    Figure,
    Fold,
    Heading,
    KeyFigures,
    Program,
    Span,
    Table,
    Text,
    code,
)
from aurora_m.report.render.markdown import fenced

ANY = st.text(st.characters(exclude_categories=[]))
TRICKY = st.text("`|\\\\<>*_\n\r\u2028 a", max_size=30)


def test_a_paragraph_of_words_and_code() -> None:
    block = Text(["a < b_c, ", code("x <= `1`"), "."])
    assert markdown.show(block) == "a \\< b\\_c, `` x <= `1` ``.\n\n"
    assert html.show(block) == "<p>a &lt; b_c, <code>x &lt;= `1`</code>.</p>"


def test_a_table_repeats_the_first_cell_in_markdown_and_not_in_html() -> None:
    block = Table("About", ["source", "n"], [[code("a|b"), "1"], [code("a|b"), "2"]])
    assert markdown.show(block) == "About:\n\n| source | n |\n| --- | --- |\n| `a\\|b` | 1 |\n| `a\\|b` | 2 |\n\n"
    assert html.show(block).count("<code>a|b</code>") == 1


def test_an_edit_is_a_diff_of_the_lines_it_changed() -> None:
    sample = Excerpt(["mail in ", code("d1")], ("above\nwrite to ", "x@x.xx", "<EMAIL>", " now\nbelow"), "en")
    shown = "```diff\n above\n-write to x@x.xx now\n+write to <EMAIL> now\n below\n```\n"
    assert markdown.show(Fold("Examples", [sample])) == f"Examples:\n\nmail in `d1`\n\n{shown}\n"
    assert "above\nwrite to <del>x@x.xx</del> <ins>&lt;EMAIL&gt;</ins> now" in html.show(Fold("Examples", [sample]))


def test_a_program_is_shown_as_it_is() -> None:
    assert (
        markdown.show(Fold("The recipe", [Program('name = "<x>"\n', "toml")]))
        == 'The recipe:\n\n```toml\nname = "<x>"\n```\n\n'
    )
    assert "<summary>The recipe</summary><pre" in html.show(Fold("The recipe", [Program("x", "toml")]))


def test_key_figures_and_an_exchange_stand_in_both_texts() -> None:
    figures = KeyFigures([("Finnish", "−32 %", ["bits per byte", Span("−33, −31", "interval"), ", 13 documents"])])
    assert markdown.show(figures) == "- Finnish: −32 %, bits per byte [−33, −31], 13 documents\n\n"
    assert '<strong>−32 %</strong><span class="about">bits per byte<span class="interval"> [−33, ' in html.show(figures)
    exchange = Exchange("harmful", "1. <b>?", "fi", {"base": ("", " "), "safe": ("refused", "En voi.")})
    assert markdown.show(exchange) == (
        "harmful: 1. \\<b\\>?\n\nbase:\n\n```\n\n```\n\nsafe refused:\n\n```\nEn voi.\n```\n\n"
    )
    assert '<span lang="fi" dir="auto">1. &lt;b&gt;?</span>' in html.show(exchange)
    assert '<dd><em class="nothing">nothing</em></dd>' in html.show(exchange)


def test_a_page_has_a_header_contents_and_sections() -> None:
    text = html.page("t", "over", [Heading("Top", 1), Text("x"), Heading("A & B", 2, "ab"), Figure("f", ["<svg/>"])])
    header, main = text.split("<main>")
    assert '<p class="over">over</p><h1>Top</h1><p>x</p><nav' in header
    assert '<li><a href="#ab">A &amp; B</a></li>' in header
    assert main.startswith('<section id="ab"><h2>A &amp; B <a class="anchor" href="#ab"')
    assert "<svg/></div><figcaption>f</figcaption>" in main
    assert markdown.document([Heading("Top", 1), Figure("f", ["<svg/>"]), Text("x")]) == "# Top\n\nx\n"


def test_what_stands_ahead_of_a_text_is_yaml_that_reads_as_texts() -> None:
    front = {"license": "cc0-1.0", "language": ["en", "no"], "base_model": "a/b: c\n- d"}
    head = '---\nlicense: cc0-1.0\nlanguage:\n- en\n- "no"\nbase_model: "a/b: c\\n- d"\n---\n\n'
    assert markdown.document([Text("x")], front) == f"{head}x\n"


def test_an_interval_begins_no_link() -> None:
    line: list[str | Span] = ["5", Span("4, 6", "interval"), "(http://x) and", Span("](x", "interval")]
    assert markdown.show(Text(line)) == "5 [4, 6]\\(http://x) and [\\](x]\n\n"


@given(
    st.tuples(
        st.sampled_from(["", " ", "\n\t", "\u2003"]), st.sampled_from(["-", "+", "12.", "3)", ">"]), ANY | TRICKY
    ).map("".join)
)
def test_no_paragraph_begins_a_list_or_a_rule(text: str) -> None:
    assert not re.match(r"\s|[-+=#>]|[0-9]+[.)]", markdown.show(Text([text, "x"])))


@given(ANY | TRICKY)
def test_no_text_closes_its_fence(text: str) -> None:
    shown = fenced(text)
    shown.encode()
    opening, *inside, closing, end = shown.split("\n")
    assert (closing, end) == (opening, "")
    assert not any(re.match(rf" {{0,3}}{opening}", line) for line in inside)


@given(ANY | TRICKY)
def test_no_cell_ends_its_row(text: str) -> None:
    for cell in (text, code(text)):
        lines = markdown.show(Table("T", ["a", "b"], [["x", cell]])).splitlines()
        row = lines[4]
        assert lines[5:] == [""]
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) >= 3
        assert row.startswith("| x | ")
        assert row.endswith(" |")


@given(ANY | TRICKY)
def test_no_text_is_html(text: str) -> None:
    shown = markdown.show(Text([text]))
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>]", shown.replace("\\<", "").replace("\\>", ""))
    assert not re.search("<(?!/?(p|code)>)", html.show(Text([text, code(text)])))
