"""Canonical JSON and content digests: the same value or folder has the same name everywhere."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


def canonical(value: JSON) -> bytes:
    """Write JSON with sorted keys and no spaces. ValueError on NaN, TypeError on what is not JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: JSON) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(paths: Iterable[Path]) -> list[str]:
    """`file_digest` of each file; large ones take turns on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(file_digest, paths))


def hash64(text: str) -> int:
    """64 bits of a text, for draws that do not depend on the order of things."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def folder_files(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below a folder, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def differences(old: JSON, new: JSON, at: str = "") -> list[str]:
    """Name the leaves in which two JSON values differ, as `path: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted({*old, *new}):
            path = f"{at}.{key}" if at else key
            if key not in old:
                found.append(f"{path}: added {_short(_text(new[key]), 0)}")
            elif key not in new:
                found.append(f"{path}: removed {_short(_text(old[key]), 0)}")
            else:
                found += differences(old[key], new[key], path)
        return found
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
