"""Named rules of keep expressions, with thresholds for each language from rules.toml, and how those are calibrated.

    python -m aurora_m.data.select.rules calibrate FILE.jsonl... --lang fi

prints where each threshold stands in clean text, and the measures' percentiles.
"""

import argparse
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import read_jsonl
from aurora_m.data.select.expression import has_top_or, tokenize

TABLE = Path(__file__).parent / "rules.toml"
DEFAULT = "default"
PERCENTILES = (0.1, 0.5, 1, 5, 50, 95, 99, 99.5, 99.9)


@cache
def table() -> dict[str, dict[str, dict[str, list[float]]]]:
    """The thresholds of rules.toml: rule -> clause without its number -> language -> [number, percentile]."""
    rules: dict[str, dict[str, dict[str, list[float]]]] = tomllib.loads(TABLE.read_text("utf-8"))["rules"]
    return rules


def thresholds(rule: str, lang: str) -> list[str]:
    """The clauses of a rule for a language, such as `words >= 50`; a language without its own has the default.

    RecipeError if the rule has no threshold for the language.
    """
    clauses = []
    for clause, numbers in table()[rule].items():
        number = numbers.get(lang, numbers.get(DEFAULT))
        if number is not None:
            clauses.append(f"{clause} {number[0]:g}" if abs(number[0]) < 1e6 else f"{clause} {int(number[0])}")
    if not clauses:
        known = sorted({name for numbers in table()[rule].values() for name in numbers})
        hint = f"leave it out for this language; it has {', '.join(f'`{name}`' for name in known)}"
        raise RecipeError(f"the rule `{rule}` has no thresholds for `{lang}`", at="keep", hint=hint)
    return clauses


def expand(keep: str, lang: str) -> str:
    """A keep expression with each rule's name in it replaced by the rule's clauses for a language.

    A name between top-level ANDs becomes clauses of its own, so that each is counted; elsewhere (`NOT c4`, `(c4 OR
    lang = 'en')`) a condition in brackets. Texts in quotes stay. RecipeError as `thresholds` and `tokenize`.
    """
    tokens = tokenize(keep)
    whole = has_top_or(tokens)
    parts, done = [], 0
    for at, token in enumerate(tokens):
        if token.text not in table():
            continue
        around = [*tokens[max(at - 1, 0) : at], *tokens[at + 1 : at + 2]]
        alone = not whole and token.depth == 0 and all(other.word == "AND" for other in around)
        condition = " AND ".join(thresholds(token.text, lang))
        parts += [keep[done : token.start], condition if alone else f"({condition})"]
        done = token.end
    return "".join([*parts, keep[done:]])


def calibration(texts: list[str], lang: str) -> Iterator[tuple[str, str, float, float, NDArray[np.float64]]]:
    """For each clause of each rule: (rule, clause, its number, the number's percentile, the PERCENTILES) in `texts`.

    The percentile is the share in % of texts that lie below the number (clauses with >= or >) or at most at it.
    """
    from aurora_m.data.measure.signals import measures

    columns = measures(pa.chunked_array([pa.array(texts, pa.large_string())]), lang)
    for rule, clauses in table().items():
        for clause, numbers in clauses.items():
            number = numbers.get(lang, numbers.get(DEFAULT))
            name, sign = clause.split()
            values = np.asarray(columns[name], np.float64)
            at = float("nan")
            if number is not None:
                at = 100 * float(np.mean(values < number[0] if ">" in sign else values <= number[0]))
            yield rule, clause, number[0] if number else float("nan"), at, np.percentile(values, PERCENTILES)


def main(words: list[str] | None = None) -> None:
    """Print the calibration table."""
    parser = argparse.ArgumentParser(prog="python -m aurora_m.data.select.rules")
    calibrate = parser.add_subparsers(required=True).add_parser("calibrate", help="where numbers stand in clean text")
    calibrate.add_argument("files", nargs="+", type=Path, help="JSON Lines with `text`")
    calibrate.add_argument("--lang", required=True)
    args = parser.parse_args(words)
    texts = [str(row["text"]) for file in args.files for row in read_jsonl(file)]
    if not texts:
        at = ", ".join(f"`{file}`" for file in args.files)
        raise DataError("there is no text", at=at, hint="give JSON Lines with `text`, of clean documents")
    print(f"{len(texts)} texts, {args.lang}")
    print(f"{'rule':18} {'clause':20} {'now':>8} {'at %':>7}", *(f"{f'p{p:g}':>8}" for p in PERCENTILES))
    for rule, clause, number, below, values in calibration(texts, args.lang):
        print(f"{rule:18} {clause:20} {number:8g} {below:7.2f}", *(f"{value:8.4g}" for value in values))


if __name__ == "__main__":
    main()
