"""Sources: every form is read as declared, and what cannot be read says where and why."""

import gzip
import http.server
import json
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurora_m.core.address import Address
from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.errors import DataError
from aurora_m.core.step import Runtime, Work
from aurora_m.core.table import FetchFacts, read_all, read_shards
from aurora_m.core.uri import pin_files
from aurora_m.data.read import docs, files, sources
from aurora_m.data.read.files import SourceFile
from aurora_m.data.read.sources import fetch, pin

Fetch = Callable[..., tuple[FetchFacts, list[dict[str, str]]]]
GOOD = b'{"text": "one"}\n{"text": "two"}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The recipe's folder."""
    (tmp_path / "recipe").mkdir()
    return tmp_path / "recipe"


@pytest.fixture
def fetched(new_work: Callable[[], Work], root: Path) -> Fetch:
    """Fetch a source; returns facts and rows."""

    def call(uri: str, form: str = "text", workers: int = 1, **params: str) -> tuple[FetchFacts, list[dict[str, str]]]:
        new = new_work()
        work = Work(new.out, new.scratch, Runtime(store=root, root=root, workers=workers), new.log)
        given: dict[str, str] = {"source": "web", "lang": "en", "revision": "", "pin": pin(uri, root), **params}
        facts = fetch(work, uri=uri, form=form, **given)
        rows: list[dict[str, str]] = read_all(work.out).to_pylist()
        return facts, rows

    return call


def zstd(content: bytes) -> bytes:
    """One zstd frame."""
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def test_what_comes_is_repaired_counted_and_shown(root: Path, fetched: Fetch, tmp_path: Path) -> None:
    texts = ["plain", "e\u0301", "The cafÃ© is â€œopenâ€\x9d", "à¤¹à¤¿à¤¨à¥\x8dà¤¦à¥€ e\u0301"]
    (root / "d.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    facts, found = fetched("file:d.jsonl")
    mended = ["plain", "é", "The café is “open”", "हिन्दी é"]
    assert [row["text"] for row in found] == mended
    assert facts.repairs == {"encoding": 2, "nfc": 2}
    assert facts.bytes == sum(len(text.encode()) for text in mended)


def test_jsonl_keeps_ids_and_scalars(root: Path, fetched: Fetch) -> None:
    rows = [{"id": "a", "text": "héllo", "url": "u", "n": 3, "deep": {"x": 1}, "none": None}, {"id": 7, "text": "x"}]
    (root / "d.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    facts, found = fetched("file:d.jsonl", source="s", lang="fi")
    assert facts == FetchFacts(docs=2, bytes=7, skipped={}, repairs={})
    assert found == [
        {"id": "a", "text": "héllo", "source": "s", "lang": "fi", "meta": '{"n":3,"url":"u"}'},
        {"id": "d.jsonl:3", "text": "x", "source": "s", "lang": "fi", "meta": '{"id":7}'},
    ]


def test_every_kind_of_file_gives_the_same_texts(root: Path, fetched: Fetch) -> None:
    array = b'[{"text": "one"}, {"text": "two"}]'
    contents = {
        "a.jsonl": GOOD,
        "b.jsonl.gz": gzip.compress(GOOD),
        "c.jsonl.zst": zstd(GOOD) + zstd(b""),
        "e.json": array,
    }
    contents |= {"f.json.gz": gzip.compress(array), "g.jsonl": b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n")}
    contents |= {"t/1.txt": b"one", "t/2.txt.gz": gzip.compress(b"two")}
    (root / "t").mkdir()
    for name, content in contents.items():
        (root / name).write_bytes(content)
    pq.write_table(pa.table({"text": ["one", "two"]}), root / "p.parquet")
    for pattern in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "e.json", "f.json.gz", "g.jsonl", "t/*", "p.parquet"):
        assert [row["text"] for row in fetched(f"file:{pattern}")[1]] == ["one", "two"], pattern
    assert [row["id"] for row in fetched("file:t/*")[1]] == ["1.txt:1", "2.txt.gz:1"]
    assert fetched("file:*.jsonl.gz")[1][1]["id"] == "b.jsonl.gz:2"


def test_instructions_become_one_text(root: Path, fetched: Fetch) -> None:
    (root / "i.jsonl").write_text('{"instruction": "Add 1 and 1.", "response": "2", "id": "q"}')
    _, (row,) = fetched("file:i.jsonl", form="instruction")
    assert (row["text"], row["meta"]) == ("### Instruction:\nAdd 1 and 1.\n\n### Response:\n2", "{}")


BROKEN: list[tuple[str, bytes, str, str, str]] = [
    ("x.jsonl.gz", gzip.compress(GOOD, mtime=0)[:-9], "the file is cut off or is not gzip", "x.jsonl.gz", "Truncated"),
    ("x.jsonl.zst", zstd(GOOD * 99)[:-3], "the file is cut off or is not zstd", "x.jsonl.zst", "Truncated"),
    ("x.jsonl.gz", GOOD, "the file is cut off or is not gzip", "x.jsonl.gz", "incorrect header"),
    ("x.jsonl", GOOD + b'{"text": "\xff"}', "byte 10 is not valid utf-8", "x.jsonl, line 3", "convert"),
    ("x.txt", b"ab\ncd\xc3", "byte 2 is not valid utf-8", "x.txt, line 2", "convert"),
    ("x.jsonl", GOOD + b'{"text": ', "this is not valid JSON", "x.jsonl, line 3", "unexpected end"),
    ("x.jsonl", b'\n["text"]', "a document is a list, not an object", "x.jsonl, line 2", '{"text": "..."}'),
    ("x.json", b'[{"text": "a"}, 3]', "a document is a number, not an object", "x.json, item 2", "write"),
    ("x.jsonl", b'{"body": "a", "url": 3}', "there is no field `text`", "x.jsonl, line 1", "are `body`, `url`"),
    ("x.jsonl", GOOD + b'{"text": null}', "the field `text` is null, not a text", "x.jsonl, line 3", "a string"),
    ("x.jsonl", b'{"text": 5}', "the field `text` is a number, not a text", "x.jsonl, line 1", "a string"),
    ("x.jsonl", b"", "the file holds no document", "x.jsonl", "leave it out"),
    ("x.jsonl", b"\n \n", "the file holds no document", "x.jsonl", "leave it out"),
    ("x.json", b"", "the file holds no document", "x.json", "leave it out"),
    ("x.txt.gz", gzip.compress(b" ", mtime=0), "the file holds no document", "x.txt.gz", "leave it out"),
    ("x.parquet", b"PAR1 and no more", "the file is no whole parquet file", "x.parquet", "arquet"),
    ("x.csv", b"text\n", "`x.csv` is no kind of file that can be read", "x.csv", "`.jsonl`, `.json`"),
    (
        "x.jsonl", b'{"id": "a", "text": "b"}\n' * 2,
        "the id `a` stands twice in the source", "x.jsonl, line 2", "unique",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "what", "at", "hint"), BROKEN)
def test_broken_files_say_where(
    root: Path, fetched: Fetch, name: str, content: bytes, what: str, at: str, hint: str
) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        fetched(f"file:{name}")
    assert (error.value.what, error.value.at) == (what, at)
    assert hint in error.value.hint


def test_a_long_line_is_refused_in_little_memory(root: Path, fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 4 * 2**20)
    (root / "x.jsonl").write_bytes(GOOD + b'{"text": "' + b"a" * (40 * 2**20) + b'"}')
    tracemalloc.start()
    with pytest.raises(DataError, match="the line is over 4 MiB long") as error:
        fetched("file:x.jsonl")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.at == "x.jsonl, line 3"
    assert peak_bytes < 2 * 4 * 2**20 + 3 * files.CHUNK_BYTES
    (root / "x.txt").write_bytes(b"a" * (5 * 2**20))
    with pytest.raises(DataError, match="the file is over 4 MiB long"):
        fetched("file:x.txt")


def test_pin_follows_names_and_bytes_alone(root: Path, tmp_path: Path) -> None:
    for folder in (root, tmp_path / "moved"):
        (folder / "data").mkdir(parents=True)
        (folder / "data/a.jsonl").write_bytes(GOOD)
    first = pin("file:data/*.jsonl", root)
    assert first == pin("file:data/*.jsonl", tmp_path / "moved") == pin(f"file:{root}/data/*.jsonl", tmp_path)
    (root / "data/b.jsonl").write_bytes(GOOD)
    second = pin("file:data/*.jsonl", root)
    (root / "data/b.jsonl").write_bytes(GOOD + GOOD)
    assert len({first, second, pin("file:data/*.jsonl", root)}) == 3
    assert pin("hf:owner/name", root) == ""
    assert len(pin("python:stdlib", root)) == 64
    assert pin("sample:texts/en", root) != pin("sample:texts/hi", root)


def test_files_that_changed_after_the_pin_are_refused(root: Path, fetched: Fetch) -> None:
    (root / "a.jsonl").write_bytes(GOOD)
    before = pin("file:a.jsonl", root)
    (root / "a.jsonl").write_bytes(GOOD + GOOD)
    with pytest.raises(DataError) as error:
        fetched("file:a.jsonl", pin=before)
    assert (error.value.what, error.value.at, error.value.hint) == (
        "files changed while the run was on its way",
        "file:a.jsonl",
        "run again; the new files will be taken",
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.txt", "a.parquet"])
def test_files_that_change_while_they_are_read_are_refused(
    root: Path, fetched: Fetch, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (root / "kept.jsonl").write_bytes(GOOD)
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"text": ["one"]}), root / name)
    else:
        content = {"a.json": b'[{"text": "one"}]', "a.jsonl.gz": gzip.compress(GOOD), "a.txt": b"one"}
        (root / name).write_bytes(content.get(name, GOOD))
    before, read = pin(f"file:{name}", root), sources._read

    def slow(*given: Any, **how: Any) -> Any:
        """A person edits the file while it is read, at equal size, and thinks better of it."""
        content = (root / name).read_bytes()
        with (root / name).open("r+b") as file:
            file.write(content[::-1])
        with (root / name).open("r+b") as file:
            file.write(content)
        return read(*given, **how)

    monkeypatch.setattr(sources, "_read", slow)
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        fetched(f"file:{name}", pin=before)


def test_a_far_file_that_changes_while_it_is_read_is_refused(
    root: Path, fetched: Fetch, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = pin("memory://far/b.jsonl", root), sources._read

    def slow(*given: Any, **how: Any) -> Any:
        memory.pipe("/far/b.jsonl", GOOD.replace(b"one", b"two"))
        return read(*given, **how)

    monkeypatch.setattr(sources, "_read", slow)
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        fetched("memory://far/b.jsonl", pin=before)


def test_a_hub_data_set_is_never_a_folder_of_the_working_directory(
    root: Path, fetched: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `datasets` has it, which takes a bare name for a folder if there is one; the network is not there."""
    (root / "owner/name").mkdir(parents=True)
    (root / "owner/name/train.jsonl").write_bytes(GOOD)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    for revision in ("c0ffee", "c" * 40):
        with pytest.raises(DataError, match="`hf:owner/name` cannot be read"):
            fetched("hf:owner/name", revision=revision)


