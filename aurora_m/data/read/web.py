"""Web archives: the main text of the HTML pages in WARC files, and the texts in WET files."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from aurora_m.core.errors import DataError
from aurora_m.data.read.files import CHUNK_BYTES, SourceFile, chunks, first_line
from aurora_m.data.read.readers import Batch, Reader, batch

MAX_PAGE_BYTES = 16 * 2**20  # longer pages are lists and dumps
MAX_DEPTH = 2000  # of blocks in blocks: the time to find a page's main text grows with its square
HTML_TYPES = ("text/html", "application/xhtml+xml")
BLOCK = re.compile(r"<(/?)(?:div|article)\b", re.IGNORECASE)
PACKED = re.compile(rb"[0-9a-f]+ *\r\n|[^\0]{0,1024}\0", re.IGNORECASE)  # chunks, or compressed
DECODE = ("all", "content", "none")


class Page(NamedTuple):
    """What one answer of a server holds."""

    status: int
    kind: str
    charset: str
    body: bytes


def warc(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """The main text of each HTML page that was answered with 200; url, date and title are fields.

    Text by resiliparse (Bevendorff et al., ECIR 2018). The id is that of the record, or `name:number`. Counted as
    skipped: records that are no response, by type; other statuses; `not html`; `no text`; `too long` and `too deep`
    (over `MAX_PAGE_BYTES` and `MAX_DEPTH`); `not http` where a response cannot be read as one.
    """
    return _batches(source_file, form, "response", _page_fields)


def wet(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """The text of each conversion record; url and date are fields. Skipped: other types, `not utf-8`, `no text`."""
    return _batches(source_file, form, "conversion", _text_fields)


READERS: dict[str, Reader] = {".warc": warc, ".wet": wet}


def _batches(source_file: SourceFile, form: str, wanted: str, fields_of: Any) -> Iterator[Batch]:
    """The records of the type that is wanted; `fields_of` gives the fields of one, or why it is skipped."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    skipped: Counter[str] = Counter()
    size = 0
    for number, record in _records(source_file):
        kind = (record.headers.get("WARC-Type") or "untyped").lower()
        body = record.reader.read() if record.content_length <= MAX_PAGE_BYTES else None
        read = record.consume() if body is None else len(body)
        if read != record.content_length or not record.headers.get("Content-Length"):
            raise _damaged(source_file, number, "the record is cut off")
        found = kind if kind != wanted else "too long" if body is None else fields_of(record, body)
        if isinstance(found, str):
            skipped[found] += 1
            continue
        own = (record.record_id or "").strip("<>")
        about = {
            "url": (record.headers.get("WARC-Target-URI") or "").strip("<>"),
            "date": record.headers.get("WARC-Date"),
        }
        rows.append({"id": own, **about, **found} if own else {**about, **found})
        numbers.append(number)
        size += len(found["text"])
        if size >= CHUNK_BYTES:
            yield _batch(source_file, form, rows, numbers, skipped)
            rows, numbers, skipped, size = [], [], Counter(), 0
    yield _batch(source_file, form, rows, numbers, skipped)


def _batch(source_file: SourceFile, form: str, rows: list[Any], numbers: list[int], skipped: Counter[str]) -> Batch:
    names = [f"{source_file.name}:{number}" for number in numbers]
    return batch(rows, names, lambda index: f"{source_file.at}, record {numbers[index]}", form, skipped=skipped)


def _records(source_file: SourceFile) -> Iterator[tuple[int, Any]]:
    """Each record of an archive with its number. DataError if the archive is damaged."""
    from fastwarc.warc import ArchiveIterator

    number = 0
    stream: Any = _Bytes(source_file)  # decompressed by us: an archive that is cut off would end as if it were whole
    try:
        for number, record in enumerate(ArchiveIterator(stream, parse_http=False, stream_detect=False), 1):
            yield number, record
    except OSError as error:
        raise _damaged(source_file, number + 1, first_line(error)) from error


def _damaged(source_file: SourceFile, number: int, why: str) -> DataError:
    hint = f"copy or download it again ({why})"
    return DataError("the archive is cut off or damaged", at=f"{source_file.at}, record {number}", hint=hint)


class _Bytes:
    """A file's decompressed bytes in the shape that fastwarc reads."""

    def __init__(self, source_file: SourceFile) -> None:
        self.chunks, self.chunk, self.start, self.count_bytes = chunks(source_file), b"", 0, 0

    def read(self, num_bytes: int) -> bytes:
        if self.start == len(self.chunk):
            self.chunk, self.start = next(self.chunks, b""), 0
        part = self.chunk[self.start : self.start + num_bytes]
        self.start += len(part)
        self.count_bytes += len(part)
        return part

    def tell(self) -> int:
        return self.count_bytes


def _text_fields(record: Any, body: bytes) -> dict[str, Any] | str:
    """The fields of a WET record, or why it is skipped."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return "not utf-8"
    return {"text": text} if text else "no text"


def _page_fields(record: Any, body: bytes) -> dict[str, Any] | str:
    """The fields of a WARC record, or why it is skipped."""
    page = _page(body) if record.is_http else None
    if page is None:
        return "not http"
    if page.status != 200:
        return f"status {page.status}"
    if page.kind not in HTML_TYPES:
        return "not html"
    if len(page.body) > MAX_PAGE_BYTES:
        return "too long"
    html = _decoded(page)
    if _depth(html) > MAX_DEPTH:
        return "too deep"
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    text = extract_plain_text(tree, main_content=True, alt_texts=False).strip()
    return {"title": tree.title, "text": text} if text else "no text"


def _page(content: bytes) -> Page | None:
    """A response without its encodings; none if it is no HTTP."""
    from fastwarc.warc import WarcRecord, WarcRecordType

    for decode in DECODE:  # many crawlers unpack a page and keep the headers that say it is packed
        record = WarcRecord()
        record.init_headers(WarcRecordType.response)
        record.is_http = True
        record.set_bytes_content(content)
        try:
            record.parse_http(auto_decode=decode)  # type: ignore[arg-type]  # one of the three
            body = record.reader.read(MAX_PAGE_BYTES + 1)
        except OSError:
            continue
        status = record.http_headers.status_code
        if status is None or (decode != DECODE[0] and PACKED.match(body)):
            return None
        kind = (record.http_content_type or "").strip().lower()
        return Page(status, kind, (record.http_charset or "").strip("\"' "), body)
    return None


def _decoded(page: Page) -> str:
    """The page as text: what is valid utf-8 is that, whatever the server says; else as it says, or by its bytes."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    if b"\x1b" not in page.body:  # the escapes of ISO-2022, which are ASCII and so valid
        try:
            return page.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    encoding = map_encoding_to_html5(page.charset, fallback_utf8=False) if page.charset else None
    encoding = encoding or detect_encoding(page.body, from_html_meta=True) or "utf-8"
    try:
        return bytes_to_str(page.body, encoding)
    except LookupError:  # an encoding that browsers know and Python does not
        return bytes_to_str(page.body)


def _depth(html: str) -> int:
    """How deep blocks stand in blocks, at most."""
    ends = BLOCK.findall(html)
    return 0 if len(ends) <= MAX_DEPTH else max(accumulate(-1 if end else 1 for end in ends))
