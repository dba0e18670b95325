"""File formats: documents do not depend on where chunks end, and a Parquet column is what its rows would be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.data.read import files as room
from aurora_m.data.read.files import SourceFile, cut, numbered, tally
from aurora_m.data.read.readers import READERS

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | st.text(max_size=5)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4).filter(lambda key: key not in ("text", "id"))
ROWS = st.lists(
    st.tuples(st.text(max_size=40), st.none() | st.text(max_size=3) | st.integers(0, 9), st.dictionaries(KEYS, VALUES)),
    min_size=1,
    max_size=12,
)


def rows_of(path: Path, kind: str, form: str = "text", piece_bytes: int = 2**30) -> list[tuple[dict[str, str], str]]:
    """Each document, and where it says that it stands; the file is read in pieces."""
    pieces = cut(SourceFile(path.name, kind, path.name, str(path), path.stat().st_size), piece_bytes)
    found = []
    for piece in numbered(pieces, map(tally, pieces)):
        for batch in READERS[kind](piece, form):
            found += [(row, batch.at(index)) for index, row in enumerate(batch.docs.to_pylist())]
    return found


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    blanks=st.lists(st.sampled_from(["", " ", "\r", "\t\r"])),
    chunk_bytes=st.integers(1, 60),
    piece_bytes=st.integers(1, 200),
)
def test_jsonl_by_hand(
    tmp_path: Path, rows: list[tuple[str, Any, dict[str, Any]]], blanks: list[str], chunk_bytes: int, piece_bytes: int
) -> None:
    lines, wanted = [], []
    for number, (text, own, fields) in enumerate(rows):
        lines += blanks[number : number + 1]
        row = fields | {"text": text} | ({} if own is None else {"id": own})
        lines.append(json.dumps(row, ensure_ascii=number % 2 == 0))
        meta = {key: value for key, value in row.items() if key != "text" and isinstance(value, str | int | float)}
        if isinstance(own, str) and own:
            del meta["id"]
        name = own if isinstance(own, str) and own else f"x.jsonl:{len(lines)}"
        wanted.append((name, text, meta, f"x.jsonl, line {len(lines)}"))
    path = tmp_path / "x.jsonl"
    path.write_bytes("\n".join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "CHUNK_BYTES", chunk_bytes)
        read = rows_of(path, ".jsonl", piece_bytes=piece_bytes)
    assert [(row["id"], row["text"], json.loads(row["meta"]), at) for row, at in read] == wanted


def test_metadata_is_sorted_and_compact(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"z": 1, "text": "a", "é": "null", "b": 2.50, "no": null, "far": 1e400, "in": {"x": 1}, "a": true}'
    )
    with pytest.raises(DataError, match="this is not valid JSON"):
        rows_of(path, ".jsonl")  # JSON has no such number
    path.write_text(path.read_text().replace('"far": 1e400, ', ""))
    ((row, _),) = rows_of(path, ".jsonl")
    assert row["meta"] == '{"a":true,"b":2.5,"z":1,"é":"null"}'


TABLE = {
    "text": ["one", "två", "", "four"],
    "id": ["a", None, "", "d"],
    "url": ["u", None, "v", "w"],
    "n": [1, 2, None, 4],
    "score": [0.5, float("nan"), float("inf"), None],
    "good": [True, False, None, True],
    "deep": [{"x": 1}, None, {"x": 2}, None],
    "many": [[1], [], None, [2]],
}


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary", "string_view"])
def test_parquet_columns(tmp_path: Path, kind: str) -> None:
    types = {
        "string": pa.string(),
        "large_string": pa.large_string(),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
    }
    types["string_view"] = pa.string_view()
    columns = {name: pa.array(values) for name, values in TABLE.items()}
    columns |= {name: columns[name].cast(types[kind]) for name in ("text", "id", "url")}
    columns["when"] = pa.array([0, 1, 2, 3], pa.timestamp("s"))  # no scalar of JSON
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=3)
    assert [(row["id"], row["text"], row["meta"], at) for row, at in rows_of(tmp_path / "x.parquet", ".parquet")] == [
        ("a", "one", '{"good":true,"n":1,"score":0.5,"url":"u"}', "x.parquet, row 1"),
        ("x.parquet:2", "två", '{"good":false,"n":2}', "x.parquet, row 2"),
        ("x.parquet:3", "", '{"id":"","url":"v"}', "x.parquet, row 3"),
        ("d", "four", '{"good":true,"n":4,"url":"w"}', "x.parquet, row 4"),
    ]


def test_parquet_of_text_alone_and_of_instructions(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["one", "two"]}), path)
    assert [(row["id"], row["text"], row["meta"]) for row, _ in rows_of(path, ".parquet")] == [
        ("x.parquet:1", "one", "{}"),
        ("x.parquet:2", "two", "{}"),
    ]
    pq.write_table(pa.table({"instruction": ["Add 1 and 1."], "response": ["2"], "text": ["kept"]}), path)
    ((row, _),) = rows_of(path, ".parquet", "instruction")
    assert row["text"] == "### Instruction:\nAdd 1 and 1.\n\n### Response:\n2"
    assert row["meta"] == '{"text":"kept"}'


def invalid() -> pa.Array:
    """Strings of which the second is no utf-8."""
    return pa.array([b"one", b"\xff"], pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("columns", "what", "at", "hint"),
    [
        ({"body": ["a"], "deep": [{"x": 1}]}, "there is no field `text`", "row 1", "`body`, `deep`"),
        ({"text": ["a", None]}, "the field `text` is null, not a text", "row 2", "a string"),
        ({"text": [1, 2]}, "the field `text` is a number, not a text", "row 1", "a string"),
        ({"text": [b"a"]}, "the field `text` is a bytes, not a text", "row 1", "a string"),
        ({"text": invalid()}, "a text here or in the next rows is not valid utf-8", "row 1", "utf-8"),
        (
            {"text": ["a", "b"], "url": invalid()},
            "a text here or in the next rows is not valid utf-8",
            "row 1",
            "utf-8",
        ),
    ],
)
def test_parquet_errors(tmp_path: Path, columns: dict[str, Any], what: str, at: str, hint: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", write_statistics=False)
    with pytest.raises(DataError) as error:
        rows_of(tmp_path / "x.parquet", ".parquet")
    assert (error.value.what, error.value.at) == (what, f"x.parquet, {at}")
    assert hint in error.value.hint


def test_large_rows_come_a_few_at_a_time(tmp_path: Path) -> None:
    texts = [chr(97 + n) * (3 * 2**20) for n in range(8)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", use_dictionary=False)
    source_file = SourceFile("x", ".parquet", "x", str(tmp_path / "x.parquet"), 0)
    assert [len(batch.docs) for batch in READERS[".parquet"](source_file, "text")] == [2, 2, 2, 2]


@pytest.mark.parametrize("name", ["text", "url"])
def test_parquet_with_two_columns_of_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.parquet"
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(
        pa.Table.from_arrays(columns, ["text", name, "id"] if name == "text" else ["text", name, name]), path
    )
    with pytest.raises(DataError) as caught:
        rows_of(path, ".parquet")
    assert (caught.value.what, caught.value.at) == (f"two columns are named `{name}`", "x.parquet")


def test_parquet_with_a_date_that_python_has_not(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a"], "date": pa.array([2**30], pa.date32())}), path)
    with pytest.raises(DataError, match="the file is no whole parquet file"):
        rows_of(path, ".parquet", "arxiv")
    assert len(rows_of(path, ".parquet")) == 1
