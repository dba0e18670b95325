"""Languages by name and start, comments by each language's marks."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.text.languages import (
    ENDINGS,
    HEADER_BYTES,
    LANGUAGES,
    MARK_BYTES,
    OTHERS,
    STYLES,
    comments,
    language,
)


def said(name: str, text: str) -> tuple[int, str]:
    """Bytes in comments, and the header."""
    counts, headers = comments(pa.array([text], pa.large_string()), [name])
    return int(counts[0]), headers[0].as_py()


def test_the_tables_agree() -> None:
    assert len(LANGUAGES) >= 40
    assert {style for style, _ in LANGUAGES.values()} <= set(STYLES)
    assert sum(len(words.split()) for _, words in LANGUAGES.values()) == len(ENDINGS), "a name stands twice"
    assert set(OTHERS) <= set(ENDINGS)
    assert all(
        len(mark) <= MARK_BYTES for lines, pairs, *_ in STYLES.values() for mark in (lines + " " + pairs).split()
    )


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("src/a.py", "x = 1", "python"),
        ("A.PY", "", "python"),
        ("Dockerfile", "FROM x", "dockerfile"),
        ("a/CMakeLists.txt", "", "cmake"),
        ("notes.txt", "", "text"),
        ("bin/run", "#!/usr/bin/env python3\n", "python"),
        ("bin/run", "#!/usr/bin/env -S node --x\n", "javascript"),
        ("bin/run", "#! /bin/sh -e\n", "shell"),
        ("bin/run", "#!/opt/what\n", ""),
        ("rows.jsonl:12", "x", ""),
        ("a.h", "int f(void);", "c"),
        ("a.h", "namespace a {", "c++"),
        ("a.h", "@interface A", "objective-c"),
        ("a.m", "function y = f(x)\n", "matlab"),
        ("a.ts", "let x = 1", "typescript"),
        ("a.ts", '<?xml version="1.0"?><!DOCTYPE TS>', "xml"),
        ("a.py", "\n <!DOCTYPE html><title>404</title>", "html"),
        ("a.php", "<html><?php x ?>", "php"),
        ("a.js", "version https://git-lfs.github.com/spec/v1\noid", ""),
    ],
)
def test_language(path: str, text: str, name: str) -> None:
    assert language(path, "", text) == name


def test_a_declared_language_fills_in() -> None:
    assert language("1", "Python", "x") == "python"
    assert language("a.c", "Python", "x") == "c"
    assert language("1", "Klingon", "x") == ""


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("python", '"""Doc\nmore."""\nx = "# no"  # yes\ny = """no # no"""\n', '"""Doc\nmore."""\n# yes\n\n'),
        ("c", 'char *s = "/* no */"; // a "b\nint c = \'"\'; /* x\ny */ z', '// a "b\n/* x\ny */'),
        ("rust", "/* a /* b */ c */ 'a x", "/* a /* b */ c */"),
        ("c", "/* a /* b */ c */", "/* a /* b */"),
        ("lua", "--[[ a\nb ]] x -- c", "--[[ a\nb ]]-- c"),
        ("ruby", 'x = "#{a}"\n=begin\nno\n=end\n# y', "\n=begin\nno\n=end\n# y"),
        ("shell", "echo $# a#b # c\n", "# c\n"),
        ("javascript", "`a\n// no` + 'it\\'s // no' // yes", "\n// yes"),
        ("sql", "SELECT 1 -- one\n/* two */", "-- one\n/* two */"),
        ("haskell", "f x' = {- a {- b -} c -} 1 -- d", "{- a {- b -} c -}-- d"),
        ("html", "<p>a<!-- b --></p>", "<!-- b -->"),
        ("python", "x = 'open # no\n# yes", "\n# yes"),
        ("c", "/* not closed", "/* not closed"),
        ("c", '"not closed', ""),
    ],
)
def test_comments(name: str, text: str, found: str) -> None:
    assert said(name, text) == (len("".join(found.split()).encode()), found)


def test_a_text_without_comments_is_a_header_as_it_stands() -> None:
    assert said("", "any # text") == (0, "any # text")
    assert said("markdown", "# title") == (0, "# title")


def test_a_header_ends_with_a_whole_character() -> None:
    text = "# " + "é" * HEADER_BYTES
    size, header = said("python", text)
    assert size == 1 + 2 * HEADER_BYTES
    assert header == "# " + "é" * (HEADER_BYTES // 2 - 1)


PIECES = [
    "#",
    "//",
    "/*",
    "*/",
    "--",
    '"',
    "'",
    "`",
    '"""',
    "\\",
    "\n",
    " ",
    "a",
    "é",
    "{-",
    "-}",
    "[[",
    "]]",
    "=begin",
]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(LANGUAGES)), st.lists(st.sampled_from(PIECES), max_size=30)), max_size=4)
)
def test_any_text_is_read_to_its_end(docs: list[tuple[str, list[str]]]) -> None:
    names, texts = [name for name, _ in docs], ["".join(pieces) for _, pieces in docs]
    counts, headers = comments(pa.array(texts, pa.large_string()), names)
    headers.validate(full=True)
    for text, count, header in zip(texts, counts, headers.to_pylist(), strict=True):
        assert 0 <= count <= len("".join(text.split()).encode())
        rest = iter(text)
        assert all(char in rest for char in header), "a header's characters stand in the text, in order"
    alone = [said(name, text) for name, text in zip(names, texts, strict=True)]
    assert alone == [(int(c), h) for c, h in zip(counts, headers.to_pylist(), strict=True)]
