"""Metadata put back beside a text: what a source knows of it, for the model to read. The text itself stays as it is.

source  Aurora-M (arXiv 2404.00399): arXiv, patents and StackExchange rebuilt with their metadata; StarCoder
        (arXiv 2305.06161, section 5.3): repository, file and stars before code
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from aurora_m.core.canon import JSON, hash64
from aurora_m.core.errors import RecipeError

BEST = 3  # answers put under a question
STARS = ((0, "0"), (10, "1-10"), (100, "10-100"), (1000, "100-1000"))  # at most so many: the name; above: 1000+
REPO = ("repo", "repository", "repo_name", "max_stars_repo_name")
PATH = ("path", "max_stars_repo_path", "filename", "file")
STAR_COUNT = ("stars", "gh_stars", "star_count", "stargazers_count", "max_stars_count")
_ANSWER = ("text", "body", "answer")
_ANSWER_SCORE = ("score", "pm_score", "votes")
_ACCEPTED = ("accepted", "is_accepted", "selected")


@dataclass(frozen=True)
class Line:
    """One field: its label, and the names that sources give it, the first that is there counts."""

    label: str
    names: tuple[str, ...]
    separator: str = ""  # between the parts of a list that is written as one text
    block: bool = False  # long: under its label, not beside it


_TITLE = ("title", "question_title", "invention_title")
_DATE = ("date", "published", "update_date", "publication_date", "filing_date", "creation_date")
SHAPES = {
    "arxiv": (
        Line("Title", _TITLE),
        Line("Authors", ("authors", "author")),
        Line("Categories", ("categories", "primary_category"), " "),
        Line("Date", _DATE),
        Line("Abstract", ("abstract", "summary"), block=True),
    ),
    "uspto": (
        Line("Title", _TITLE),
        Line("Date", _DATE),
        Line("Abstract", ("abstract",), block=True),
        Line("Claims", ("claims",), block=True),
    ),
    "stackexchange": (Line("Tags", ("tags",), "|"), Line("Score", ("score", "question_score"))),
}


def append_metadata(text: str, meta: Mapping[str, JSON], shape: str) -> str:
    """The text, then those of its shape's fields that do not stand in it yet, one `Label: value` a line, long ones
    under their label; text and fields are set apart by an empty line.

    `shape` is one of `SHAPES`: `arxiv` (title, authors, categories, date, abstract), `uspto` (title, date, abstract,
    claims) or `stackexchange`, whose title goes before the text, and after its tags and score the `BEST` answers by
    score (the accepted one first among equals, none below zero), from `answers`: a list, or JSON of one, of objects
    with `text` and `score`. A field stands in the text if each part of it does, whatever the case and spacing; a
    number only with its label. RecipeError for an unknown shape.
    """
    if shape not in SHAPES:
        known = ", ".join(f"`{name}`" for name in SHAPES)
        raise RecipeError(f"there is no shape `{shape}`", at="metadata", hint=f"the shapes are {known}")
    there = _plain(text)
    parts = [text]
    if shape == "stackexchange":
        title = _text(field(meta, *_TITLE))
        if title and not _stands(title, there):
            parts.insert(0, f"Question: {title}")
    parts += _lines(SHAPES[shape], meta, there)
    if shape == "stackexchange":
        parts += [answer for answer, body in _answers(meta) if not _stands(body, there)]
    return "\n\n".join(parts)


def repo_head(meta: Mapping[str, JSON], share: float = 1.0) -> str:
    """`<reponame>..<filename>..<gh_stars>..` and a line end, to stand before code; what `meta` lacks is left out.

    Stars are given as one of five buckets: 0, 1-10, 10-100, 100-1000, 1000+. Each mark is put with the probability
    `share`, by a hash of repository, file and mark, so that a model also learns to do without; StarCoder took 0.2. The
    marks will be read as special tokens, so a name that holds `<` is left out.

    source  Li et al. 2023 (arXiv 2305.06161), section 5.1
    """
    repo, path, stars = field(meta, *REPO), field(meta, *PATH), field(meta, *STAR_COUNT)
    named = {"<reponame>": _text(repo), "<filename>": _text(path), "<gh_stars>": _bucket(stars)}
    seed = f"{named['<reponame>']}\n{named['<filename>']}\n"
    known = {mark: name for mark, name in named.items() if name and "<" not in name}
    put = "".join(mark + name for mark, name in known.items() if _drawn(seed + mark) < share)
    return put and f"{put}\n"


def field(meta: Mapping[str, JSON], *names: str) -> JSON:
    """The first of these fields that is there and not empty; None if none is."""
    return next((meta[name] for name in names if meta.get(name) not in (None, "", [])), None)


def _drawn(seed: str) -> float:
    return hash64(seed) / 2**64


def _bucket(stars: JSON) -> str:
    try:
        count = float(str(stars))
    except ValueError:
        return ""
    return next((name for most, name in STARS if count <= most), "1000+")


def _lines(lines: tuple[Line, ...], meta: Mapping[str, JSON], there: str) -> list[str]:
    """Short fields as one part, one a line, then each long one as a part."""
    short: list[str] = []
    long: list[str] = []
    for line in lines:
        values = _values(field(meta, *line.names), line.separator)
        value = ("\n" if line.block else ", ").join(values)
        written = f"{line.label}:\n{value}" if line.block else f"{line.label}: {value}"
        if not values or _stands(written, there) or all(_stands(v, there) and not _number(v) for v in values):
            continue
        (long if line.block else short).append(written)
    return [*(["\n".join(short)] if short else []), *long]


def _values(value: JSON, separator: str) -> list[str]:
    """The parts of a field: of a list, or of a text that separates them (`a|b`, `<a><b>`)."""
    if isinstance(value, str) and value.startswith("["):
        value = _parsed(value)
    if isinstance(value, str) and separator == "|" and value.startswith("<"):
        value = value.strip("<>").replace("><", "|")
    if isinstance(value, str) and separator:
        parts: list[Any] = value.split(separator)
    else:
        parts = value if isinstance(value, list) else [value]
    return [text for text in map(_text, parts) if text]


def _answers(meta: Mapping[str, JSON]) -> list[tuple[str, str]]:
    """The best answers as they are written, and their texts alone."""
    given = field(meta, "answers")
    if isinstance(given, str):
        given = _parsed(given)
    ranked = []
    for place, answer in enumerate(given if isinstance(given, list) else [given]):
        fields = answer if isinstance(answer, dict) else {"text": answer}
        body, score = _text(field(fields, *_ANSWER)), _score(field(fields, *_ANSWER_SCORE))
        accepted = field(fields, *_ACCEPTED) in (True, 1)
        if body and score >= 0:
            notes = [f"score {score:g}"] if field(fields, *_ANSWER_SCORE) is not None else []
            notes += ["accepted"] if accepted else []
            head = f"Answer ({', '.join(notes)}):" if notes else "Answer:"
            ranked.append(((-score, not accepted, place), f"{head}\n{body}", body))
    return [(written, body) for _, written, body in sorted(ranked)[:BEST]]


def _score(value: JSON) -> float:
    try:
        score = float(str(value))
    except ValueError:
        return 0.0
    return score if abs(score) < 1e9 else 0.0  # no votes: infinity and its like


def _parsed(value: str) -> Any:
    """JSON of a list; a text that is none stays what it is."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return found if isinstance(found, list) else value


def _text(value: JSON) -> str:
    """A value in words; empty for what is neither text nor number."""
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))  # a name in parts
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def _number(value: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9][0-9.]*", value) is not None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _stands(value: str, there: str) -> bool:
    """Whether a value stands in a plain text, and not merely within other words."""
    plain = _plain(value)
    at = there.find(plain)
    while at >= 0:
        end = at + len(plain)
        if not (_glued(there[at - 1 : at + 1] if at else "") or _glued(there[end - 1 : end + 1])):
            return True
        at = there.find(plain, at + 1)
    return False


def _glued(pair: str) -> bool:
    """Whether two characters are of one word; scripts that put no space between words may begin one anywhere."""
    return len(pair) == 2 and pair.isalnum() and all(char < "\u0e00" or "\u1e00" <= char < "\u2e80" for char in pair)
