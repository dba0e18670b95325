"""How kernels are compiled: by numba, kept on disk until any kernel's source changes."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder() -> str:
    """numba looks at the age of the file a kernel stands in, not at those it calls: so all sources name the folder."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    kernels = b"".join(source for source in sources if b"compiled" in source)
    name = f"aurora-m/kernels-{hashlib.sha256(kernels).hexdigest()[:16]}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (home / name).mkdir(parents=True, exist_ok=True)
    except OSError:
        home = Path(tempfile.gettempdir())
    return str(home / name)


numba.config.CACHE_DIR = _folder()  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """A function as machine code, without the interpreter's lock, dividing as numpy does."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
