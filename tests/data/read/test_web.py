"""Web archives: pages become main text with url, date and title; all else is counted; damage is told."""

import gzip
import zlib
from collections import Counter
from pathlib import Path

import pytest

from aurora_m.core.errors import DataError
from aurora_m.data.read import web
from aurora_m.data.read.files import SourceFile
from aurora_m.data.read.readers import Reader

REAL = Path(__file__).parents[4] / "shared/data/web"
DATE = "2024-05-18T01:58:10Z"
STORY = "The river froze in January and the children of the village walked across it to school every morning."
PAGE = (
    "<html><head><title>A cold &amp; long\n winter</title><script>var x = 1;</script></head><body>"
    "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About</a></li></ul></nav>"
    f"<main><article><h1>Winter</h1><p>{STORY}</p></article></main><footer>Copyright</footer></body></html>"
)
HTML = "Content-Type: text/html; charset=utf-8\r\n"


def record(kind: str, body: bytes, name: str = "", url: str = "https://example.org/winter") -> bytes:
    about = {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(kind, "text/plain")
    lines = [f"WARC-Type: {kind}", f"WARC-Date: {DATE}", f"Content-Type: {about}", f"Content-Length: {len(body)}"]
    lines += [f"WARC-Record-ID: <urn:uuid:{name}>"] if name else []
    lines += [f"WARC-Target-URI: {url}"] if kind in ("response", "conversion") else []
    return b"WARC/1.0\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def response(body: bytes, headers: str = HTML, status: str = "200 OK", name: str = "") -> bytes:
    return record("response", f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body, name)


def read(path: Path, content: bytes, kind: str = ".warc") -> tuple[list[dict[str, str]], Counter[str]]:
    path.write_bytes(content)
    reader: Reader = web.READERS[kind]
    rows: list[dict[str, str]] = []
    skipped: Counter[str] = Counter()
    for batch in reader(SourceFile(path.name, kind, path.name, str(path), len(content)), "text"):
        rows += batch.docs.to_pylist()
        skipped.update(batch.skipped)
    return rows, skipped


@pytest.mark.parametrize("packed", [False, True])
def test_a_page_becomes_its_main_text(tmp_path: Path, packed: bool) -> None:
    members = [record("warcinfo", b"software: test"), response(PAGE.encode(), name="a-1"), response(PAGE.encode())]
    content = b"".join(gzip.compress(member) if packed else member for member in members)
    rows, skipped = read(tmp_path / ("p.warc.gz" if packed else "p.warc"), content)
    assert [row["id"] for row in rows] == ["urn:uuid:a-1", "p.warc.gz:3" if packed else "p.warc:3"]
    meta = f'{{"date":"{DATE}","title":"A cold & long winter","url":"https://example.org/winter"}}'
    assert [row["meta"] for row in rows] == [meta, meta]
    assert rows[0]["text"] == f"Winter\n\n{STORY}"  # no menu, script or footer
    assert skipped == {"warcinfo": 1}


def test_what_is_no_page_is_counted_by_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_PAGE_BYTES", 100_000)
    members = [
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        record("revisit", b""),
        record("response", b"20240518 93.184.216.34").replace(b"application/http; msgtype=response", b"text/dns"),
        record("response", b"hello"),
        response(b"moved", status="301 Moved"),
        response(b"gone", status="404 Not Found"),
        response(b"%PDF", "Content-Type: application/pdf\r\n"),
        response(b"no type", ""),
        response(b"<html><script>x</script></html>"),
        response(b"<p>" + b"a " * 60_000),
        response(gzip.compress(b"<p>" + b"a " * 60_000), HTML + "Content-Encoding: gzip\r\n"),
        response(b"<div>" * (web.MAX_DEPTH + 1) + b"deep"),
    ]
    rows, skipped = read(tmp_path / "p.warc", b"".join(members))
    assert rows == []
    assert skipped == {
        "request": 2, "revisit": 1, "not http": 2, "status 301": 1, "status 404": 1, "not html": 2, "no text": 1,
        "too long": 2, "too deep": 1,
    }  # fmt: skip


WHOLE = PAGE.encode()
CHUNKED = "Transfer-Encoding: chunked\r\n"
PACKINGS = {
    "chunked": (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)),
    "gzip": ("Content-Encoding: gzip\r\n", gzip.compress(WHOLE)),
    "deflate": ("Content-Encoding: deflate\r\n", zlib.compress(WHOLE)),
    "unpacked by the crawler, which kept the headers": (CHUNKED + "Content-Encoding: gzip\r\n", WHOLE),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_packed_pages(tmp_path: Path, name: str) -> None:
    headers, body = PACKINGS[name]
    rows, _ = read(tmp_path / "p.warc", response(body, HTML + headers))
    assert rows[0]["text"].endswith(STORY)


def test_a_page_that_stays_packed_is_no_text(tmp_path: Path) -> None:
    cut = b"400\r\n<p>" + b"a" * 100  # says 1,024 bytes, holds 103
    assert read(tmp_path / "p.warc", response(cut, HTML + CHUNKED)) == ([], {"not http": 1})


JAPANESE = "昨日は雨が降ったので、家で本を読んでいました。今日は晴れているので、友達と公園へ散歩に行くつもりです。"
RUSSIAN = "Вчера весь день шёл дождь, поэтому мы остались дома и читали книги, а сегодня пойдём гулять в парк."


@pytest.mark.parametrize(
    ("text", "encoding", "header", "meta"),
    [
        (JAPANESE, "shift_jis", "Shift_JIS", ""),
        (JAPANESE, "euc_jp", "", "euc-jp"),
        (JAPANESE, "iso2022_jp", "iso-2022-jp", ""),
        (JAPANESE, "utf-8", "iso-8859-1", ""),  # valid utf-8 is utf-8, whatever is said
        (JAPANESE, "utf-8-sig", "", ""),
        (RUSSIAN, "cp1251", "windows-1251", ""),
        (RUSSIAN, "cp1251", "", ""),  # by the bytes alone
        (RUSSIAN, "koi8_r", "no-such-set", "koi8-r"),
    ],
)
def test_encodings(tmp_path: Path, text: str, encoding: str, header: str, meta: str) -> None:
    head = f'<head><meta charset="{meta}"></head>' if meta else ""
    body = f"<html>{head}<body><p>{text}</p></body></html>".encode(encoding)
    charset = f"; charset={header}" if header else ""
    rows, _ = read(tmp_path / "p.warc", response(body, f"Content-Type: text/html{charset}\r\n"))
    assert rows[0]["text"] == text


def test_wet_texts_stand_as_they_are(tmp_path: Path) -> None:
    members = [record("warcinfo", b"x"), record("conversion", JAPANESE.encode(), "w"), record("conversion", b"\xff")]
    members += [record("conversion", b" \n")]
    rows, skipped = read(tmp_path / "p.warc.wet.gz", gzip.compress(b"".join(members)), ".wet")
    assert [(row["id"], row["text"]) for row in rows] == [("urn:uuid:w", JAPANESE)]
    assert rows[0]["meta"] == f'{{"date":"{DATE}","url":"https://example.org/winter"}}'
    assert skipped == {"warcinfo": 1, "not utf-8": 1, "no text": 1}


def test_every_cut_is_told(tmp_path: Path) -> None:
    one, two = record("request", b"GET / HTTP/1.1\r\n\r\n"), response(b"<p>text</p>")
    content = one + two
    whole = {len(one), len(content), *(len(member) - end for member in (content, one) for end in (1, 2, 3, 4))}
    for cut in range(1, len(content)):
        if cut in whole:  # between two records, or in the empty lines that end one
            continue
        with pytest.raises(DataError, match="the archive is cut off or damaged") as error:
            read(tmp_path / "p.warc", content[:cut])
        assert error.value.at == f"p.warc, record {1 if cut < len(one) else 2}"
    packed = gzip.compress(one) + gzip.compress(two)
    with pytest.raises(DataError, match="the file is cut off or is not gzip"):
        read(tmp_path / "p.warc.gz", packed[:-9])


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the archive is cut off or damaged") as error:
        read(tmp_path / "p.warc", b'{"text": "one"}\n' * 9)
    assert (error.value.at, error.value.hint) == (
        "p.warc, record 1",
        "copy or download it again (Invalid WARC header)",
    )


COUNTS = {
    "cc-whirlwind.warc.gz": (1, {"warcinfo": 1, "request": 1, "metadata": 1}),
    "cc-whirlwind.warc.wet.gz": (1, {"warcinfo": 1}),
    "dolma-sample-0000.warc.gz": (22, {"warcinfo": 1, "request": 22, "metadata": 1, "resource": 2}),
    "aut-example.docs.warc.gz": (0, {"warcinfo": 3, "request": 9, "not html": 9}),
}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real archives are not on this machine")
@pytest.mark.parametrize("name", COUNTS)
def test_real_archives(tmp_path: Path, name: str) -> None:
    rows, skipped = read(tmp_path / name, (REAL / name).read_bytes(), ".wet" if ".wet" in name else ".warc")
    assert (len(rows), skipped) == COUNTS[name]
    assert all(len(row["text"]) > 50 and "<div" not in row["text"] for row in rows)
