"""Fixtures that all tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Facts, Runtime, Work

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

MakeWork = Callable[[], Work]
MakeArtifact = Callable[..., Artifact]


@pytest.fixture
def new_work(tmp_path: Path) -> MakeWork:
    """Make an empty place for a step function to write to; each call a new one."""
    count = 0

    def make() -> Work:
        nonlocal count
        count += 1
        place = tmp_path / f"work{count}"
        (place / "out").mkdir(parents=True)
        (place / "scratch").mkdir()
        return Work(place / "out", place / "scratch", Runtime(store=tmp_path / "store"), Log(quiet=True))

    return make


@pytest.fixture
def work(new_work: MakeWork) -> Work:
    """One empty place for a step function to write to."""
    return new_work()


@pytest.fixture
def artifact() -> MakeArtifact:
    """Call a folder that a test filled an artifact."""

    def make(folder: Path, facts: Facts | None = None) -> Artifact:
        return Artifact(folder, "0" * 64, facts or {})

    return make
