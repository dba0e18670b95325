"""The tiny recipe and its twin without replay, run once for all processes of a test session, as real processes."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[2]
TINY = HOUSE / "recipes/tiny.toml"
NO_REPLAY = HOUSE / "recipes/tiny_no_replay.toml"
MEASURED = (  # a small process between: the peak of a child that this large one forks would begin with its own
    sys.executable,
    "-c",
    "import resource, subprocess, sys; ended = subprocess.run(sys.argv[2:]); "
    "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024; "
    "open(sys.argv[1], 'w').write(str(peak)); sys.exit(ended.returncode)",
)

Aurora = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*words: object) -> list[str]:
    """An aurora command as a process would get it."""
    return [sys.executable, "-m", "aurora_m", *map(str, words)]


def aurora(*words: object, code: int = 0, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end and check its exit code."""
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run([*before, *command(*words)], cwd=HOUSE, capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr[-4000:]
    return done


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which both recipes were run without a break, by whichever test process came first. To read only."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "tiny"
    with (shared / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "whole").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            aurora("run", TINY, "--store", home / "store", before=(*MEASURED, str(home / "peak")))
            aurora("run", NO_REPLAY, "--store", home / "store")
            (home / "whole").touch()
    return home / "store"


def copied(store: Path, folder: Path) -> Path:
    """A store of one's own to run in: artifacts are never written again, so they are linked."""

    def link(source: str, target: str) -> None:
        (os.link if Path(source).is_relative_to(store / "artifacts") else shutil.copy2)(source, target)

    return Path(shutil.copytree(store, folder / "store", copy_function=link))


@pytest.fixture
def own_store(store: Path, tmp_path: Path) -> Path:
    """A copy of the store, to write to."""
    return copied(store, tmp_path)


@pytest.fixture(scope="session")
def peak_bytes(store: Path) -> int:
    """The most memory that a process of the tiny run had."""
    return int((store.parent / "peak").read_text())


@pytest.fixture(scope="session")
def changes(store: Path) -> list[dict[str, Any]]:
    """Every model of the tiny chain against its base."""
    return read_changes(store, "tiny")


def read_changes(store: Path, recipe: str) -> list[dict[str, Any]]:
    """The rows of a recipe's forgetting report."""
    shown = json.loads(aurora("show", f"{recipe}/forgetting", "--store", store, "--json").stdout)
    rows: list[dict[str, Any]] = json.loads((Path(shown["path"]) / "changes.json").read_text())["rows"]
    return rows
