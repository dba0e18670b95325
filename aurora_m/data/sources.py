"""Sources: read files, hub data sets, the standard library or the sample into docs, and say what a source holds now."""

import math
import os
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.canon import canonical
from aurora_m.core.chat import render
from aurora_m.core.errors import DataError
from aurora_m.core.step import Facts, Work
from aurora_m.core.table import write_docs
from aurora_m.core.uri import check_pin, local_files, pin_files

MAX_LINE_BYTES = 128 * 2**20
CHUNK_BYTES = 2**20
CODE_BYTES = range(500, 40_001)  # below: stubs; above: tables and generated files
SCHEMES = "`file:data/*.jsonl`, `hf:owner/name`, `python:stdlib` or `sample:texts/en`"
SUFFIXES = (".jsonl", ".json", ".parquet", ".txt")
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
NOT_LIBRARY = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
BUILT = "_sysconfigdata"  # how this Python was built, on which machine
FIELDS = {"text": ("text",), "instruction": ("instruction", "response")}
JSON_TYPES = {
    dict: "an object", list: "a list", bool: "true or false", type(None): "null", int: "a number", float: "a number"
}  # fmt: skip


class Record(NamedTuple):
    """One document as it stands in a source."""

    at: str  # for people: file and line
    id: str  # if the document has none of its own
    fields: Mapping[str, Any]


def pin(uri: str, root: Path) -> str:
    """SHA-256 (hex) of what a local source holds now, below `root` for `file:`; empty for `hf:`, which has a revision.

    DataError if the scheme is unknown or nothing is found.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "hf" and rest:
        return ""
    return pin_files(_files(uri, root))


def fetch(work: Work, *, uri: str, source: str, lang: str, pin: str, revision: str, form: str) -> Facts:
    """Write a source's documents as `docs/`, all with the declared language.

    `form` is "text" (field `text`) or "instruction" (fields `instruction` and `response`, joined by core/chat.py).
    Facts: docs, bytes of text, and the files skipped because they are not utf-8 (of `python:` only). DataError, with
    file and line, for whatever cannot be read as declared, and if the files are not those that `pin` names.
    """
    scheme = uri.partition(":")[0]
    if scheme == "hf":
        return _facts(write_docs(work.out, _docs(_hub_records(uri, revision), source, lang, form)), 0)
    files = _files(uri, work.runtime.root)
    check_pin(files, pin, uri)
    with work.log.bar(f"read {source}", len(files), "files") as bar:
        records = _library_records(files) if scheme == "python" else _file_records(files, work.runtime.root, bar.update)
        written = write_docs(work.out, _docs(records, source, lang, form))
    return _facts(written, len(files) - written[0] if scheme == "python" else 0)


def _facts(written: tuple[int, int], skipped: int) -> Facts:
    return {"docs": written[0], "bytes": written[1], "skipped": skipped}


def _files(uri: str, root: Path) -> dict[str, Path]:
    """Names (which do not depend on where the files lie) and paths of a local source's files, by name."""
    if uri == "python:stdlib":
        return _library()
    scheme, _, rest = uri.partition(":")
    if scheme in ("file", "sample") and rest:
        return local_files(uri, root)
    raise DataError(f"`{uri}` is no source", at=uri, hint=f"write {SCHEMES}")


def _library() -> dict[str, Path]:
    root = Path(sysconfig.get_path("stdlib"))
    files: dict[str, Path] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = set(folders) - NOT_LIBRARY
        paths = (Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(BUILT))
        files |= {path.relative_to(root).as_posix(): path for path in paths if path.stat().st_size in CODE_BYTES}
    return dict(sorted(files.items()))


def _docs(records: Iterable[Record], source: str, lang: str, form: str) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for at, fallback, fields in records:
        text = _text(fields, form, at)
        own = fields.get("id")
        name = own if isinstance(own, str) and own else fallback
        if name in seen:
            raise DataError(f"the id `{name}` stands twice in the source", at=at, hint="make each id unique")
        seen.add(name)
        taken = {"id", *FIELDS[form]} if name is own else FIELDS[form]
        meta = {key: value for key, value in fields.items() if key not in taken and _is_scalar(value)}
        yield {"id": name, "text": text, "source": source, "lang": lang, "meta": canonical(meta).decode()}


def _text(fields: Mapping[str, Any], form: str, at: str) -> str:
    values = []
    for name in FIELDS[form]:
        if name not in fields:
            there = _listed(list(fields)) or "none"
            raise DataError(f"there is no field `{name}`", at=at, hint=f"the fields there are {there}")
        if not isinstance(fields[name], str):
            kind = JSON_TYPES.get(type(fields[name]), f"a {type(fields[name]).__name__}")
            raise DataError(f"the field `{name}` is {kind}, not a text", at=at, hint=f"make every `{name}` a string")
        values.append(fields[name])
    return values[0] if form == "text" else render(*values)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _file_records(files: Mapping[str, Path], root: Path, progress: Any) -> Iterator[Record]:
    for done, (name, path) in enumerate(files.items(), 1):
        at = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
        suffix = next((s for s in SUFFIXES if name.removesuffix(".gz").removesuffix(".zst").endswith(s)), None)
        if suffix is None or name.endswith((".parquet.gz", ".parquet.zst")):
            raise DataError(
                f"`{name}` is no kind of file that can be read",
                at=at,
                hint=f"the kinds are {_listed(list(SUFFIXES))}, all but parquet also with `.gz` or `.zst`",
            )
        count = 0
        for count, record in enumerate(_READERS[suffix](name, path, at), 1):  # noqa: B007
            yield record
        if count == 0:
            raise DataError("the file holds no document", at=at, hint="delete it or leave it out of the source")
        progress(done)


