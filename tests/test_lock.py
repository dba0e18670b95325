"""The lock file: exact versions of all that the tests need, within the bounds of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOUSE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LINES = [line for line in (HOUSE / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCKED = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}


def test_every_line_is_one_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(LOCKED) == len(LINES)


@pytest.mark.parametrize("needed", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]])
def test_what_the_project_needs_is_locked_within_its_bounds(needed: str) -> None:
    requirement = Requirement(needed)
    version = LOCKED[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


def test_what_is_locked_is_bounded_alike_everywhere() -> None:
    """An extra that is also in `test` has the same bounds in both."""
    extras = PROJECT["optional-dependencies"]
    bounds: dict[str, set[str]] = {}
    for needed in [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]:
        bounds.setdefault(Requirement(needed).name, set()).add(needed)
    assert {name: lines for name, lines in bounds.items() if len(lines) > 1} == {}
