"""The plan of the house, kept by a test: who imports whom, where torch lives, how long files are, and its words."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "aurora_m"
HOUSE = Path(__file__).parents[1] / PACKAGE
LEVELS = (
    {"core"},
    {"recipe", "data", "tokens", "model", "review"},
    {"train", "evals", "redteam"},
    {"tune", "foresight", "report"},
    {"release"},
    {"graph"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
TORCH_HOMES = re.compile(r"(model|train|tune)/|evals/answer\.py$")
STEPS = re.compile(r"[a-z]+/steps\.py")
FUNCTION_NAME = re.compile(r"[a-z_]+(\.[a-z_]+)*:[A-Za-z_]\w*")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
FILE_LINES = 350
# Words of a private English, as names of functions, classes, parameters and attributes; CONTRIBUTING has the others.
OLD_WORDS = frozenset("ahead asked bring came hold how lacks said settle told".split())  # noqa: SIM905
VAGUE_FILES = re.compile(r"(utils?|helpers?|manager|common|misc|base_\w+)\.py")

Import = tuple[str, int, bool]  # dotted name, line, inside a function
FILES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py") if "sample" not in path.parts)


def read(name: str) -> ast.Module:
    return ast.parse((HOUSE / name).read_text())


def room_of(name: str) -> str:
    """`train` of `train/loop.py`, `cli` of `cli.py`."""
    return name.split("/")[0].removesuffix(".py")


def imports(tree: ast.Module, name: str) -> Iterator[Import]:
    """Each imported module or name, with relative imports spelled out."""
    folder = [PACKAGE, *name.split("/")[:-1]]
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, FUNCTION) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", node.lineno, id(node) in inside) for alias in node.names)


def typing_only(tree: ast.Module) -> set[int]:
    """The lines below `if TYPE_CHECKING:`, which never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    return {line for block in blocks for n in block.body for line in range(n.lineno, (n.end_lineno or 0) + 1)}


def wrong_imports(tree: ast.Module, name: str) -> list[str]:
    """What a file may not import, one line for each."""
    here, typing_lines, found = room_of(name), typing_only(tree), []
    for module, line, lazy in imports(tree, name):
        top, _, rest = module.partition(".")
        there = rest.split(".")[0]
        if module == f"{PACKAGE}.__version__" or name == "__main__.py":
            continue
        if top == PACKAGE and name != "__init__.py" and there != here and LEVEL.get(there, 99) >= LEVEL.get(here, -1):
            found.append(f"{name}:{line}: `{here}` may not import `{module}`")
        if top == PACKAGE and name == "__init__.py" and line not in typing_lines:
            found.append(f"{name}:{line}: the package imports nothing of its own")
        if STEPS.fullmatch(name) and top == PACKAGE and there not in ("core", "recipe"):
            found.append(f"{name}:{line}: declarations import no function, but `{module}`")
        if top in ("torch", "transformers") and not TORCH_HOMES.match(name):
            found.append(f"{name}:{line}: `{top}` lives in model, train, tune and evals/answer.py only")
        if here == "core" and not (
            top in (PACKAGE, "numpy", "pyarrow")
            or top in sys.stdlib_module_names
            or (top in ("rich", "ray") and (lazy or line in typing_lines))
        ):
            found.append(f"{name}:{line}: core may not import `{module}`")
    return found


def step_functions(tree: ast.Module) -> list[tuple[str, int]]:
    """The strings that look like `train.loop:train`, with their lines."""
    return [
        (node.value, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FUNCTION_NAME.fullmatch(node.value)
        if node.value.split(":")[0].split(".")[0] in LEVEL
    ]


def old_words(tree: ast.Module) -> list[str]:
    """Old words in the names of functions, classes, parameters and attributes, with their lines."""
    named = []
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION | ast.ClassDef):
            named.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            named.append((node.lineno, node.arg))
        elif isinstance(node, ast.Attribute):
            named.append((node.lineno, node.attr))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named.append((node.lineno, node.target.id))
    return [f"{line}: {name}" for line, name in named if name.strip("_").lower() in OLD_WORDS]


# --- the house


def test_every_room_has_a_level() -> None:
    assert {room_of(name) for name in FILES} - {"__init__", "__main__"} <= set(LEVEL)
    assert "core/step.py" in FILES


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_only(name: str) -> None:
    assert wrong_imports(read(name), name) == []


@pytest.mark.parametrize("name", [name for name in FILES if not STEPS.fullmatch(name)])
def test_only_steps_files_name_functions(name: str) -> None:
    assert step_functions(read(name)) == []
    if name != "core/step.py":
        assert "importlib.import_module" not in {module for module, _, _ in imports(read(name), name)}


