"""What a run knows of its base model before it loads it: the files, and how long a row may be."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from aurora_m.core.ends import CONFIG, TOKENIZER, Ends, declared_ends
from aurora_m.core.errors import Missing, RecipeError
from aurora_m.core.uri import local_files

GGUF = ".gguf"
PYTHON = "python:"
POSITIONS = ("max_position_embeddings", "n_positions")  # how configs of transformers name them


def base_files(model: str, root: Path) -> dict[str, Path]:
    """The files of a local model: those of a folder, or one GGUF file. Missing if there is none."""
    if model.startswith(PYTHON):
        path = base_path(model, root)
        return {path.name: path}
    return local_files(model if model.endswith(GGUF) else f"{model}/*", root)


def base_path(model: str, root: Path) -> Path:
    """Where a local model lies: `file:` below `root`, `python:PACKAGE/FILE` in an installed package, not imported.

    Missing if there is no such package, or no such file in it.
    """
    scheme, _, name = model.partition(":")
    if scheme == "file":
        return root / name
    package, _, file = name.partition("/")
    found = find_spec(package)
    folders = found.submodule_search_locations if found else None
    if not folders:
        hint = f"install it: pip install --no-deps {package.replace('_', '-')}"
        raise Missing(f"there is no installed package `{package}`", at=model, hint=hint)
    path = next((Path(folder, file) for folder in folders if Path(folder, file).is_file()), None)
    if path is None:
        hint = "install the version of the package that has it"
        raise Missing(f"the package `{package}` has no file `{file}`", at=model, hint=hint)
    return path


def base_ends(model: str, root: Path, end_token: str) -> Ends | None:
    """How documents begin and end under a `file:` base, if its folder is there; see `declared_ends` for errors."""
    folder = root / model.removeprefix("file:")
    there = model.startswith("file:") and (folder / CONFIG).is_file() and (folder / TOKENIZER).is_file()
    return declared_ends(folder, end_token) if there else None


def check_rows(model: str, root: Path, rows: Mapping[str, int]) -> None:
    """RecipeError if a row of some length, by where the recipe says it, is longer than a `file:` base can read.

    Only a folder that is there already can say it; other bases are looked at when they are loaded.
    """
    path = root / model.removeprefix("file:") / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    for at, row_tokens in rows.items():
        if found is not None and row_tokens > found:
            what = f"rows of {row_tokens} tokens do not fit the base's {found} positions"
            raise RecipeError(what, at=at, hint="make rows shorter, or choose another base")
