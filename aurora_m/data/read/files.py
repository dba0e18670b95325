"""Files of a source, here or far away, whole or in pieces, packed or not; their bytes and their lines."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from aurora_m.core.errors import DataError
from aurora_m.core.uri import changed

MAX_LINE_BYTES = 128 * 2**20
CHUNK_BYTES = 2**20
LINE_FEED = 10
ENDLESS = 2**62  # bytes: what is unpacked, or comes from afar, ends by itself
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_SOLID = re.compile(rb"\S")


class SourceFile(NamedTuple):
    """One file of a source, or a piece of it."""

    name: str  # does not depend on where the file lies
    kind: str  # what reads it: a suffix without that of a compression
    at: str  # for people
    path: str  # a local path, or an address with `://`
    num_bytes: int  # as stored
    first_byte: int = 0
    line: int = 1  # the number of its first line


def cut(source_file: SourceFile, piece_bytes: int) -> list[SourceFile]:
    """Pieces of a file of unpacked JSONL that lies here, `piece_bytes` and on to a line's end; others stay whole.

    What number a piece's first line has is not known before all lines are counted: see `tally` and `numbered`.
    """
    if source_file.kind != ".jsonl" or "://" in source_file.path or _packed(source_file):
        return [source_file]
    starts = [0]
    with Path(source_file.path).open("rb") as file:
        while starts[-1] + piece_bytes < source_file.num_bytes:
            file.seek(starts[-1] + piece_bytes - 1)
            while (block := file.read(CHUNK_BYTES)) and b"\n" not in block:
                pass
            found = file.tell() - len(block) + block.find(b"\n") + 1 if block else source_file.num_bytes
            starts.append(min(found, source_file.num_bytes))  # it may have grown
    ends = [*starts[1:], source_file.num_bytes]
    return [
        source_file._replace(first_byte=first, num_bytes=end - first)
        for first, end in zip(starts, ends, strict=True)
        if first < end or not first
    ]


def tally(piece: SourceFile) -> tuple[int, bool]:
    """How many lines end in a piece, and whether it holds more than white space."""
    ended, solid = 0, False
    for chunk in chunks(piece):
        ended += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == LINE_FEED))  # `count` is a slow loop
        solid = solid or _SOLID.search(chunk) is not None
    return ended, solid


def numbered(pieces: Sequence[SourceFile], tallies: Iterable[tuple[int, bool]]) -> list[SourceFile]:
    """The pieces of a file with the numbers of their first lines, but for blank ones; one stays if all are blank."""
    line, kept = 1, []
    for piece, (ended, solid) in zip(pieces, tallies, strict=True):
        if solid:
            kept.append(piece._replace(line=line))
        line += ended
    return kept or [pieces[0]]


class Remote:
    """A file far away, for Arrow to read; DataError where the network fails or the file is shorter than it was."""

    def __init__(self, source_file: SourceFile, streamed: bool) -> None:
        self.source_file, self.streamed, self.count_bytes = source_file, streamed, 0
        system, path = far(source_file.path)
        whole = {"block_size": 0} if streamed and source_file.path.startswith("http") else {}
        try:
            self.file = system.open(path, "rb", **whole)
        except Exception as error:  # each protocol has its own
            raise self.failed(error) from error

    def failed(self, error: Exception) -> DataError:
        """What to say when the network does not answer."""
        what = f"the network failed after {self.count_bytes} bytes"
        return DataError(what, at=self.source_file.at, hint=f"run again ({first_line(error)})")

    def read(self, num_bytes: int = -1) -> bytes:
        """As many bytes as asked for, fewer only at the end: what a batch holds must not hang on the network."""
        parts: list[bytes] = []
        left = num_bytes if num_bytes >= 0 else self.source_file.num_bytes
        try:
            while left > 0 and (part := self.file.read(left)):
                parts.append(part)
                left -= len(part)
                self.count_bytes += len(part)
        except Exception as error:
            raise self.failed(error) from error
        if self.streamed and left > 0 and self.count_bytes != self.source_file.num_bytes:
            raise self.failed(EOFError(f"the file has {self.source_file.num_bytes} bytes"))
        return b"".join(parts)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def close(self) -> None:
        self.file.close()

    @property
    def closed(self) -> bool:
        return bool(self.file.closed)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self.streamed


def far(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. DataError if there is none for the protocol."""
    from fsspec.core import url_to_fs

    protocol, options = address.partition("://")[0], {}
    try:
        if protocol in ("http", "https"):
            import aiohttp

            # No limit to the whole: a large file takes hours. And the bytes as stored, whatever the server may pack.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=60)
            options = {
                "client_kwargs": {"timeout": timeout, "auto_decompress": False},
                "headers": {"Accept-Encoding": "identity"},
            }
        system, path = url_to_fs(address, **options)
    except ImportError as error:
        what, hint = f"the package that reads `{protocol}://` is not installed", "pip install 'aurora-m[remote]'"
        raise DataError(what, at=address, hint=f"{hint}; {first_line(error)}") from error
    except ValueError as error:
        what, hint = f"`{protocol}` is no protocol that can be read", "write `s3://`, `https://` or another of fsspec's"
        raise DataError(what, at=address, hint=hint) from error
    return system, path


