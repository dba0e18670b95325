"""Recipes, items, safety rows and ledgers that are almost right: an error of ours, or just what they say."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import example, given

from aurora_m.core.files import json_rows
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.core.typed import plain
from aurora_m.core.units import parse_count
from aurora_m.core.uri import local_files, pin_files
from aurora_m.evals.items import read_own_items
from aurora_m.graph.build import build
from aurora_m.recipe import Recipe, dumps, loads
from aurora_m.review.decisions import Decision, append, item_digest, read
from aurora_m.review.gate import gate
from tests.fuzz.mutations import SEEDS, examples, exchanged, flipped, tried

TINY = (Path(__file__).parents[2] / "recipes/tiny.toml").read_bytes()
ITEMS: list[dict[str, Any]] = [
    {"id": "a", "task": "t", "kind": "choice", "lang": "en", "prompt": "Q", "choices": ["x", "y"], "answer": 0},
    {"id": "b", "task": "c", "kind": "code", "lang": "code", "prompt": "def f():\n",
     "answer": " return 1\n", "tests": "f()"},
    {"id": "c", "task": "r", "kind": "refuse", "lang": "fi", "prompt": "Ei", "concern": "cbrn", "group": "g"},
]  # fmt: skip
ROW = {
    "id": "en-saf-001", "lang": "en", "concern": "cbrn", "split": "train",
    "prompt": "p", "answer": "a", "twin": "t", "twin_answer": "ta",
}  # fmt: skip


# --- recipes


def recipe_of(text: str) -> Recipe | None:
    return tried(lambda: loads(text))


def stands(recipe: Recipe) -> None:
    """A recipe that was taken is written and read as the same, and its graph is built or refused."""
    assert loads(dumps(recipe)) == recipe
    tried(lambda: build(recipe, Path("/nowhere")))


def alike(found: Any, wanted: Any) -> bool:
    """Whether nothing but defaults is there that the text does not say, and numbers are as they were written."""
    if isinstance(found, dict):
        return all(alike(value, wanted[key]) for key, value in found.items())
    if isinstance(found, list):
        return len(found) == len(wanted) and all(map(alike, found, wanted))
    return bool(found == (parse_count(wanted) if isinstance(found, int) and isinstance(wanted, str) else wanted))


@examples(100)
@given(SEEDS)
def test_recipes_with_other_bytes(seed: int) -> None:
    content = flipped(TINY, seed)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    recipe = recipe_of(text)
    if recipe:
        assert alike(plain(recipe), tomllib.loads(text))
        stands(recipe)


@examples(100)
@given(SEEDS)
@example(1648824867)  # a source without an address
def test_recipes_with_other_values(seed: int) -> None:
    text = exchanged(tomllib.loads(TINY.decode()), seed)
    try:
        text = tomli_w.dumps(json.loads(text))  # what is JSON and no TOML is not tried
    except (ValueError, TypeError, RecursionError, AttributeError):
        return
    recipe = recipe_of(text)
    if recipe:
        stands(recipe)


# --- items


def lines_of(rows: list[dict[str, Any]], seed: int) -> bytes:
    """Rows as lines, one of them with other values, or all with other bytes."""
    texts = [json.dumps(row) for row in rows]
    if seed % 2:
        return flipped("\n".join(texts).encode(), seed)
    number = random.Random(seed).randrange(len(rows))
    texts[number] = exchanged(rows[number], seed)
    return "\n".join(texts).encode("utf-8", "surrogatepass")


@examples(300)
@given(SEEDS)
def test_items(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(lines_of(ITEMS, seed))
    items = tried(lambda: read_own_items(path))
    if items is not None:
        rows = [row for _, row in json_rows(path)]
        for item, row in zip(items, rows, strict=True):
            found = item.to_json()
            assert {key: row.get(key) for key in found} == found
            json.dumps(found, ensure_ascii=False).encode()


# --- safety rows and ledgers


def work_in(folder: Path, seed: int) -> Work:
    place = folder / str(seed)
    (place / "out").mkdir(parents=True, exist_ok=True)
    return Work(place / "out", place, Runtime(folder, root=folder), Log(quiet=True))


@examples(150)
@given(SEEDS)
def test_safety_rows(tmp_path: Path, seed: int) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines_of([ROW, {**ROW, "id": "en-saf-002", "prompt": "q"}], seed))
    (tmp_path / "decisions.jsonl").unlink(missing_ok=True)
    append(tmp_path / "decisions.jsonl", [Decision(item_digest(ROW), "ok", "ann", "", "2026-01-01T00:00:00Z")])
    pins = {name: pin_files(local_files(f"file:{name}.jsonl", tmp_path)) for name in ("rows", "decisions")}
    facts = tried(
        lambda: gate(
            work_in(tmp_path, seed),
            rows="file:rows.jsonl",
            rows_pin=pins["rows"],
            decisions="file:decisions.jsonl",
            decisions_pin=pins["decisions"],
            reviewers=1,
        )
    )
    if facts:  # no row passes but the one that somebody decided on
        passed = [row["prompt"] for _, row in json_rows(tmp_path / str(seed) / "out/rows.jsonl")]
        assert set(passed) <= {"p", "t"}


LEDGER = [Decision(item_digest(ROW), verdict, who, "why: 日本", "2026-01-01T00:00:00Z") for verdict, who in (
    ("ok", "ann"), ("reject", "bo"), ("ok", "bo"), ("ok", "cy"))]  # fmt: skip


@examples(300)
@given(SEEDS)
@example(0)
def test_ledgers(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "decisions.jsonl"
    path.unlink(missing_ok=True)
    append(path, LEDGER)
    whole, rows = read(path), [row for _, row in json_rows(path)]
    path.write_bytes(flipped(path.read_bytes(), seed) if seed % 3 else lines_of(rows, 2 * seed))
    found = tried(lambda: read(path))
    if found is not None:  # a tail may be cut, and nothing else may be different
        assert found == whole[: len(found)]
