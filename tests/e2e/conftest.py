"""The tiny recipe, run once for all end-to-end tests, as a real process."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[2]
TINY = HOUSE / "recipes/tiny.toml"
NO_REPLAY = HOUSE / "recipes/tiny_no_replay.toml"

Aurora = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*words: object) -> list[str]:
    """An aurora command as a process would get it."""
    return [sys.executable, "-m", "aurora_m", *map(str, words)]


def aurora(*words: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end and check its exit code."""
    done = subprocess.run(
        command(*words), cwd=HOUSE, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}
    )
    assert done.returncode == code, done.stderr[-4000:]
    return done


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the tiny recipe was run without a break."""
    folder = tmp_path_factory.mktemp("tiny") / "store"
    aurora("run", TINY, "--store", folder)
    return folder


@pytest.fixture(scope="session")
def peak_bytes(store: Path) -> int:
    """The most memory that a process of the tiny run had."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


@pytest.fixture(scope="session")
def changes(store: Path) -> list[dict[str, Any]]:
    """Every model of the tiny chain against its base."""
    return read_changes(store, "tiny")


def read_changes(store: Path, recipe: str) -> list[dict[str, Any]]:
    """The rows of a recipe's forgetting report."""
    shown = json.loads(aurora("show", f"{recipe}/forgetting", "--store", store, "--json").stdout)
    rows: list[dict[str, Any]] = json.loads((Path(shown["path"]) / "changes.json").read_text())["rows"]
    return rows
