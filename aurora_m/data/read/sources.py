"""Sources: read files, hub data sets, the standard library or the sample into docs, and say what a source holds now."""

import os
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from aurora_m.core.address import public, selection, whole
from aurora_m.core.canon import JSON, digest
from aurora_m.core.errors import DataError
from aurora_m.core.step import Work
from aurora_m.core.table import SHARD_BYTES, FetchFacts
from aurora_m.core.tasks import map_shards
from aurora_m.core.uri import changed, local_files, pin_files, pinned, unchanged
from aurora_m.data.read import readers, web
from aurora_m.data.read.docs import Written, finish, write_batches
from aurora_m.data.read.files import COMPRESSION, SourceFile, cut, far, first_line, numbered, tally
from aurora_m.data.read.readers import Batch

CODE_BYTES = range(500, 40_001)  # below: stubs; above: tables and generated files
HUB_ROWS = 256
SCHEMES = "`file:data/*.jsonl`, `hf:owner/name`, `python:stdlib`, `sample:texts/en` or `s3://bucket/data/*.jsonl`"
READERS = {**readers.READERS, **web.READERS}
UNPACKED = ".parquet"  # has a compression of its own
VERSIONS = ("ETag", "etag", "md5Hash", "md5", "LastModified", "last_modified", "Last-Modified", "mtime", "created")
NOT_LIBRARY = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
BUILT = "_sysconfigdata"  # how this Python was built, on which machine


def pin(uri: str, root: Path) -> str:
    """What a source holds now, as SHA-256 (hex); empty for `hf:`, which has a revision.

    Of local files, below `root` for `file:`, names and bytes; of files far away names, sizes and the versions that
    their server says (ETag or time). DataError if the scheme is unknown or nothing is found.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "hf" and rest and "://" not in uri:
        return ""
    return _far_pin(uri, _far_files(uri)) if "://" in uri else pin_files(_files(uri, root))


def fetch(work: Work, *, uri: str, source: str, lang: str, pin: str, revision: str, form: str) -> FetchFacts:
    """Write a source's documents as `docs/`, repaired (repair.py) and all with the declared language; samples.jsonl.

    `form` is "text" (field `text`) or "instruction" (fields `instruction` and `response`, joined by core/chat.py).
    Repairs come first, so that all that follows is of the text as it will be read; samples.jsonl shows some.
    DataError, with file and line, for whatever cannot be read as declared, and if the files are not those that `pin`
    names.
    """
    if uri.startswith("hf:") and "://" not in uri:
        parts = [write_batches([_hub(uri, revision, form)], work.out / "docs", 0, source, lang, SHARD_BYTES)]
        return finish(work.out, parts, lambda row: f"{uri}, row {row + 1}")
    with _source_files(uri, work.runtime.root, pin) as found:
        source_files = _cut(work, found, source)
        tasks = list(enumerate(_grouped(source_files)))
        read = partial(_read, folder=work.out / "docs", source=source, lang=lang, form=form, shard_bytes=SHARD_BYTES)
        parts = list(map_shards(work, read, tasks, f"read {source}", "parts"))
        return finish(work.out, parts, partial(_where, source_files, parts, form))


# --- what there is


@contextmanager
def _source_files(uri: str, root: Path, pin: str) -> Iterator[list[SourceFile]]:
    """The files of a source, in order, to be read within. DataError if they are not those that `pin` names."""
    if "://" in uri:
        found = _far_files(uri)
        if _far_pin(uri, found) != pin:
            raise changed(uri)
        with unchanged(lambda: _far_pin(uri, _far_files(uri)), pin, uri):
            yield [source_file for source_file, _ in found]
        return
    files = _files(uri, root)
    with pinned(files, pin, uri):
        yield _local_files(uri, files, root)


def _local_files(uri: str, files: dict[str, Path], root: Path) -> list[SourceFile]:
    library = uri.startswith("python:")
    source_files = []
    for name, path in files.items():
        at = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
        source_file = SourceFile(name, "library", name, str(path), path.stat().st_size)
        source_files.append(source_file if library else source_file._replace(kind=_kind(name, at), at=at))
    return source_files


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


def _far_files(uri: str) -> list[tuple[SourceFile, str]]:
    """The files that an address with `://` means, by name, each with the version that the server says."""
    system, pattern = far(whole(uri))
    web = _of_the_web(uri)
    magic = "*[" if web else "*?["  # a `?` begins the query of an address
    parts = (public(pattern) if web else pattern).split("/")
    fixed = next((i for i, part in enumerate(parts) if set(part) & set(magic)), None)
    system.invalidate_cache()  # of an earlier listing, which a pin is to be checked against
    try:
        listed = [pattern] if fixed is None else system.glob(pattern)
        found = [info for info in map(system.info, listed) if info["type"] == "file"]
    except Exception as error:  # each protocol has its own
        hint = f"look at the address, the network and your rights ({first_line(error)})"
        raise DataError(f"`{uri}` cannot be listed", at=uri, hint=hint) from error
    if not found:
        raise DataError(f"no file matches `{uri}`", at=uri, hint="look at the address; `**` goes into folders")
    start = len("/".join(parts[: len(parts) - 1 if fixed is None else fixed])) + 1
    files = []
    for info in found:
        path = info["name"]
        address = str(system.unstrip_protocol(path))
        at, name = public(address), (public(path) if web else path)[start:]
        version = next((info[key] for key in VERSIONS if info.get(key)), None)
        if version is None or info.get("size") is None:
            what = "the server does not say the file's size and version"
            raise DataError(what, at=at, hint="download the file and write `file:...`")
        files.append((SourceFile(name, _kind(name, at), at, address, info["size"]), str(version)))
    return sorted(files)


def _of_the_web(uri: str) -> bool:
    return "http://" in uri.lower() or "https://" in uri.lower()


def _far_pin(uri: str, files: list[tuple[SourceFile, str]]) -> str:
    held: JSON = [[source_file.name, source_file.num_bytes, version] for source_file, version in files]
    asked = selection(uri) if _of_the_web(uri) else ""
    return digest([held, asked] if asked else held)


def _kind(name: str, at: str) -> str:
    packed = next((suffix for suffix in COMPRESSION if name.endswith(suffix)), "")
    kind = next((suffix for suffix in READERS if name.removesuffix(packed).endswith(suffix)), None)
    if kind is None or (kind == UNPACKED and packed):
        listed = ", ".join(f"`{suffix}`" for suffix in READERS)
        hint = f"the kinds are {listed}, all but parquet also with `.gz` or `.zst`"
        raise DataError(f"`{name}` is no kind of file that can be read", at=at, hint=hint)
    return kind


def _cut(work: Work, source_files: list[SourceFile], source: str) -> list[SourceFile]:
    """The files of a source, large ones of lines in pieces: what many workers can share."""
    files = [cut(source_file, SHARD_BYTES) for source_file in source_files]
    pieces = [piece for file in files for piece in file if len(file) > 1]
    tallies = iter([*map_shards(work, tally, pieces, f"count lines of {source}", "parts")] if pieces else [])
    return [
        piece for file in files for piece in (numbered(file, islice(tallies, len(file))) if len(file) > 1 else file)
    ]


def _grouped(source_files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Files one after the other, at most `SHARD_BYTES` together (or one): a task, whatever the number of workers."""
    group: list[SourceFile] = []
    size = 0
    for source_file in source_files:
        if group and size + source_file.num_bytes > SHARD_BYTES:
            yield group
            group, size = [], 0
        group.append(source_file)
        size += source_file.num_bytes
    if group:
        yield group


