"""The document table: shards of bounded size, the same bytes every time."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core import table
from aurora_m.core.canon import file_digest
from aurora_m.core.table import DOCS, read_all, read_shards, shards, write_docs, write_table


def doc(index: int, text: str) -> dict[str, str]:
    return {"id": f"d{index}", "text": text, "source": "toy", "lang": "en", "meta": "{}"}


def test_round_trip_keeps_order_and_schema(tmp_path: Path) -> None:
    docs = [doc(0, "a"), doc(1, "ä漢\x00\n"), doc(2, "")]
    assert write_docs(tmp_path, docs) == (3, 8)
    found = read_all(tmp_path)
    assert found.schema == DOCS
    assert found.to_pylist() == docs
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["00000-of-00001.parquet"]


@pytest.mark.parametrize(("sizes", "rows"), [([4, 4, 4], [1, 1, 1]), ([2, 2, 3, 1], [2, 2]), ([1, 9, 1], [2, 1])])
def test_a_shard_ends_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], rows: list[int]
) -> None:
    monkeypatch.setattr(table, "SHARD_BYTES", 4)
    docs = [doc(index, "x" * size) for index, size in enumerate(sizes)]
    assert write_docs(tmp_path, iter(docs), "kept") == (len(docs), sum(sizes))
    assert [shard.num_rows for shard in read_shards(tmp_path, "kept")] == rows
    assert [path.name for path in shards(tmp_path, "kept")] == [
        f"{index:05d}-of-{len(rows):05d}.parquet" for index in range(len(rows))
    ]
    assert read_all(tmp_path, "kept").to_pylist() == docs


def test_text_is_measured_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SHARD_BYTES", 6)
    assert write_docs(tmp_path, [doc(0, "漢"), doc(1, "漢"), doc(2, "漢")]) == (3, 9)
    assert [shard.num_rows for shard in read_shards(tmp_path)] == [2, 1]


def test_no_documents_give_one_empty_shard(tmp_path: Path) -> None:
    assert write_docs(tmp_path, []) == (0, 0)
    [shard] = read_shards(tmp_path)
    assert shard.num_rows == 0
    assert shard.schema == DOCS


def test_reading_nothing(tmp_path: Path) -> None:
    assert shards(tmp_path) == []
    with pytest.raises(ValueError, match="at least one table"):
        read_all(tmp_path)


def test_some_columns(tmp_path: Path) -> None:
    write_docs(tmp_path, [doc(0, "a")])
    assert read_all(tmp_path, columns=["lang", "id"]).to_pylist() == [{"lang": "en", "id": "d0"}]


def test_a_folder_name_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "year=2024"
    write_docs(folder, [doc(0, "a")])
    assert read_all(folder).column_names == DOCS.names


def test_a_failing_source_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SHARD_BYTES", 1)
    with pytest.raises(KeyError):
        write_docs(tmp_path, [doc(0, "a"), {"id": "d1"}])
    assert shards(tmp_path) == []


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8))
def test_same_documents_give_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("docs")
    docs = [doc(index, text) for index, text in enumerate(texts)]
    for name in ("a", "b"):
        write_docs(folder / name, docs)
    [one], [two] = shards(folder / "a"), shards(folder / "b")
    assert file_digest(one) == file_digest(two)
    assert read_all(folder / "a").to_pylist() == docs


def test_a_table_with_more_columns_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "00000-of-00001.parquet"
    for columns in ({"id": ["a"]}, {"id": ["a"], "score": [0.5]}):
        write_table(path, pa.table(columns))
        assert read_all(tmp_path).to_pydict() == columns
