"""Programming languages: by what names files of each go, and which of their bytes stand in comments."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import re2
from numpy.typing import NDArray

from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import I64, text_buffers

HEADER_BYTES = 4096  # from the start of a file: where it says whose it is and what made it
LINES, PAIRS, MARK_BYTES = 4, 2, 8  # marks of a style: to the line's end; pairs; bytes of one
MARK, QUOTE, ESCAPE = 1, 2, 3  # what a byte may begin
TRIPLE, DOCUMENT, NESTS = 1, 2, 4  # flags of a style: triple quotes; those on a line's start are comments; pairs nest

# What comments look like: marks to the line's end, pairs, quotes, flags. A `#` within a word is none.
STYLES: dict[str, tuple[str, str, str, int]] = {
    "": ("", "", "", 0),
    "c": ("//", "/* */", "\"'", 0),
    "go": ("//", "/* */", "\"'`", 0),
    "nested": ("//", "/* */", '"', 4),
    "triple": ("//", "/* */", "\"'", 5),
    "css": ("", "/* */", "\"'", 0),
    "php": ("// #", "/* */", "\"'", 0),
    "hash": ("#", "", "\"'", 0),
    "python": ("#", "", "\"'", 3),
    "ruby": ("#", "\n=begin \n=end", "\"'", 0),
    "perl": ("#", "\n=pod \n=cut \n=head \n=cut", "\"'", 0),
    "julia": ("#", "#= =#", '"', 7),
    "powershell": ("#", "<# #>", "\"'", 0),
    "sql": ("--", "/* */", "\"'", 0),
    "lua": ("--", "--[[ ]]", "\"'", 0),
    "haskell": ("--", "{- -}", '"', 4),
    "ml": ("", "(* *)", '"', 4),
    "fsharp": ("//", "(* *)", '"', 1),
    "pascal": ("//", "{ } (* *)", "'", 0),
    "lisp": (";", "#| |#", '"', 4),
    "percent": ("%", "%{ %}", '"', 0),
    "bang": ("!", "", "\"'", 0),
    "basic": ("' \nREM \nRem", "", '"', 0),
    "batch": ("\n:: \nREM \nrem", "", "", 0),
    "assembly": ("; // #", "/* */", '"', 0),
    "markup": ("", "<!-- -->", "", 0),
    "script": ("//", "<!-- --> /* */", "", 0),
}
PROSE = ("markdown", "rst", "tex", "text")  # read whole, and written in lines of any length
LANGUAGES: dict[str, tuple[str, str]] = {  # style; endings, file names, and the programs of a `#!` line after `!`
    "assembly": ("assembly", ".s .asm .nasm"),
    "batch": ("batch", ".bat .cmd"),
    "c": ("c", ".c .h"),
    "c#": ("c", ".cs"),
    "c++": ("c", ".cpp .cc .cxx .c++ .hpp .hh .hxx .h++ .ipp .tpp .inl .cu .cuh"),
    "clojure": ("lisp", ".clj .cljs .cljc .edn"),
    "cmake": ("hash", ".cmake cmakelists.txt"),
    "css": ("css", ".css"),
    "d": ("c", ".d"),
    "dart": ("triple", ".dart"),
    "dockerfile": ("hash", ".dockerfile dockerfile containerfile"),
    "elixir": ("python", ".ex .exs !elixir"),
    "erlang": ("percent", ".erl .hrl !escript"),
    "f#": ("fsharp", ".fs .fsi .fsx"),
    "fortran": ("bang", ".f90 .f95 .f03 .f08 .f .for"),
    "go": ("go", ".go"),
    "groovy": ("triple", ".groovy .gradle"),
    "haskell": ("haskell", ".hs .lhs !runhaskell"),
    "html": ("markup", ".html .htm .xhtml"),
    "ini": ("hash", ".ini .cfg .conf .properties .toml"),
    "java": ("triple", ".java"),
    "javascript": ("go", ".js .mjs .cjs .jsx .es6 !node !deno"),
    "json": ("", ".json .jsonl .geojson .ipynb .webmanifest"),
    "julia": ("julia", ".jl !julia"),
    "kotlin": ("triple", ".kt .kts"),
    "lisp": ("lisp", ".lisp .lsp .cl .el .scm .ss .rkt !guile !sbcl !racket"),
    "lua": ("lua", ".lua !lua !luajit"),
    "makefile": ("hash", ".mk .mak makefile gnumakefile makefile.am makefile.in !make"),
    "markdown": ("", ".md .markdown .mdx"),
    "matlab": ("percent", ".matlab"),
    "objective-c": ("c", ".mm .m"),
    "ocaml": ("ml", ".ml .mli !ocaml"),
    "pascal": ("pascal", ".pas .dpr .pp"),
    "perl": ("perl", ".pl .pm .t !perl"),
    "php": ("php", ".php .phtml .php5 !php"),
    "powershell": ("powershell", ".ps1 .psm1 .psd1 !pwsh"),
    "protobuf": ("c", ".proto"),
    "python": ("python", ".py .pyi .pyw .pyx .pxd sconstruct !python !python2 !python3 !pypy3"),
    "r": ("hash", ".r !rscript"),
    "rst": ("", ".rst"),
    "ruby": ("ruby", ".rb .rake .gemspec rakefile gemfile !ruby"),
    "rust": ("nested", ".rs"),
    "scala": ("triple", ".scala .sc .sbt !scala"),
    "shell": ("hash", ".sh .bash .zsh .ksh !sh !bash !zsh !dash !ksh !ash"),
    "solidity": ("c", ".sol"),
    "sql": ("sql", ".sql .psql .ddl"),
    "swift": ("triple", ".swift"),
    "tcl": ("hash", ".tcl !tclsh !wish"),
    "tex": ("percent", ".tex .sty .bib"),
    "text": ("", ".txt .text"),
    "typescript": ("go", ".ts .tsx .mts .cts"),
    "verilog": ("c", ".v .sv .svh .vh"),
    "vhdl": ("sql", ".vhd .vhdl"),
    "visual basic": ("basic", ".vb .bas .vbs"),
    "vue": ("script", ".vue .svelte"),
    "xml": ("markup", ".xml .xsd .xsl .xslt .svg .plist .csproj .xaml"),
    "yaml": ("hash", ".yml .yaml"),
    "zig": ("c", ".zig"),
}
ENDINGS = {word: name for name, (_, words) in LANGUAGES.items() for word in words.split()}
# Endings that more than one language has: where the start of the text matches, it is the other.
OTHERS = {
    ".h": (
        ("objective-c", r"(?m)^\s*(@interface|@protocol|@class|#import)\b"),
        ("c++", r"(?m)^\s*(class \w+|namespace \w*|template ?<|public:|private:|using \w+|#include <[a-z_]+>)"),
    ),
    ".m": (("matlab", r"(?m)^\s*(%|function\b.*[=(]|end$|classdef\b)"),),
    ".pl": (("prolog", r"(?m)^\s*(:-|\w+\([^)]*\) ?:-)"),),
    ".pp": (("puppet", r"(?m)^\s*(class|define|node) [\w:]+ ?[({]"),),
    ".ts": (("xml", r"^\s*<(\?xml|!DOCTYPE TS)"),),
    ".v": (("coq", r"(?m)^\s*(Require|Lemma|Theorem|Proof|Definition|Inductive)\b"),),
    ".fs": (("glsl", r"(?m)^\s*(#version|precision|uniform|varying)\b"),),
    ".d": (("makefile", r"(?m)^\S+\.l?o ?:"),),
    ".t": (("text", r"(?m)^  \$ "),),
}
STARTS = (  # what begins so is of this language, whatever it is called
    ("html", ("<!doctype html", "<html")),
    ("xml", ("<?xml",)),
    ("", ("version https://git-lfs.github.com/",)),  # a pointer to a file that is not here
)
TEMPLATES = {"php", "vue", "xml", "html", *PROSE}  # which may begin like a page
_PROGRAM = re2.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*(?:\S*/)?)?([A-Za-z][A-Za-z_+-]*)")


def language(path: str, declared: str, text: str) -> str:
    """The name in `LANGUAGES` or `OTHERS` of a file: by its name, its `#!` line, or the name that the source declares.

    Checked against the start of the text, 4096 characters of which are enough. Empty where nothing tells.
    """
    start = text[:64].lstrip("\ufeff \t\r\n").lower()
    file = path.rpartition("/")[2].lower()
    ending = "." + file.rpartition(".")[2] if "." in file else ""
    name = ENDINGS.get(file) or ENDINGS.get(ending, "")
    if not name and start.startswith("#!"):
        program = _PROGRAM.match(text)
        name = ENDINGS.get(f"!{program[1].lower()}", "") if program else ""
    name = name or (declared.lower() if declared.lower() in LANGUAGES else "")
    for other, pattern in OTHERS.get(ending, ()):
        if _pattern(pattern).search(text[:HEADER_BYTES]):
            return other
    for other, starts in STARTS:
        if start.startswith(starts) and name not in TEMPLATES:
            return other
    return name


def comments(texts: pa.ChunkedArray | pa.Array, languages: list[str]) -> tuple[I64, pa.Array]:
    """For each text: bytes in comments, white space not counted; and the comments of its first `HEADER_BYTES`.

    Strings are known as such, within a line (the languages' triple quotes and backticks: across lines). A text without
    a language, or of one that knows no comments, is a header as it stands, and has none.
    """
    order = {name: place for place, name in enumerate(STYLES)}
    styles = np.array([order[LANGUAGES[name][0]] if name in LANGUAGES else 0 for name in languages], np.int64)
    data, offsets = text_buffers(texts)
    counts, header, ends = find_comments(data, offsets, styles, _styles(), HEADER_BYTES)
    buffers = [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(header[: ends[-1]].tobytes())]
    return counts, pa.LargeStringArray.from_buffers(len(styles), buffers[1], buffers[2])


@cache
def _pattern(pattern: str) -> Any:
    return re2.compile(pattern)


class Styles(NamedTuple):
    """`STYLES` as arrays, one row a style."""

    marks: NDArray[np.uint8]  # of lines, then opening ones, then closing ones
    sizes: I64  # of the marks
    first: NDArray[np.uint8]  # what each byte may begin
    flags: I64


@cache
def _styles() -> Styles:
    marks = np.zeros((len(STYLES), LINES + 2 * PAIRS, MARK_BYTES), np.uint8)
    sizes = np.zeros(marks.shape[:2], np.int64)
    first = np.zeros((len(STYLES), 256), np.uint8)
    for place, (lines, pairs, quotes, _) in enumerate(STYLES.values()):
        pair_marks = [mark for mark in pairs.split(" ") if mark]
        rows = dict(enumerate(mark for mark in lines.split(" ") if mark))
        rows |= dict(enumerate(pair_marks[::2], LINES)) | dict(enumerate(pair_marks[1::2], LINES + PAIRS))
        first[place, list(quotes.encode())] = QUOTE
        first[place, ord("\\")] = ESCAPE
        for row, mark in rows.items():
            marks[place, row, : len(mark)] = list(mark.encode())
            sizes[place, row] = len(mark)
            if row < LINES + PAIRS:
                first[place, ord(mark[0])] = MARK
    return Styles(marks, sizes, first, np.array([flags for *_, flags in STYLES.values()], np.int64))


@compiled
def begins(data: Any, at: Any, end: Any, mark: Any, size: Any) -> Any:
    """Whether data[at:end] begins with a mark; none begins with an empty one."""
    k = 0
    while k < size and at + k < end and data[at + k] == mark[k]:
        k += 1
    return k == size and size > 0


@compiled
def comment_end(data: Any, start: Any, at: Any, end: Any, marks: Any, sizes: Any, nests: Any) -> Any:
    """Where the comment that begins at data[at] ends; `at` if none begins there."""
    for pair in range(LINES, LINES + PAIRS):  # before the lines: `--[[` begins like `--`
        if begins(data, at, end, marks[pair], sizes[pair]):
            depth, j = 1, at + sizes[pair]
            while j < end and depth > 0:
                if begins(data, j, end, marks[pair + PAIRS], sizes[pair + PAIRS]):
                    depth -= 1
                    j += sizes[pair + PAIRS]
                elif nests and begins(data, j, end, marks[pair], sizes[pair]):
                    depth += 1
                    j += sizes[pair]
                else:
                    j += 1
            return j
    for line in range(LINES):
        inside = data[at] == 35 and at > start and data[at - 1] > 32  # `#` in `$#` or in a word
        if not inside and begins(data, at, end, marks[line], sizes[line]):
            j = at + sizes[line]
            while j < end and data[j] != 10:
                j += 1
            return j
    return at


@compiled
def string_end(data: Any, at: Any, end: Any, triple: Any) -> Any:
    """Where the string that begins at data[at] ends; one in single quotes at the line's end at the latest."""
    quote, j = data[at], at + 1
    if triple and at + 2 < end and data[at + 1] == quote and data[at + 2] == quote:
        j = at + 3
        while j < end:
            if data[j] == quote and j + 2 < end and data[j + 1] == quote and data[j + 2] == quote:
                return j + 3
            j += 2 if data[j] == 92 else 1
        return end
    while j < end and data[j] != quote and (data[j] != 10 or quote == 96):
        j += 2 if data[j] == 92 else 1
    return min(j + 1 if j < end and data[j] == quote else j, end)


@compiled
def find_comments(data: Any, offsets: Any, styles: Any, tables: Any, header_bytes: Any) -> Any:
    """Count and copy the comments of each text; see `comments`."""
    marks, sizes, first, flags = tables
    texts = len(offsets) - 1
    counts, ends = np.zeros(texts, np.int64), np.zeros(texts + 1, np.int64)
    header, count = np.empty(offsets[texts] - offsets[0] + 1, np.uint8), 0
    for text in range(texts):
        start, end, style = offsets[text], offsets[text + 1], styles[text]
        last = min(end, start + header_bytes)
        while last < end and data[last] & 0xC0 == 0x80:
            last -= 1
        i, fresh = start, True
        if style == 0:
            header[count : count + last - start] = data[start:last]
            count, i = count + last - start, end
        while i < end:
            kind, stop, commented = first[style, data[i]], i + 1, False
            if kind == MARK:
                stop = comment_end(data, start, i, end, marks[style], sizes[style], flags[style] & NESTS > 0)
                commented = stop > i
                stop = max(stop, i + 1)
            elif kind == QUOTE:
                stop = string_end(data, i, end, flags[style] & TRIPLE > 0)
                commented = (
                    fresh and flags[style] & DOCUMENT > 0 and stop - i >= 6 and data[i + 1] == data[i + 2] == data[i]
                )
            elif kind == ESCAPE:
                stop = i + 2
            for k in range(i, min(stop, end)):
                counts[text] += commented and data[k] > 32
                if k < last and (commented or data[k] == 10):
                    header[count] = data[k]
                    count += 1
            fresh = data[i] == 10 or (fresh and data[i] <= 32)
            i = stop
        ends[text + 1] = count
    return counts, header, ends
