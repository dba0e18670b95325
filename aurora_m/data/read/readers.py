"""File formats: JSONL, JSON, plain text and Parquet, here or far away, as batches of documents."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.chat import render
from aurora_m.core.errors import DataError
from aurora_m.core.faults import of_system
from aurora_m.data.read.files import CHUNK_BYTES, Remote, SourceFile, file_lines, first_line, whole_file
from aurora_m.data.read.metadata import SHAPES, append_metadata

BATCH_ROWS = 8192
FIELDS = {"text": ("text",), "instruction": ("instruction", "response"), **dict.fromkeys(SHAPES, ("text",))}
DOC = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("meta", pa.string())])
JSON_TYPES = {
    dict: "an object", list: "a list", bool: "true or false", type(None): "null", int: "a number", float: "a number"
}  # fmt: skip
SCALARS = frozenset((str, int, bool, float))
SORTED = orjson.OPT_SORT_KEYS


class Batch(NamedTuple):
    """Some documents that stand one after the other in a file."""

    docs: pa.Table  # of DOC
    at: Callable[[int], str]  # where document i stands, for people
    skipped: Mapping[str, int] = {}  # how many things between them are no documents, by reason


Reader = Callable[[SourceFile, str], Iterator[Batch]]


def jsonl(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """One object a line; blank lines count but hold nothing. The id of a document without one is `name:line`."""
    for first, found in file_lines(source_file):
        numbers: Sequence[int] = range(first, first + len(found))
        if not all(map(bytes.strip, found)):
            numbers = [number for number, line in zip(numbers, found, strict=True) if line.strip()]
            found = [line for line in found if line.strip()]

        def at(index: int, numbers: Sequence[int] = numbers) -> str:
            return f"{source_file.at}, line {numbers[index]}"

        try:
            rows = list(map(orjson.loads, found))
        except orjson.JSONDecodeError:  # which one, and why, the slow way
            rows = [_parsed(line, at(index)) for index, line in enumerate(found)]
        yield batch(rows, [f"{source_file.name}:{number}" for number in numbers], at, form)


def json(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """A list of objects, or one. The id of a document without one is `name:item`."""
    content = whole_file(source_file)
    value = _parsed(content, source_file.at) if content.strip() else []
    rows = value if isinstance(value, list) else [value]
    names = [f"{source_file.name}:{number}" for number in range(1, len(rows) + 1)]
    yield batch(rows, names, lambda index: f"{source_file.at}, item {index + 1}", form)


def txt(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """The whole file is one document, `name:1`."""
    text = _decoded(whole_file(source_file), source_file.at)
    if text.strip():
        yield batch([{"text": text}], [f"{source_file.name}:1"], lambda _: source_file.at, form)


def parquet(source_file: SourceFile, form: str) -> Iterator[Batch]:
    """A document a row; a text column is taken as it stands. The id of a document without one is `name:row`."""
    source = Remote(source_file, streamed=False) if "://" in source_file.path else source_file.path
    try:
        with pq.ParquetFile(source, buffer_size=CHUNK_BYTES) as file:
            schema = file.schema_arrow
            twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
            if twice is not None:
                hint = "write the file again with a name of its own for each column"
                raise DataError(f"two columns are named `{twice}`", at=source_file.at, hint=hint)
            missing = next((name for name in FIELDS[form] if name not in schema.names), None)
            if missing and file.metadata.num_rows:
                raise _no_field(missing, schema.names, f"{source_file.at}, row 1")
            wanted = {*FIELDS[form], *(schema.names if form in SHAPES else ())}  # shapes take lists, too
            columns = [field.name for field in schema if field.name in wanted or _holds_scalars(field.type)]
            row = 0
            for rows in file.iter_batches(_batch_rows(file.metadata), columns=columns):
                yield _parquet_batch(source_file, form, rows, row)
                row += len(rows)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # a value that Python cannot hold, too
        if of_system(error):
            raise
        raise DataError("the file is no whole parquet file", at=source_file.at, hint=first_line(error)) from error


READERS: dict[str, Reader] = {".jsonl": jsonl, ".json": json, ".parquet": parquet, ".txt": txt}


def batch(
    rows: Sequence[Any],
    names: Sequence[str],
    at: Callable[[int], str],
    form: str,
    texts: pa.Array | None = None,
    skipped: Mapping[str, int] | None = None,
) -> Batch:
    """Make documents of rows of fields: id, text, and the scalar fields as canonical JSON.

    `names` are the ids of rows without an own `id` that is a string. `texts` is the text where the rows do not hold
    it. DataError, with `at`, names the first row that is not an object or lacks a field.
    """
    given = texts if texts is not None else _texts(rows, form)
    if given is None:
        raise _wrong(rows, form, at)
    taken = frozenset(("id", *FIELDS[form]))
    ids = [row.get("id") for row in rows]
    metas = [_meta(row, taken) for row in rows]
    for index, own in enumerate(ids):
        if type(own) is not str or not own:
            ids[index] = names[index]
            metas[index] = metas[index] if own is None else _meta(rows[index], taken - {"id"})
    meta_column = pa.array(metas, pa.binary()).cast(pa.string())
    return Batch(pa.table([pa.array(ids, pa.string()), given, meta_column], schema=DOC), at, skipped or {})


def _meta(row: Mapping[str, Any], taken: frozenset[str]) -> bytes:
    """The scalar fields that are not taken, as JSON with sorted keys; a float that is not finite is none."""
    kept = {name: value for name, value in row.items() if name not in taken and type(value) in SCALARS}
    written = orjson.dumps(kept, option=SORTED)
    if b"null" in written:  # in a text, or for such a float
        kept = {name: value for name, value in kept.items() if type(value) is not float or math.isfinite(value)}
        return orjson.dumps(kept, option=SORTED)
    return written


def _texts(rows: Sequence[Any], form: str) -> pa.Array | None:
    """The text of each row; none if a row is not as `form` says."""
    try:
        if form == "text":
            texts = [row["text"] for row in rows]
        elif form == "instruction":
            texts = [render(row["instruction"], row["response"]) for row in rows]
        else:
            texts = [append_metadata(row["text"], row, form) for row in rows]
    except (KeyError, TypeError, AttributeError):
        return None
    if set(map(type, texts)) - {str} or set(map(type, rows)) - {dict}:
        return None
    return pa.array(texts, pa.large_string())


def _wrong(rows: Sequence[Any], form: str, at: Callable[[int], str]) -> DataError:
    """What is wrong with the first row that is not as `form` says."""
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            kind = JSON_TYPES.get(type(row), "a text")
            hint = 'write `{"text": "..."}`'
            return DataError(f"a document is {kind}, not an object", at=at(index), hint=hint)
        for name in FIELDS[form]:
            if name not in row:
                return _no_field(name, list(row), at(index))
            if not isinstance(row[name], str):
                kind = JSON_TYPES.get(type(row[name]), f"a {type(row[name]).__name__}")
                what, hint = f"the field `{name}` is {kind}, not a text", f"make every `{name}` a string"
                return DataError(what, at=at(index), hint=hint)
    raise AssertionError("all rows are right")


def _no_field(name: str, there: list[str], at: str) -> DataError:
    listed = ", ".join(f"`{field}`" for field in there) or "none"
    return DataError(f"there is no field `{name}`", at=at, hint=f"the fields there are {listed}")


# --- parquet


def _holds_scalars(kind: pa.DataType) -> bool:
    tests = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    return _is_text(kind) or any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _batch_rows(metadata: Any) -> int:
    """How many rows hold some 8 MiB."""
    num_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    held: int = 8 * CHUNK_BYTES * metadata.num_rows // max(num_bytes, 1)
    return max(1, min(BATCH_ROWS, held))


def _parquet_batch(source_file: SourceFile, form: str, rows: pa.RecordBatch, before: int) -> Batch:
    def at(index: int) -> str:
        return f"{source_file.at}, row {before + index + 1}"

    texts, count = None, len(rows)
    if form == "text" and _is_text(rows["text"].type) and rows["text"].null_count == 0:
        texts = rows["text"].cast(pa.large_string())
        rows = rows.drop_columns(["text"])
    try:
        if texts is not None:
            texts.validate(full=True)
        fields = rows.to_pylist() if rows.num_columns else [{} for _ in range(count)]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        what = "a text here or in the next rows is not valid utf-8"
        raise DataError(what, at=at(0), hint="write the file again from strings in utf-8") from error
    names = [f"{source_file.name}:{number}" for number in range(before + 1, before + count + 1)]
    return batch(fields, names, at, form, texts)


# --- text and JSON


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