@pytest.mark.parametrize(
    ("uri", "what", "hint"),
    [
        ("file:none/*.jsonl", "no file matches `none/*.jsonl`", "folder of the recipe"),
        ("ftp:x", "`ftp:x` is no source", "`file:data/*.jsonl`, `hf:owner/name`, `python:stdlib`"),
        ("file:", "`file:` is no source", "`file:data/*.jsonl`"),
        ("python:site", "`python:site` is no source", "`python:stdlib`"),
        ("sample:texts/xx", "there is no sample `texts/xx`", "`texts/en`"),
    ],
)
def test_pin_refuses_what_is_not_there(root: Path, uri: str, what: str, hint: str) -> None:
    with pytest.raises(DataError) as error:
        pin(uri, root)
    assert error.value.what == what
    assert hint in error.value.hint


def test_the_sample(fetched: Fetch) -> None:
    facts, rows = fetched("sample:texts/en")
    assert facts.docs == len(rows) > 0
    assert all(row["text"].strip() for row in rows)


def test_the_standard_library(fetched: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib"
    left_out = ("a/test/t.py", "site-packages/p.py", "a/note.txt", "idlelib/i.py", "_sysconfigdata__linux_.py")
    for name in ("b.py", "a/x.py", *left_out):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("x = 1\n" * 100)
    (library / "latin.py").write_bytes(b"# \xe4\n" * 200)
    (library / "tiny.py").write_text("x = 1\n")
    (library / "huge.py").write_text("x = 1\n" * 9000)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(library))
    facts, rows = fetched("python:stdlib", lang="code")
    assert [row["id"] for row in rows] == ["a/x.py", "b.py"]
    assert facts == FetchFacts(docs=2, bytes=1200, skipped={"not utf-8": 1}, repairs={})
    held = pin_files({name: library / name for name in ("a/x.py", "b.py", "latin.py")})
    assert pin("python:stdlib", tmp_path) == held  # the files alone, whatever Python reads them


