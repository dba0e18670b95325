"""What a run knows of its base model before it loads it: the files, and how long a row may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aurora_m.core.ends import CONFIG, MORE_TEMPLATES, TOKENIZER, Ends, declared_ends
from aurora_m.core.errors import DataError, Missing, RecipeError
from aurora_m.core.files import json_object
from aurora_m.core.uri import local_files

GGUF = ".gguf"
PYTHON = "python:"
# How configs of transformers name the tokens that a row may have, their own or their text model's.
POSITIONS = (
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length", "seq_len"
)  # fmt: skip
TEXT_MODELS = ("text_config", "llm_config", "language_config", "decoder")


def base_files(model: str, root: Path) -> dict[str, Path]:
    """The files of a local model: those of a folder, or one GGUF file. Missing if there is none."""
    if model.startswith(PYTHON):
        path = base_path(model, root)
        return {path.name: path}
    if model.endswith(GGUF):
        return local_files(model, root)
    templates = f"{model}/{MORE_TEMPLATES}"
    more = local_files(f"{templates}/*", root) if (root / templates.removeprefix("file:")).is_dir() else {}
    return {**local_files(f"{model}/*", root), **{f"{MORE_TEMPLATES}/{name}": path for name, path in more.items()}}


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


def json_of(path: Path, at: str) -> dict[str, Any]:
    """The JSON object that a file of a base holds. DataError, with `at`, names the file and what is wrong with it."""
    try:
        return json_object(path)
    except (DataError, OSError) as error:
        reason = error.what if isinstance(error, DataError) else error.strerror
        what = f"the base's file `{path.name}` is not read: {reason}"
        raise DataError(what, at=at, hint="copy it again, or save the model again") from error


@dataclass(frozen=True)
class Lengths:
    """What a recipe wants a base to read, in tokens, by where the recipe says it."""

    rows: Mapping[str, int]
    answers: Mapping[str, int]  # that a model writes after a prompt

    def check(self, base: Path) -> None:
        """RecipeError if one is longer than a base can read. A base that is not there yet says nothing."""
        path = base / CONFIG
        found = positions_of(json_of(path, str(path))) if path.is_file() else None
        for at, row_tokens in self.rows.items():
            if found is not None and row_tokens > found:
                what = f"rows of {row_tokens} tokens do not fit the base's {found} positions"
                raise RecipeError(what, at=at, hint="make rows shorter, or choose another base")
        for at, tokens in self.answers.items():
            if found is not None and tokens >= found:
                what = f"{tokens} new tokens leave no room for a prompt in the base's {found} positions"
                raise RecipeError(what, at=at, hint="write fewer, or choose another base")


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The longest row that a model of a config.json can read; None where it says none."""
    parts = [config, *(config[name] for name in TEXT_MODELS if isinstance(config.get(name), Mapping))]
    found = (part.get(name) for part in parts for name in POSITIONS)
    return next((size for size in found if isinstance(size, int) and size > 0), None)