def chunks(source_file: SourceFile) -> Iterator[bytes]:
    """The file's bytes, or the piece's, decompressed, `CHUNK_BYTES` at a time, without a byte order mark."""
    packed = _packed(source_file)
    try:
        remote = "://" in source_file.path
        raw = pa.PythonFile(Remote(source_file, streamed=True), "r") if remote else pa.OSFile(source_file.path)
        with closing(raw), closing(pa.CompressedInputStream(raw, packed) if packed else raw) as stream:
            left = ENDLESS if packed or remote else source_file.num_bytes
            if source_file.first_byte:
                stream.seek(source_file.first_byte)
            mark = b"" if source_file.first_byte else b"\xef\xbb\xbf"
            while chunk := stream.read(min(CHUNK_BYTES, left)):
                yield chunk.removeprefix(mark)
                left -= len(chunk)
                mark = b""
            if left and not (packed or remote):
                raise changed(source_file.at)
    except (pa.ArrowException, OSError) as error:
        what = f"the file is cut off or is not {packed}" if packed else "the file cannot be read"
        raise DataError(what, at=source_file.at, hint=f"copy or download it again ({first_line(error)})") from error


def _packed(source_file: SourceFile) -> str | None:
    return COMPRESSION.get(PurePosixPath(source_file.name).suffix)


def file_lines(source_file: SourceFile) -> Iterator[tuple[int, list[bytes]]]:
    """Some lines and the number of the first; holds two copies of one line at most."""
    parts: list[bytes] = []  # of the line that has not ended
    size, number = 0, source_file.line
    for chunk in chunks(source_file):
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        size += first if first >= 0 else len(chunk)
        if size > MAX_LINE_BYTES:
            raise _too_large("the line", f"{source_file.at}, line {number}", "split the document")
        if last < 0:
            parts.append(chunk)
            continue
        ended = b"".join([*parts, chunk[:last]]).split(b"\n")
        parts = [chunk[last + 1 :]]
        size = len(parts[0])
        yield number, ended
        number += len(ended)
    yield number, [b"".join(parts)]


def whole_file(source_file: SourceFile) -> bytes:
    """All bytes of a file. DataError if it is too large to be held at once."""
    parts, size = [], 0
    for chunk in chunks(source_file):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_LINE_BYTES:
            raise _too_large("the file", source_file.at, "write it as `.jsonl`, one document a line")
    return b"".join(parts)


def _too_large(what: str, at: str, hint: str) -> DataError:
    return DataError(f"{what} is over {MAX_LINE_BYTES // 2**20} MiB long", at=at, hint=hint)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).split("\n")[0] or type(error).__name__
