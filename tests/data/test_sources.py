"""Sources: every form is read as declared, and what cannot be read says where and why."""

import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurora_m.core.errors import DataError
from aurora_m.core.step import Facts, Runtime, Work
from aurora_m.core.table import read_all
from aurora_m.core.uri import pin_files
from aurora_m.data import sources
from aurora_m.data.sources import fetch, pin

Fetch = Callable[..., tuple[Facts, list[dict[str, str]]]]
GOOD = b'{"text": "one"}\n{"text": "two"}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The recipe's folder."""
    (tmp_path / "recipe").mkdir()
    return tmp_path / "recipe"


@pytest.fixture
def fetched(new_work: Callable[[], Work], root: Path) -> Fetch:
    """Fetch a source; returns facts and rows."""

    def call(uri: str, form: str = "text", **params: str) -> tuple[Facts, list[dict[str, str]]]:
        new = new_work()
        work = Work(new.out, new.scratch, Runtime(store=root, root=root), new.log)
        given: dict[str, str] = {"source": "web", "lang": "en", "revision": "", "pin": pin(uri, root), **params}
        facts = fetch(work, uri=uri, form=form, **given)
        rows: list[dict[str, str]] = read_all(work.out).to_pylist()
        return facts, rows

    return call


def zstd(content: bytes) -> bytes:
    """One zstd frame."""
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def test_jsonl_keeps_ids_and_scalars(root: Path, fetched: Fetch) -> None:
    rows = [{"id": "a", "text": "héllo", "url": "u", "n": 3, "deep": {"x": 1}, "none": None}, {"id": 7, "text": "x"}]
    (root / "d.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    facts, found = fetched("file:d.jsonl", source="s", lang="fi")
    assert facts == {"docs": 2, "bytes": 7, "skipped": 0}
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
    ("x.jsonl.gz", gzip.compress(GOOD * 99)[:-9], "the file is cut off or is not gzip", "x.jsonl.gz", "Truncated"),
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
    ("x.txt.gz", gzip.compress(b" "), "the file holds no document", "x.txt.gz", "leave it out"),
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
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 4 * 2**20)
    (root / "x.jsonl").write_bytes(GOOD + b'{"text": "' + b"a" * (40 * 2**20) + b'"}')
    tracemalloc.start()
    with pytest.raises(DataError, match="the line is over 4 MiB long") as error:
        fetched("file:x.jsonl")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.at == "x.jsonl, line 3"
    assert peak_bytes < 2 * 4 * 2**20 + 3 * sources.CHUNK_BYTES
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
    assert facts["docs"] == len(rows) > 0
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
    assert facts == {"docs": 2, "bytes": 1200, "skipped": 1}
    held = pin_files({name: library / name for name in ("a/x.py", "b.py", "latin.py")})
    assert pin("python:stdlib", tmp_path) == held  # the files alone, whatever Python reads them


def test_the_hub(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, *, split: str, revision: str, streaming: bool) -> Iterator[dict[str, Any]]:
        asked.append((name, config, split, revision, streaming))
        return iter([{"text": "a", "url": "u"}, {"text": "b", "id": "own"}])

    monkeypatch.setitem(sys.modules, "datasets", type("Fake", (), {"load_dataset": staticmethod(load)}))
    facts, rows = fetched("hf:owner/name/fin:test", revision="c0ffee", lang="fi")
    assert asked == [("owner/name", "fin", "test", "c0ffee", True)]
    assert [(row["id"], row["text"], row["meta"]) for row in rows] == [
        ("test:1", "a", '{"url":"u"}'),
        ("own", "b", "{}"),
    ]
    assert facts["docs"] == 2
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
