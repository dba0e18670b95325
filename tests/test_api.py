"""The names of the package: what the documentation teaches, there and typed, and `import aurora_m` stays light."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aurora_m

HOUSE = Path(__file__).parents[1]
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize("name", aurora_m.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(aurora_m, name).__name__ == name


def test_the_version_is_one() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert project["version"] == aurora_m.__version__
    assert f"\nversion: {aurora_m.__version__}\n" in (HOUSE / "CITATION.cff").read_text()


def test_what_mypy_sees_is_what_is_there() -> None:
    typed = ast.parse((HOUSE / "aurora_m/__init__.py").read_text()).body
    imports = [n for block in typed if isinstance(block, ast.If) for n in block.body if isinstance(n, ast.ImportFrom)]
    homes = {str(n.module): tuple(alias.name for alias in n.names) for n in imports}
    assert homes == aurora_m.HOMES  # type: ignore[attr-defined]  # which mypy is not shown
    assert sorted(name for names in homes.values() for name in names) == sorted(aurora_m.__all__)


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module `aurora_m` has no attribute `train_it`"):
        aurora_m.train_it  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, aurora_m; print([m for m in sys.modules if m.startswith(('aurora_m.', 'torch', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("block", BLOCKS)
def test_the_documentation_uses_these_names_only(block: str) -> None:
    assert not re.search(r"(from|import) aurora_m\.", block)
    tree = ast.parse(block)
    names = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "aurora_m"]
    assert names
    assert set(names) <= set(aurora_m.__all__)
    compile(tree, "block", "exec")


def test_the_planning_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [p.values[0] for p in BLOCKS if "aurora_m.plan(" in str(p.values[0])]
    (tmp_path / "recipes").symlink_to(HOUSE / "recipes")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(str(example).split("# make")[0], scope)
    assert [entry.step.name for entry in scope["planned"]][-1] == "report"  # type: ignore[attr-defined]


def test_the_names_are_listed_before_they_are_imported() -> None:
    """As shells and notebooks complete them."""
    assert set(aurora_m.__all__) <= set(dir(aurora_m))
    code = "import aurora_m; assert {*aurora_m.__all__, '__version__', '__path__'} <= {*dir(aurora_m)}"
    subprocess.run([sys.executable, "-c", code], check=True)
