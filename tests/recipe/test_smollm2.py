"""The SmolLM2 recipe and its script: what they read, and say when it is not there. Nothing is trained."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aurora_m.core.errors import Missing, RecipeError
from aurora_m.graph.build import build
from aurora_m.model.base import base_files
from aurora_m.recipe import Recipe, load, loads

HOUSE = Path(__file__).parents[2]
RECIPE = HOUSE / "aurora_m/recipes/smollm2.toml"
MODEL = "python:made_package/model.gguf"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """benchmarks/smollm2.py as a module."""
    spec = importlib.util.spec_from_file_location("smollm2_script", HOUSE / "benchmarks/smollm2.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that can be found, and fails if it is imported."""
    folder = tmp_path / "site/made_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError")
    (folder / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def with_model(model: str) -> Recipe:
    return loads(re.sub(r"python:llm_[^\"]+", model, RECIPE.read_text()))


def test_a_model_inside_a_package(package: Path, tmp_path: Path) -> None:
    assert base_files(MODEL, tmp_path) == {"model.gguf": package / "model.gguf"}
    assert "made_package" not in sys.modules
    recipe = with_model(MODEL)
    pins = []
    for content in (b"GGUF", b"GGUG"):
        (package / "model.gguf").write_bytes(content)
        base = build(recipe, tmp_path)["base"]
        assert base.missing_input is None
        pins.append(base.params["pin"])
    assert len({*pins}) == 2
    (package / "model.gguf").unlink()
    missing: Any = build(recipe, tmp_path)["base"].missing_input
    assert (missing.what, missing.at) == ("the package `made_package` has no file `model.gguf`", MODEL)


@pytest.mark.parametrize(
    "model", ["python:made.package/model.gguf", "python:made_package", "python:made_package/folder"]
)
def test_what_names_no_file_of_a_package(model: str) -> None:
    with pytest.raises(RecipeError, match="is not a model"):
        with_model(model)


def test_a_package_that_is_not_there(tmp_path: Path) -> None:
    model = "python:no_such_package/model.gguf"
    with pytest.raises(Missing) as caught:
        base_files(model, tmp_path)
    assert caught.value.what == "there is no installed package `no_such_package`"
    assert (caught.value.at, caught.value.hint) == (model, "install it: pip install --no-deps no-such-package")


def test_without_its_texts_the_recipe_is_planned_and_says_what_it_lacks(tmp_path: Path) -> None:
    recipe = load(Path(shutil.copy(RECIPE, tmp_path)))
    steps = build(recipe, tmp_path)
    missing = {name: s.missing_input.what for name, s in steps.items() if s.missing_input and name != "base"}
    langs = ("en", "fi", "hi", "ja", "vi")
    assert missing == {f"fetch.{lang}": f"no file matches `smollm2/{lang}.jsonl`" for lang in langs}


def test_the_texts_are_passages_of_all_corpora_in_turn(script: ModuleType, tmp_path: Path) -> None:
    about = script.write_texts(tmp_path / "one", [])
    assert about == script.write_texts(tmp_path / "two", [])
    assert [*about] == ["en", "fi", "hi", "ja", "vi"]
    for lang in about:
        path = tmp_path / "one" / f"{lang}.jsonl"
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len({row["id"] for row in rows}) == len(rows) > 10
        assert sum(len(row["text"].encode()) for row in rows) == about[lang]["bytes"]
        assert max(len(row["text"].encode()) for row in rows) <= 1500
    turns = script.taking_turns({"a": ["1", "2", "3"], "b": ["4"]})
    assert [*turns] == [("a", "1"), ("b", "4"), ("a", "2"), ("a", "3")]


def test_a_passage_is_whole_sentences_of_the_middle(script: ModuleType) -> None:
    sentences = [f"Sentence number {n} says nothing new at all." for n in range(100)]
    found = script.passage(" ".join(sentences))
    assert found in " ".join(sentences[20:80])
    assert found.startswith("Sentence number 3")
    assert found.endswith("all.")
    assert 1400 < len(found) <= 1500
    assert script.passage("Too short.") == ""
    assert script.passage("私《わたし》は行く。" * 40) == "私は行く。" * 40


def test_a_language_without_text(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(json.dumps({"lang": "en", "text": "A sentence. " * 60}) + "\n")
    with pytest.raises(ValueError, match="no text in `fi`"):
        script.write_texts(tmp_path / "out", [tmp_path])


def test_the_page_has_a_row_a_language_and_a_phase(script: ModuleType) -> None:
    change = {"before": 2.0, "after": 1.5, "change": -0.25, "low": -0.3, "high": -0.2, "n": 17, "verdict": "gained"}
    result = {
        "texts": {"fi": {"docs": {"news": 3}}},
        "changes": [{**change, "lang": lang} for lang in ("code", "fi", "en")],
        "phase_seconds": {"train": 600.4},
        "training": {"tokens": 90112},
        **{"seconds": 1500.2, "seed": 17, "threads": 2, "cores": 2, "cpu": "a processor", "load_start": [0.1]},
        **{"peak_memory_bytes": 4.2e9, "date": "2026-11-24"},
    }
    lines = script.page(result).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| English", "| code", "| Finnish"]
    assert lines[4] == "| Finnish | 2.000 | 1.500 | -25.0 % [-30.0, -20.0] | 17 | gained |"
    assert "| train | 600 |" in lines
    assert lines[-1].startswith("90112 tokens learned from, seed 17, 2 threads on 2 cores (a processor), load 0.1")
