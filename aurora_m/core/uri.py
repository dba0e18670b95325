"""Local places that a recipe may name: `file:GLOB` beside the recipe, and `sample:GLOB` that ships with Aurora."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aurora_m.core.canon import digest, file_digests
from aurora_m.core.errors import DataError, Missing
from aurora_m.core.visible import HIDDEN

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


@contextmanager
def pinned(files: Mapping[str, Path], pin: str, at: str) -> Iterator[None]:
    """Read files within: DataError at its end unless they held all the while what was pinned when the plan was made."""
    with unchanged(lambda: pin_files(files), pin, at, files.values()):
        yield


@contextmanager
def unchanged(now: Callable[[], str], pin: str, at: str, files: Iterable[Path] = ()) -> Iterator[None]:
    """DataError, when what is read within has been read, unless it still is what the pin says.

    now    the pin of what there is; taken afterwards, so that no change before or while it is read goes unseen
    files  that lie here and are read: one that was changed and changed back has another time of change
    """
    before = _times(files)
    try:
        yield
    except Exception as error:
        if _times(files) != before:  # then this may be why it cannot be read
            raise changed(at) from error
        raise
    try:
        same = now() == pin and _times(files) == before
    except (OSError, Missing) as error:
        raise changed(at) from error
    if not same:
        raise changed(at)


def _times(files: Iterable[Path]) -> list[tuple[int, int, int] | None]:
    """Size and times of files; the time of change of the inode cannot be set back."""
    times: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            about = path.stat()
        except OSError:
            times.append(None)
        else:
            times.append((about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    return times


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
    for name in names:
        if HIDDEN.search(name) or "\n" in name:
            what, hint = "a file's name is not utf-8, or has control characters in it", "rename the file"
            raise DataError(what, at=str(root / name), hint=hint)
    files = {Path(os.path.relpath(name, base)).as_posix(): root / name for name in names}
    return dict(sorted(files.items()))
