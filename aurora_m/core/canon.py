"""Canonical JSON and content digests: the same value or folder has the same name everywhere."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeAlias

from aurora_m.core.machine import processors

BLOCK_BYTES = 2**18  # read at a time

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


def canonical(value: JSON) -> bytes:
    """Write JSON with sorted keys and no spaces. ValueError on NaN, TypeError on what is not JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: JSON) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return file_digests([path])[0]


def file_digests(paths: Iterable[Path], seen: Callable[[int], object] = int) -> list[str]:
    """SHA-256 of each file's bytes, in hex; as many files side by side as there are processors.

    seen  is called with numbers of bytes as they are read, from several threads
    """
    stopped = Event()
    pool = ThreadPoolExecutor(processors())
    try:
        return list(pool.map(partial(_digest, stopped=stopped, seen=seen), paths))
    finally:  # a person who stops the run does not wait for the end of a large file
        stopped.set()
        pool.shutdown()


def _digest(path: Path, *, stopped: Event, seen: Callable[[int], object]) -> str:
    sha256, block = hashlib.sha256(), bytearray(BLOCK_BYTES)
    with path.open("rb") as file:
        while not stopped.is_set() and (size := file.readinto(block)):
            sha256.update(memoryview(block)[:size])
            seen(size)
    return sha256.hexdigest()


def hash64(text: str) -> int:
    """64 bits of a text, for draws that do not depend on the order of things."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def folder_files(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below a folder, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def differences(old: JSON, new: JSON, at: str = "") -> list[str]:
    """Name the leaves in which two JSON values differ, as `path: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        leaves = []
        for key in sorted({*old, *new}):
            path = f"{at}.{key}" if at else key
            if key not in old:
                leaves.append(f"{path}: added {_short(_text(new[key]), 0)}")
            elif key not in new:
                leaves.append(f"{path}: removed {_short(_text(old[key]), 0)}")
            else:
                leaves += differences(old[key], new[key], path)
        return leaves
    if canonical(old) == canonical(new):  # what the digest sees: 1 and 1.0 differ, a tuple and a list do not
        return []
    texts = [_text(old), _text(new)]
    ends = min(map(len, texts))
    shared = next((i for i in range(ends) if texts[0][i] != texts[1][i]), ends)
    return [f"{at}: {' -> '.join(_short(text, shared) for text in texts)}"]


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _short(text: str, shared: int) -> str:
    """Cut a long text to some 120 characters around the place up to which it is as the other."""
    if len(text) <= 120:
        return text
    start = max(0, shared - 40)
    return ("..." if start else "") + text[start : start + 114] + ("..." if start + 114 < len(text) else "")