# --- reading and writing


def _read(
    task: tuple[int, list[SourceFile]], *, folder: Path, source: str, lang: str, form: str, shard_bytes: int
) -> Written:
    """Read some files into shards of their own."""
    number, source_files = task
    return write_batches(
        (_batches(source_file, form) for source_file in source_files), folder, number, source, lang, shard_bytes
    )


def _batches(source_file: SourceFile, form: str) -> Iterator[Batch]:
    if source_file.kind == "library":
        yield from _library_batch(source_file, form)
        return
    count = 0
    for batch in READERS[source_file.kind](source_file, form):
        count += len(batch.docs) + sum(batch.skipped.values())  # an archive may hold no page
        yield batch
    if count == 0:
        raise DataError("the file holds no document", at=source_file.at, hint="delete it or leave it out of the source")


def _library_batch(source_file: SourceFile, form: str) -> Iterator[Batch]:
    try:
        rows = [{"text": Path(source_file.path).read_bytes().decode()}]
    except UnicodeDecodeError:
        yield readers.batch([], [], str, form, skipped={"not utf-8": 1})
    else:
        yield readers.batch(rows, [source_file.name], lambda _: source_file.at, form)


def _hub(uri: str, revision: str, form: str) -> Iterator[Batch]:
    name, _, split = uri.removeprefix("hf:").partition(":")
    owner, _, rest = name.partition("/")
    repo, _, config = rest.partition("/")
    split = split or "train"
    if not repo:
        raise DataError(f"`{uri}` names no data set", at=uri, hint="write `hf:owner/name[/config][:split]`")
    if not revision:
        raise DataError(f"`{uri}` has no revision", at=uri, hint='pin it: `revision = "<commit of the data set>"`')
    import datasets

    def batch(rows: list[Any], before: int) -> Batch:
        names = [f"{split}:{number}" for number in range(before + 1, before + len(rows) + 1)]
        return readers.batch(rows, names, lambda index: f"{uri}, row {before + index + 1}", form)

    rows: list[Any] = []
    number = 0
    try:
        # With its scheme: the bare name would read a folder of that name in the working directory, if there is one.
        stream = datasets.load_dataset(
            f"hf://datasets/{owner}/{repo}", config or None, split=split, revision=revision, streaming=True
        )
        for number, fields in enumerate(stream, 1):
            rows.append(fields)
            if len(rows) == HUB_ROWS:
                yield batch(rows, number - len(rows))
                rows = []
    except DataError:
        raise
    except Exception as error:  # the library's many kinds of network, naming and format errors
        raise DataError(f"`{uri}` cannot be read", at=f"{uri}, revision {revision}", hint=first_line(error)) from error
    yield batch(rows, number - len(rows))


def _where(source_files: list[SourceFile], parts: list[Written], form: str, number: int) -> str:
    """Where document `number` of all stands, by reading its file again."""
    for source_file, count in zip(source_files, (count for part in parts for count in part.docs), strict=True):
        if number < count:
            for batch in _batches(source_file, form):
                if number < len(batch.docs):
                    return batch.at(number)
                number -= len(batch.docs)
        number -= count
    raise AssertionError("the files hold fewer documents than they did")
