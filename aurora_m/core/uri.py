"""Local places that a recipe may name: `file:GLOB` beside the recipe, and `sample:GLOB` that ships with Aurora."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path

from aurora_m.core.canon import digest, file_digests
from aurora_m.core.errors import DataError, Missing

SAMPLE = Path(__file__).parents[1] / "sample"


def local_files(uri: str, root: Path) -> dict[str, Path]:
    """The files that a `file:` or `sample:` uri means, by names that do not depend on where they lie.

    Missing if there is no `file:`, DataError if there is none otherwise.
    """
    scheme, _, pattern = uri.partition(":")
    if "\0" in uri:
        raise DataError("a name of files holds a zero character", at=ascii(uri), hint="write a path")
    if scheme == "sample" and pattern:
        files = _globbed(f"{pattern}.jsonl", SAMPLE)
        if not files:
            names = sorted(p.relative_to(SAMPLE).with_suffix("").as_posix() for p in SAMPLE.rglob("*.jsonl"))
            listed = ", ".join(f"`{name}`" for name in names)
            raise DataError(f"there is no sample `{pattern}`", at=uri, hint=f"the samples are {listed}")
        return files
    if scheme == "file" and pattern:
        files = _globbed(pattern, root)
        if not files:
            hint = "paths are relative to the folder of the recipe"
            raise Missing(f"no file matches `{pattern}`", at=str(root), hint=hint)
        return files
    raise DataError(f"`{uri}` names no file", at=uri, hint="write `file:data/*.jsonl` or `sample:texts/en`")


def pin_files(files: Mapping[str, Path]) -> str:
    """A digest (SHA-256, hex) of what some files hold now, and of their names."""
    return digest(dict(zip(files, file_digests(files.values()), strict=True)))


def check_pin(files: Mapping[str, Path], pin: str, at: str) -> None:
    """DataError unless the files hold what was pinned when the plan was made."""
    unchanged(pin_files(files), pin, at)


def unchanged(now: str, pin: str, at: str) -> None:
    """DataError unless a digest of what there is now is the pin."""
    if now != pin:
        raise changed(at)


def changed(at: str) -> DataError:
    """What to say of files that are not what they were when the plan was made."""
    what, hint = "files changed while the run was on its way", "run again; the new files will be taken"
    return DataError(what, at=at, hint=hint)


def _globbed(pattern: str, root: Path) -> dict[str, Path]:
    """The files below `root` by their names from the first part of the pattern that is not fixed."""
    names = [name for name in glob.glob(pattern, root_dir=root, recursive=True) if (root / name).is_file()]
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    base = Path(*parts[:fixed])
    files = {Path(os.path.relpath(name, base)).as_posix(): root / name for name in names}
    return dict(sorted(files.items()))
