"""How kernels are compiled: by numba, kept on disk until any kernel's source changes."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder() -> str:
    """numba looks at the age of the file a kernel stands in, not at those it calls: so all sources name the folder.

    numba unpickles what it finds there, so that whoever can write to the folder runs code here: it is one that only
    this user can write to, for this process alone if there is no other.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    kernels = b"".join(source for source in sources if b"compiled" in source)
    name = f"kernels-{hashlib.sha256(kernels).hexdigest()[:16]}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for parent in (home / "aurora-m", Path(tempfile.gettempdir()) / f"aurora-m-{os.getuid()}"):
        if _ours(parent) and _ours(parent / name):
            return str(parent / name)
    return tempfile.mkdtemp(prefix="aurora-m-")


def _ours(folder: Path) -> bool:
    """Whether a folder is there, or could be made, that belongs to this user and that no other may write to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and os.access(folder, os.W_OK)
    return ours and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


numba.config.CACHE_DIR = _folder()  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """A function as machine code, without the interpreter's lock, dividing as numpy does."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