def test_the_hub(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, *, split: str, revision: str, streaming: bool) -> Iterator[dict[str, Any]]:
        asked.append((name, config, split, revision, streaming))
        return iter([{"text": "a", "url": "u"}, {"text": "b", "id": "own"}])

    monkeypatch.setitem(sys.modules, "datasets", type("Fake", (), {"load_dataset": staticmethod(load)}))
    facts, rows = fetched("hf:owner/name/fin:test", revision="c0ffee", lang="fi")
    assert asked == [("hf://datasets/owner/name", "fin", "test", "c0ffee", True)]
    assert [(row["id"], row["text"], row["meta"]) for row in rows] == [
        ("test:1", "a", '{"url":"u"}'),
        ("own", "b", "{}"),
    ]
    assert facts.docs == 2
    with pytest.raises(DataError, match="`hf:owner/name` has no revision"):
        fetched("hf:owner/name")
    with pytest.raises(DataError, match="`hf:owner` names no data set"):
        fetched("hf:owner", revision="c0ffee")


def test_the_hub_fails_in_words(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", type("Fake", (), {"load_dataset": staticmethod(load)}))
    with pytest.raises(DataError) as error:
        fetched("hf:owner/name", revision="c0ffee")
    assert (error.value.what, error.value.hint) == ("`hf:owner/name` cannot be read", "no route")


# --- several files


def many(root: Path, files: int) -> None:
    """Files of 40 documents; every second has an id."""
    for file in range(files):
        rows = ({"id": f"{file}-{n}" if n % 2 else None, "text": f"text {file} {n} " * 9} for n in range(40))
        (root / f"{file}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_the_number_of_workers_changes_no_byte(
    root: Path, new_work: Callable[[], Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SHARD_BYTES", 3000)
    many(root, 3)
    made = []
    for workers in (1, 2):
        new = new_work()
        work = Work(new.out, new.scratch, Runtime(store=root, root=root, workers=workers), new.log)
        held = pin("file:*.jsonl", root)
        facts = fetch(work, uri="file:*.jsonl", source="s", lang="en", pin=held, revision="", form="text")
        made.append((facts, {name: file_digest(work.out / name) for name in folder_files(work.out)}))
    assert made[0] == made[1]
    tables = list(read_shards(work.out))
    sizes = [sum(len(row["text"]) + len(row["meta"]) for row in table.to_pylist()) for table in tables]
    assert len(tables) == 6  # two of each file: no shard holds two tasks
    assert all(2000 < size < 3000 for size in sizes[::2])  # less than the lines that they stood in
    assert [row["id"] for row in read_all(work.out).to_pylist()] == [
        f"{file}-{n}" if n % 2 else f"{file}.jsonl:{n + 1}" for file in range(3) for n in range(40)
    ]


def test_a_shard_ends_with_the_document_that_fills_it(
    root: Path, fetched: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SHARD_BYTES", 3000)
    many(root, 1)
    (root / "x.jsonl.gz").write_bytes(gzip.compress((root / "0.jsonl").read_bytes()))
    work_of: list[Path] = []
    monkeypatch.setattr(docs, "_check_ids", lambda folder, where: work_of.append(folder))
    fetched("file:x.jsonl.gz")
    sizes = [[len(row["text"]) + len(row["meta"]) for row in table.to_pylist()] for table in read_shards(work_of[0])]
    assert len(sizes) == 2
    assert sum(sizes[0][:-1]) < 3000 <= sum(sizes[0])


def test_an_id_that_stands_in_two_files_is_told(root: Path, fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHARD_BYTES", 3000)
    many(root, 3)
    with (root / "2.jsonl").open("a") as file:
        file.write('\n\n{"id": "new", "text": "x"}\n{"id": "0-7", "text": "x"}\n{"id": "0-9", "text": "x"}\n')
    with pytest.raises(DataError, match="the id `0-7` stands twice in the source") as error:
        fetched("file:*.jsonl")
    assert error.value.at == "2.jsonl, line 43"


def test_small_files_share_a_task(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_files = [
        SourceFile(name, ".txt", name, name, size) for name, size in zip("abcde", (3, 4, 20, 1, 2), strict=True)
    ]
    monkeypatch.setattr(sources, "SHARD_BYTES", 7)
    assert ["".join(source_file.name for source_file in group) for group in sources._grouped(source_files)] == [
        "ab",
        "c",
        "de",
    ]


# --- far away


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, with two files and one in a folder."""
    system = fsspec.filesystem("memory")
    for name, content in {"b.jsonl": GOOD, "a.jsonl.gz": gzip.compress(GOOD), "x/c.jsonl": GOOD}.items():
        system.pipe(f"/far/{name}", content)
    yield system
    system.rm("/far", recursive=True)


def test_files_far_away(fetched: Fetch, memory: Any) -> None:
    facts, rows = fetched("memory://far/*.jsonl*")
    assert [row["id"] for row in rows] == ["a.jsonl.gz:1", "a.jsonl.gz:2", "b.jsonl:1", "b.jsonl:2"]
    assert facts == FetchFacts(docs=4, bytes=12, skipped={}, repairs={})
    assert [row["id"] for row in fetched("memory://far/**/*.jsonl")[1]][2:] == ["x/c.jsonl:1", "x/c.jsonl:2"]
    assert [row["id"] for row in fetched("memory://far/b.jsonl")[1]] == ["b.jsonl:1", "b.jsonl:2"]
    with memory.open("/far/p.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["one", "two"]}), file)
    assert [row["text"] for row in fetched("memory://far/p.parquet")[1]] == ["one", "two"]


def test_the_pin_of_files_far_away(root: Path, fetched: Fetch, memory: Any) -> None:
    before = pin("memory://far/*.jsonl", root)
    assert before == pin("memory://far/*.jsonl", root)
    memory.pipe("/far/b.jsonl", GOOD.replace(b"one", b"two"))  # another time, the same size
    assert pin("memory://far/*.jsonl", root) != before
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        fetched("memory://far/*.jsonl", pin=before)


def test_far_errors(root: Path, fetched: Fetch, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(uri: str) -> tuple[str, str, str]:
        with pytest.raises(DataError) as error:
            fetched(uri)
        return error.value.what, error.value.at, error.value.hint

    what, at, hint = failed("memory://far/*.json")
    assert (what, at) == ("no file matches `memory://far/*.json`", "memory://far/*.json")
    what, at, hint = failed("memory://far/none.jsonl")
    assert what == "`memory://far/none.jsonl` cannot be listed"
    assert hint == "look at the address, the network and your rights (/far/none.jsonl)"
    assert failed("nowhere://far/x.jsonl")[0] == "`nowhere` is no protocol that can be read"
    memory.pipe("/far/x.csv", b"text")
    assert failed("memory://far/x.csv")[:2] == ("`x.csv` is no kind of file that can be read", "memory:///far/x.csv")
    memory.pipe("/far/bad.jsonl", GOOD + b"{")
    assert failed("memory://far/bad.jsonl")[:2] == ("this is not valid JSON", "memory:///far/bad.jsonl, line 3")
    memory.pipe("/far/cut.jsonl.gz", gzip.compress(GOOD * 99)[:-9])
    assert failed("memory://far/cut.jsonl.gz")[0] == "the file is cut off or is not gzip"
    monkeypatch.setitem(sys.modules, "s3fs", None)
    what, at, hint = failed("s3://bucket/x.jsonl")
    assert (what, at) == ("the package that reads `s3://` is not installed", "s3://bucket/x.jsonl")
    assert hint.startswith("pip install 'aurora-m[remote]'; ")


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; from those whose name says so, the connection breaks half way."""

    def do_HEAD(self) -> None:
        if self.allowed():
            super().do_HEAD()

    def allowed(self) -> bool:
        """What lies in `locked` is for whoever has its user, password and signature."""
        signed = "sig=a/b*c" in unquote(self.path) and self.headers["Authorization"] == "Basic dTpodW50ZXIy"
        if "locked" in self.path and not signed:
            self.send_error(403)
            return False
        return True

    def do_GET(self) -> None:
        if not self.allowed():
            return
        if "broken" in self.path:
            whole = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[: len(whole) // 2])
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """No talk."""


@pytest.fixture
def served(root: Path) -> Iterator[str]:
    """The address of the recipe's folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_files_of_a_server(root: Path, fetched: Fetch, served: str) -> None:
    pytest.importorskip("aiohttp")
    many(root, 2)
    wanted = [row["id"] for row in fetched("file:*.jsonl")[1]]
    (root / "0.jsonl.gz").write_bytes(gzip.compress((root / "0.jsonl").read_bytes()))
    assert [row["id"] for row in fetched(f"{served}/*.jsonl")[1]] == wanted
    _, rows = fetched(f"{served}/0.jsonl.gz?download=1")
    assert (len(rows), rows[0]["id"]) == (40, "0.jsonl.gz:1")
    with pytest.raises(DataError, match=r"`.*/none.jsonl` cannot be listed"):
        fetched(f"{served}/none.jsonl")


def test_a_connection_that_breaks_is_told(root: Path, fetched: Fetch, served: str) -> None:
    pytest.importorskip("aiohttp")
    (root / "broken.jsonl").write_bytes(GOOD * 100_000)
    with pytest.raises(DataError, match=r"the network failed after \d+ bytes") as error:
        fetched(f"{served}/broken.jsonl")
    assert error.value.at == f"{served}/broken.jsonl"
    assert error.value.hint.startswith("run again (")


def test_workers_read_from_a_server(root: Path, fetched: Fetch, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(sources, "SHARD_BYTES", 3000)
    many(root, 3)
    assert fetched(f"{served}/*.jsonl", workers=2) == fetched(f"{served}/*.jsonl")


def test_a_signed_address_opens_its_file_and_tells_nothing(
    root: Path, fetched: Fetch, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp")
    (root / "locked").mkdir()
    (root / "locked" / "a.jsonl").write_bytes(GOOD)
    pq.write_table(pa.table({"text": ["one"]}), root / "locked" / "b.parquet")
    address = served.replace("http://", "http://u:hunter2@") + "/locked/{}?sig=a/b*c&id={}"
    for name, count in (("a.jsonl", 2), ("b.parquet", 1)):
        uri = Address(address.format(name, 1))
        assert uri == f"{served}/locked/{name}"
        _, rows = fetched(uri)
        assert [row["id"] for row in rows] == [f"{name}:{number + 1}" for number in range(count)]
    pins = [pin(Address(address.format("a.jsonl", number)), root) for number in (1, 2)]
    assert pins[0] != pins[1]
    assert pin(Address(address.format("a.jsonl", 1) + "&Expires=7&X-Amz-Signature=new"), root) == pins[0]
    (root / "locked" / "bad.jsonl").write_bytes(b"{")
    wrong = (address.format("bad.jsonl", 1), address.format("none.jsonl", 1), address.format("a.jsonl", 1)[:-9])
    for one in wrong:
        with pytest.raises(DataError) as caught:
            fetched(Address(one))
        assert "hunter2" not in str(caught.value)
        assert "sig" not in str(caught.value)
