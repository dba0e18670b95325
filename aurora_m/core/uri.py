"""Local places that a recipe may name: `file:GLOB` beside the recipe, and `sample:NAME` that ships with Aurora."""

import glob
from pathlib import Path

from aurora_m.core.canon import digest, file_digest
from aurora_m.core.errors import DataError

SAMPLE = Path(__file__).parents[1] / "sample"


def local_files(uri: str, root: Path) -> list[Path]:
    """The files that a `file:` or `sample:` uri means, sorted. DataError if there is none."""
    scheme, _, name = uri.partition(":")
    if scheme == "sample":
        found = sorted(SAMPLE.glob(f"{name}.jsonl"))
    elif scheme == "file":
        found = sorted(Path(path) for path in glob.glob(str(root / name), recursive=True) if Path(path).is_file())
    else:
        raise DataError(
            f"`{uri}` names no file", at=uri, hint="write file:GLOB, relative to the recipe, or sample:NAME"
        )
    if not found:
        where = "the sample that ships" if scheme == "sample" else str(root)
        raise DataError(f"no file matches `{name}`", at=where, hint="check the name; paths are relative to the recipe")
    return found


def pin_files(paths: list[Path]) -> str:
    """A digest of what some files hold now, and of their names."""
    return digest([[path.name, file_digest(path)] for path in paths])