def test_every_step_function_is_declared_once_and_in_its_own_room() -> None:
    declared = {name: step_functions(read(name)) for name in FILES if STEPS.fullmatch(name)}
    named = [text for found in declared.values() for text, _ in found]
    assert sorted(named) == sorted(set(named)) == sorted(written_steps())
    for name, found in declared.items():
        for text, line in found:
            assert text.split(".")[0] == room_of(name), f"{name}:{line}: `{text}`"


def written_steps() -> set[str]:
    """The functions of the rooms whose first argument is `work` and whose others have names: `train.stage:train`."""
    return {
        f"{name.removesuffix('.py').replace('/', '.')}:{node.name}"
        for name in FILES
        for node in read(name).body
        if isinstance(node, ast.FunctionDef) and [a.arg for a in node.args.args] == ["work"] and node.args.kwonlyargs
    }


def length(name: str) -> int:
    return len((HOUSE / name).read_text().splitlines())


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str) -> None:
    assert length(name) <= FILE_LINES


@pytest.mark.parametrize("name", FILES)
def test_old_words_stay_out(name: str) -> None:
    assert old_words(read(name)) == []


@pytest.mark.parametrize("name", FILES)
def test_files_are_named_for_what_they_do(name: str) -> None:
    assert not VAGUE_FILES.fullmatch(name.split("/")[-1])


# --- the rules themselves


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core/x.py", "from aurora_m.data import docs"),
        ("core/x.py", "def f():\n    import aurora_m.recipe"),
        ("core/x.py", "from ..recipe import Recipe"),
        ("core/x.py", "import polars"),
        ("core/x.py", "import rich"),
        ("data/x.py", "from aurora_m import tokens"),
        ("data/x.py", "from aurora_m import recipe"),
        ("recipe.py", "import aurora_m.data.docs as d"),
        ("train/x.py", "from ..evals.task import Task"),
        ("train/x.py", "from aurora_m import graph"),
        ("graph/build.py", "from aurora_m.cli.main import main"),
        ("data/steps.py", "from aurora_m.data.read.sources import fetch"),
        ("train/steps.py", "from aurora_m.core.declare import step\nfrom aurora_m.model.load import load_model"),
        ("__init__.py", "from aurora_m.core.run import run"),
        ("data/x.py", "import torch.nn as nn"),
        ("evals/score.py", "def f():\n    from transformers import AutoModel"),
        ("evals/answer_more.py", "import torch"),
        ("core/model/x.py", "import torch"),
        ("newroom/x.py", "from aurora_m.core import step"),  # a room without a level may import nothing
    ],
)
def test_what_is_wrong_is_found(name: str, text: str) -> None:
    found = wrong_imports(ast.parse(text), name)
    assert found
    assert all(line.startswith(f"{name}:") for line in found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core/x.py", "import json, numpy\nimport pyarrow.parquet as pq\nfrom aurora_m.core import step"),
        ("core/x.py", "def f():\n    from rich.progress import Progress"),
        ("core/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rich.progress import Progress"),
        ("train/x.py", "import torch\nfrom aurora_m.model.load import load\nfrom . import loss"),
        ("evals/answer.py", "import torch, transformers"),
        ("cli/main.py", "from aurora_m import __version__, graph, recipe"),
        ("__init__.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from aurora_m.core.run import run"),
        ("train/steps.py", "from aurora_m.core.declare import step\nfrom aurora_m.recipe import Training"),
    ],
)
def test_what_is_right_passes(name: str, text: str) -> None:
    assert wrong_imports(ast.parse(text), name) == []


def test_function_names_in_strings_are_found() -> None:
    tree = ast.parse('Step("a", "train.loop:train"); x = "file:train.loop"; y = "at 3:4"; z = "tokens: many"')
    assert step_functions(tree) == [("train.loop:train", 1)]


def test_old_words_are_found_in_names_only() -> None:
    tree = ast.parse(
        "class Told:\n    how: int\n"
        "def _hold(asked, *, said=1):\n    came = asked.lacks\n    f(how='ahead')\n    return holds\n"
    )
    assert old_words(tree) == ["1: Told", "3: _hold", "2: how", "3: asked", "3: said", "4: lacks"]


def test_vague_file_names() -> None:
    assert all(VAGUE_FILES.fullmatch(name) for name in ("utils.py", "helper.py", "misc.py", "base_model.py"))
    assert not any(VAGUE_FILES.fullmatch(name) for name in ("base.py", "managers_of.py", "utility.py"))
