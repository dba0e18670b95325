"""Fixtures that all tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Facts, Runtime, Work

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

# Files in the order in which they begin: what takes long first, so that no process is idle at the end. The run that
# the others read takes half of the whole time, and compiles the kernels. The other process does what needs neither,
# then what needs only the kernels, so that it never waits for that run; who reads it comes after.
FIRST = (
    "e2e/test_tiny.py",
    "train/test_shard.py",
    "train",
    "tune",
    "model",
    "oracles",
    "data",
    "evals",
    "e2e/test_bigcode.py",
    "e2e",
    "cli",
    "review",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in the order of `FIRST`; the rest follows as it stands."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((i for i, first in enumerate(FIRST) if name == first or name.startswith(f"{first}/")), len(FIRST))

    items.sort(key=rank)


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


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of a test says that the machine is busy, which it may be."""
    monkeypatch.setattr("aurora_m.core.run.load", lambda: 0.0)