def _jsonl(name: str, path: Path, at: str) -> Iterator[Record]:
    for line, content in _lines(path, at):
        where = f"{at}, line {line}"
        yield Record(where, f"{name}:{line}", _object(_parsed(content, where), where))


def _json(name: str, path: Path, at: str) -> Iterator[Record]:
    content = _whole(path, at)
    value = _parsed(content, at) if content.strip() else []
    for index, item in enumerate(value if isinstance(value, list) else [value], 1):
        where = f"{at}, item {index}"
        yield Record(where, f"{name}:{index}", _object(item, where))


def _txt(name: str, path: Path, at: str) -> Iterator[Record]:
    text = _decoded(_whole(path, at), at)
    if text.strip():
        yield Record(at, f"{name}:1", {"text": text})


def _parquet(name: str, path: Path, at: str) -> Iterator[Record]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for fields in batch.to_pylist():
                    row += 1
                    yield Record(f"{at}, row {row}", f"{name}:{row}", fields)
    except (pa.ArrowException, OSError) as error:
        raise DataError("the file is no whole parquet file", at=at, hint=_first_line(error)) from error


_READERS = {".jsonl": _jsonl, ".json": _json, ".txt": _txt, ".parquet": _parquet}


def _chunks(path: Path, at: str) -> Iterator[bytes]:
    """The file's bytes, decompressed, without a byte order mark."""
    kind = COMPRESSION.get(path.suffix)
    try:
        with pa.input_stream(str(path), compression=kind) as stream:
            chunk: bytes = stream.read(CHUNK_BYTES)
            yield chunk.removeprefix(b"\xef\xbb\xbf")
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except (pa.ArrowException, OSError) as error:
        what = f"the file is cut off or is not {kind}" if kind else "the file cannot be read"
        raise DataError(what, at=at, hint=f"copy or download it again ({_first_line(error)})") from error


def _lines(path: Path, at: str) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that is not blank; holds two copies of one line at most."""
    parts: list[bytes] = []
    size, number = 0, 1
    for chunk in _chunks(path, at):
        start = 0
        while start <= len(chunk):
            end = chunk.find(b"\n", start)
            parts.append(chunk[start : end if end >= 0 else None])
            size += len(parts[-1])
            if size > MAX_LINE_BYTES:
                raise _too_large("the line", f"{at}, line {number}", "split the document")
            if end < 0:
                break
            line = b"".join(parts)
            parts, size, start = [], 0, end + 1
            if line.strip():
                yield number, line
            number += 1
    line = b"".join(parts)
    if line.strip():
        yield number, line


def _whole(path: Path, at: str) -> bytes:
    parts, size = [], 0
    for chunk in _chunks(path, at):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_LINE_BYTES:
            raise _too_large("the file", at, "write it as `.jsonl`, one document a line")
    return b"".join(parts)


def _too_large(what: str, at: str, hint: str) -> DataError:
    return DataError(f"{what} is over {MAX_LINE_BYTES // 2**20} MiB long", at=at, hint=hint)


def _decoded(content: bytes, at: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = at if line == 1 else f"{at}, line {line}"
        offset = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        raise DataError(f"byte {offset} is not valid utf-8", at=where, hint="convert the file to utf-8") from error


def _parsed(content: bytes, at: str) -> Any:
    text = _decoded(content, at)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError("this is not valid JSON", at=at, hint=str(error)) from error


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        kind = JSON_TYPES.get(type(value), "a text")
        raise DataError(f"a document is {kind}, not an object", at=at, hint='write `{"text": "..."}`')
    return value


def _library_records(files: Mapping[str, Path]) -> Iterator[Record]:
    for name, path in files.items():
        try:
            yield Record(name, name, {"text": path.read_bytes().decode()})
        except UnicodeDecodeError:
            continue


def _hub_records(uri: str, revision: str) -> Iterator[Record]:
    name, _, split = uri.removeprefix("hf:").partition(":")
    owner, _, rest = name.partition("/")
    repo, _, config = rest.partition("/")
    split = split or "train"
    if not repo:
        raise DataError(f"`{uri}` names no data set", at=uri, hint="write `hf:owner/name[/config][:split]`")
    if not revision:
        raise DataError(f"`{uri}` has no revision", at=uri, hint='pin it: `revision = "<commit of the data set>"`')
    import datasets

    try:
        rows = datasets.load_dataset(f"{owner}/{repo}", config or None, split=split, revision=revision, streaming=True)
        for number, fields in enumerate(rows, 1):
            yield Record(f"{uri}, row {number}", f"{split}:{number}", fields)
    except Exception as error:  # the library's many kinds of network, naming and format errors
        raise DataError(f"`{uri}` cannot be read", at=f"{uri}, revision {revision}", hint=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
