"""Write files so that a crash leaves the old one or the new one, never a half."""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError, StoreError

DIGITS = 4000  # of an integer that somebody wrote: Python reads no more than 4,300


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


def no_link(path: str, flags: int) -> int:
    """An opener of a file that lies where others may write: StoreError if its name is a link, to whatever file."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        hint = "delete the link: the file behind it would be written to"
        raise StoreError("a file of the store is a link", at=path, hint=hint) from None


def write_json(path: Path, value: JSON) -> None:
    """Write one JSON value for people to read: indented, key order kept."""
    with replacing(path) as file:
        file.write(json_text(value))


def json_text(value: JSON) -> bytes:
    """One JSON value for people to read: indented, key order kept."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_json(path: Path) -> Any:
    """Read one JSON file of our own. DataError if it is none."""
    return parse_json(path.read_bytes(), str(path))


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


def parse_json(content: bytes, at: str) -> Any:
    """The value of a JSON text that somebody wrote.

    errors  DataError, with `at` and the line below it, if it is not JSON in utf-8: nested too deep, with a key twice,
            an endless number, or half a character (a lone surrogate), too
    """
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_table, parse_int=_integer)
        if b"\\ud" in content.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"{at}, line {error.lineno}" if content.count(b"\n", 0, -1) else at
        hint = f"{error.msg}, at character {error.colno} of the line"
        raise DataError("this is not valid JSON", at=where, hint=hint) from None
    except RecursionError:
        raise DataError("this is not valid JSON: it is nested too deep", at=at, hint="write it flat") from None
    except UnicodeDecodeError as error:
        what, hint = f"byte {error.start} is not valid utf-8", "convert the file to utf-8"
        raise DataError(what, at=at, hint=hint) from None
    except UnicodeEncodeError:
        what = "a text holds half a character (a lone surrogate)"
        raise DataError(what, at=at, hint="write the file again from whole texts") from None
    except ValueError as error:
        raise DataError(f"this is not valid JSON: {error}", at=at, hint="look at what wrote it") from None
    return value


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(name for name in made if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the key `{twice}` stands twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object that somebody's file holds. DataError, with its path, if it holds none."""
    value = parse_json(path.read_bytes(), str(path))
    if not isinstance(value, dict):
        raise DataError("this is no JSON object", at=str(path), hint='it begins with `{"`')
    return value


def json_rows(path: Path, first: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of somebody's lines, from the line `first` on, each with its place; blank lines hold none.

    DataError names the line that is no JSON object.
    """
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if number >= first and line.strip():
            at = f"{path}:{number}"
            row = parse_json(line, at)
            if not isinstance(row, dict):
                raise DataError("a row is no JSON object", at=at, hint='a row looks like `{"id": ...}`')
            yield at, row


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
