"""The documentation tells the truth: its commands run, its keys exist, its links lead somewhere."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_m import recipe

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").glob("*.md"))]
TABLES = (
    "Base", "Scratch", "Shape", "Source", "Curate", "Duplicates", "Quality", "Register", "Perplexity", "Mixture",
    "Stage", "Anchor", "Lora", "Extend", "Shards", "Merge",
    "Redteam", "Review", "Tune", "Evals", "Release",
)  # fmt: skip


def commands(page: Path) -> list[str]:
    """The `$ aurora ...` lines of a page's console blocks, without their remarks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ aurora ")]
    return [line.removeprefix("$ aurora ").split("  #")[0] for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_run(page: Path, own_store: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes").symlink_to(HOUSE / "recipes")
    environment = {**os.environ, "AURORA_STORE": str(own_store), "BROWSER": "true", "PYTHONPATH": str(HOUSE)}
    for line in commands(page):
        words = [sys.executable, "-m", "aurora_m", *shlex.split(line)]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        assert done.stdout, line


def test_every_key_is_documented() -> None:
    page = (HOUSE / "docs/recipe.md").read_text()
    sections = re.split(r"\n## ", page)
    for name in TABLES:
        kind = getattr(recipe, name)
        keys = sorted(field.name for field in dataclasses.fields(kind))
        told = [sorted(re.findall(r"^\| `(\w+)` \|", section, re.M)) for section in sections]
        assert keys in told, f"{name}: {keys}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_test_is_what_ci_runs() -> None:
    assert "\nmake test\nmake test-all\n" in (HOUSE / ".ci/run").read_text()
    assert "make test" in (HOUSE / "README.md").read_text()
