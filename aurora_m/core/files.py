"""Write files so that a crash leaves the old one or the new one, never a half."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aurora_m.core.canon import JSON


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary neighbour for writing; on success it is synced and takes `path`'s place.

    Its name begins with a dot, as no name in a recipe does: it is never that of another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: JSON) -> None:
    """Write one JSON value for people to read: indented, key order kept."""
    with replacing(path) as file:
        file.write(json_text(value))


def json_text(value: JSON) -> bytes:
    """One JSON value for people to read: indented, key order kept."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_json(path: Path) -> Any:
    """Read one JSON file. ValueError if it is none."""
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> Any:
    """One JSON value. ValueError if it is none, or is nested deeper than Python can follow."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deep") from error


def write_jsonl(path: Path, rows: Iterable[JSON]) -> int:
    """Write one JSON value a line; returns how many."""
    count = 0
    with replacing(path) as file:
        for row in rows:
            count += 1
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    return count


def read_jsonl(path: Path) -> list[Any]:
    """Read one JSON value a line."""
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shard_name(index: int, count: int, suffix: str) -> str:
    """Name shard `index` of `count`: `00017-of-00064.parquet`."""
    return f"{index:05d}-of-{count:05d}.{suffix}"
