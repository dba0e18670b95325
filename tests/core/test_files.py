"""Files: the old one or the new one, never a half."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.files import (
    json_object,
    json_rows,
    parse_json,
    read_json,
    read_jsonl,
    replacing,
    shard_name,
    sync_folder,
    write_json,
    write_jsonl,
)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replacing_makes_folders_and_leaves_no_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    for text in (b"one", b"two"):
        with replacing(path) as file:
            file.write(text)
        assert path.read_bytes() == text
    assert listing(path.parent) == ["b.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(TypeError, match="bytes-like"), replacing(path) as file:
        file.writelines([b"ne", "w"])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, "new")
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a"]


def test_bytes_are_on_disk_before_they_take_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    path = tmp_path / "a"
    fsync, replace = os.fsync, os.replace

    def seen_fsync(handle: int) -> None:
        calls.append(("fsync", os.fstat(handle).st_size))
        fsync(handle)

    def seen_replace(old: Path, new: Path) -> None:
        calls.append(("replace", old.stat().st_size))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    with replacing(path) as file:
        file.write(b"12345")
    assert calls == [("fsync", 5), ("replace", 5)]


def test_json_keeps_key_order_and_ends_in_a_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": "ä", "a": [1]})
    assert (tmp_path / "a").read_text() == '{\n "b": "ä",\n "a": [\n  1\n ]\n}\n'
    assert read_json(tmp_path / "a") == {"b": "ä", "a": [1]}


@pytest.mark.parametrize("write", [write_json, lambda path, value: write_jsonl(path, [value])])
def test_nan_is_refused(tmp_path: Path, write: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "a", {"x": float("nan")})
    assert listing(tmp_path) == []


@given(
    rows=st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])) | st.integers(),
            max_size=3,
        )
    )
)
def test_jsonl_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    assert write_jsonl(path, rows) == len(rows)
    assert read_jsonl(path) == rows


def test_jsonl_survives_every_kind_of_line_end(tmp_path: Path) -> None:
    rows: list[Any] = ["a\nb\r\nc\u2028d\u2029e\x85f\x0bg"]
    write_jsonl(tmp_path / "a", rows)
    assert (tmp_path / "a").read_bytes().count(b"\n") == 1
    assert read_jsonl(tmp_path / "a") == rows


def test_jsonl_of_a_failing_source_keeps_the_old_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a", [1])
    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "a", (1 // x for x in (1, 0)))
    assert read_jsonl(tmp_path / "a") == [1]


def test_sync_folder_closes_its_handle(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")


def test_shard_names_sort_in_order() -> None:
    assert shard_name(17, 64, "parquet") == "00017-of-00064.parquet"
    names = [shard_name(index, 200, "bin") for index in range(200)]
    assert names == sorted(names)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("content", "what", "at", "hint"),
    [
        (b"", "this is not valid JSON", "x", "Expecting value, at character 1 of the line"),
        (b'{"a": 1,\n "b": }\n', "this is not valid JSON", "x, line 2", "Expecting value, at character 7 of the line"),
        (b'{"a": 1, "a": 2}', "this is not valid JSON: the key `a` stands twice", "x", "look at what wrote it"),
        (b"1" * 5000, "this is not valid JSON: a number has 5000 digits", "x", "look at what wrote it"),
        (DEEP, "this is not valid JSON: it is nested too deep", "x", "write it flat"),
        (b'"\xff"', "byte 1 is not valid utf-8", "x", "convert the file to utf-8"),
        (b'["\\uD800"]', "a text holds half a character (a lone surrogate)", "x", "write the file again from "),
    ],
)
def test_json_that_somebody_wrote_is_refused_with_its_place(content: bytes, what: str, at: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(content, "x")
    assert (caught.value.what, caught.value.at) == (what, at)
    assert caught.value.hint.startswith(hint)


def test_json_that_is_right_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00", "b": [1e3, Infinity]}\n', "x") == {
        "a": "\U0001f600",
        "b": [1000.0, float("inf")],
    }


def test_rows_are_named_by_their_line_whatever_is_blank(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{"a": 1}\r\n  \n{"a": "x\xc2\x85y"}\n[2]\n')
    rows = json_rows(path)
    assert [next(rows), next(rows)] == [(f"{path}:2", {"a": 1}), (f"{path}:4", {"a": "x\x85y"})]
    with pytest.raises(DataError) as caught:
        next(rows)
    assert (caught.value.what, caught.value.at) == ("a row is no JSON object", f"{path}:5")
    path.write_bytes(b'{"a": 1}\n')
    assert list(json_rows(path, 2)) == []


@pytest.mark.parametrize("content", [b"[]", b"", b"{", b"\xff"])
def test_a_file_without_an_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        json_object(tmp_path / "x.json")
    assert caught.value.at == str(tmp_path / "x.json")
