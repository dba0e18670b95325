"""The language of `keep`: SQL comparisons, AND, OR, NOT, IN, IS NULL, BETWEEN, arithmetic over columns; its tokens."""

import re
from typing import NamedTuple

from aurora_m.core.errors import RecipeError

KEYWORDS = {"AND", "OR", "NOT", "IN", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"}
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<operator><=|>=|<>|!=|[-+*/%<>=(),])"
)


class Token(NamedTuple):
    """keep[start:end], which is no white space."""

    kind: str  # text, number, name or operator
    text: str
    start: int
    end: int
    depth: int  # brackets around it

    @property
    def word(self) -> str:
        """In capitals, as keywords are."""
        return self.text.upper()

    @property
    def is_name(self) -> bool:
        """Of a column or a rule."""
        return self.kind == "name" and self.word not in KEYWORDS


def tokenize(keep: str) -> list[Token]:
    """The tokens of an expression. RecipeError at what is none, and at a function."""
    tokens: list[Token] = []
    at = depth = 0
    while at < len(keep):
        match = _TOKEN.match(keep, at)
        if match is None:
            raise RecipeError(
                f"`{keep[at:].split()[0]}` cannot stand in a condition",
                at=f"keep = `{keep}`",
                hint="write texts in single quotes, comparisons, AND, OR, NOT, IN, IS NULL, BETWEEN and + - * / %",
            )
        if match[0] == "(" and tokens and tokens[-1].is_name:
            raise RecipeError(
                f"`{tokens[-1].text}` is no function here", at=f"keep = `{keep}`", hint="only columns can be compared"
            )
        depth -= match[0] == ")"
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match[0], at, match.end(), depth))
        depth += match[0] == "("
        at = match.end()
    return tokens


def column_names(keep: str) -> set[str]:
    """The columns that an expression names."""
    return {token.text for token in tokenize(keep) if token.is_name}


def has_top_or(tokens: list[Token]) -> bool:
    """Whether an OR stands outside of brackets: it binds less than AND, so that nothing can be cut at ANDs."""
    return any(token.word == "OR" and token.depth == 0 for token in tokens)


def clauses(keep: str) -> list[str]:
    """The parts between top-level ANDs; the whole if there is a top-level OR."""
    tokens = tokenize(keep)
    if has_top_or(tokens):
        return [keep.strip()]
    cuts, between = [], 0
    for token in (token for token in tokens if token.depth == 0):
        between += token.word == "BETWEEN"
        if token.word == "AND" and between:
            between -= 1
        elif token.word == "AND":
            cuts.append(token)
    starts, ends = [0, *(token.end for token in cuts)], [*(token.start for token in cuts), len(keep)]
    return [keep[start:end].strip() for start, end in zip(starts, ends, strict=True)]
