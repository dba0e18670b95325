"""Shards: what is read is the concatenation of what was written, across files and for both widths."""

import bisect
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import doc, new_work, tiny_shards, tiny_tokenizer
from tokenizers import Tokenizer

from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.core.table import DOCS, HEAD, write_docs, write_table
from aurora_m.tokens.shards import BATCH, Shards, shard
from aurora_m.tokens.tokenizer import EOS, FIM, open_tokenizer

FILES = st.lists(st.lists(st.lists(st.integers(0, 65535), min_size=1, max_size=9), max_size=4), min_size=1, max_size=4)


@given(FILES, st.sampled_from(["uint16", "uint32"]), st.data())
@settings(max_examples=60)
def test_files_read_as_one_array(files: list[list[list[int]]], dtype: str, data: st.DataObject) -> None:
    docs = [d for file in files for d in file]
    whole = [t for d in docs for t in d]
    begins = np.cumsum([0, *(len(d) for d in docs)]).tolist()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        shards = Shards.of(tiny_shards(Path(folder), files, dtype))
        assert len(shards) == len(whole)
        assert shards.num_docs == len(docs)
        read = shards.read(start, stop - start)
        assert read.dtype == np.int64
        assert read.tolist() == whole[start:stop]
        if start < stop:
            first, bounds = shards.docs_between(start, stop)
            last = bisect.bisect_left(begins, stop)
            assert first == bisect.bisect_right(begins, start) - 1
            assert bounds.tolist() == shards.bounds(first, last).tolist() == begins[first : last + 1]
            assert shards.doc_ids(first, last) == [f"d{n}" for n in range(first, last)]


@pytest.mark.parametrize(("start", "length"), [(0, 6), (5, 1), (-1, 2), (3, 3)])
def test_outside_is_an_error(tmp_path: Path, start: int, length: int) -> None:
    shards = Shards.of(tiny_shards(tmp_path, [[[1, 2], [3]], [[4, 5]]]))
    with pytest.raises(IndexError, match=f"tokens {start} to {start + length} of 5"):
        shards.read(start, length)
    assert shards.read(5, 0).tolist() == []


def test_wide_ids_survive(tmp_path: Path) -> None:
    shards = Shards.of(tiny_shards(tmp_path, [[[70_000, 2**32 - 1]]], "uint32"))
    assert shards.read(0, 2).tolist() == [70_000, 2**32 - 1]


def some_docs(folder: Path, names: list[str]) -> Artifact:
    rows = [doc(name, f"the cat number {number} sat. Yö 日本") for number, name in enumerate(names)]
    for index in range(2):
        part = rows[index::2]
        table = {key: [row[key] for row in part] for key in DOCS.names}
        write_table(folder / f"docs/0000{index}-of-00002.parquet", pa.table(table, DOCS))
    return Artifact(folder, "", {})


def test_every_document_is_followed_by_the_end_token(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    names = [f"n{number}" for number in range(2 * BATCH + 3)]
    work = new_work(tmp_path / "shards")
    facts = shard(work, docs=some_docs(tmp_path / "docs", names), tokenizer=tokenizer)
    shards, encoder = Shards(work.out, facts.dtype), open_tokenizer(tokenizer.path)
    order = [*range(0, len(names), 2), *range(1, len(names), 2)]
    texts = [f"the cat number {number} sat. Yö 日本" for number in order]
    expected = [token for text in texts for token in [*encoder.encode(text).ids, 0]]
    assert shards.read(0, len(shards)).tolist() == expected
    assert shards.doc_ids(0, len(names)) == [names[number] for number in order]
    starts = shards.bounds(0, len(names))
    assert encoder.decode(shards.read(starts[5], starts[6] - starts[5] - 1).tolist()) == texts[5]
    num_bytes = sum(len(text.encode()) for text in texts)
    assert to_json(facts) == {
        "tokens": len(expected),
        "docs": len(names),
        "bytes": num_bytes,
        "bytes_a_token": round(num_bytes / len(expected), 4),
        "dtype": "uint16",
        "slow_shards": 0,
    }


def test_ids_may_hold_line_breaks(tmp_path: Path) -> None:
    names = ["a\nb", "c\u2028d", "e\rf", "g\x85h"]
    work = new_work(tmp_path / "shards")
    facts = shard(work, docs=some_docs(tmp_path / "docs", names), tokenizer=tiny_tokenizer(tmp_path))
    assert Shards(work.out, facts.dtype).doc_ids(0, 4) == [names[0], names[2], names[1], names[3]]


@pytest.mark.parametrize(("vocab", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_the_vocabulary_decides_the_width(tmp_path: Path, vocab: int, dtype: str) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_tokenizer(tmp_path).path / "tokenizer.json"))
    tokenizer.add_tokens([f"@{number}@" for number in range(vocab - 280)])
    assert tokenizer.get_vocab_size() == vocab
    (tmp_path / "wide").mkdir()
    tokenizer.save(str(tmp_path / "wide/tokenizer.json"))
    write_docs(tmp_path / "docs", [doc("d", f"@{vocab - 281}@")])
    work = new_work(tmp_path / "shards")
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=Artifact(tmp_path / "wide", "", {}))
    assert facts.dtype == dtype
    assert Shards(work.out, dtype).read(0, 2).tolist() == [vocab - 1, 0]


def test_no_documents_are_no_tokens(tmp_path: Path) -> None:
    write_docs(tmp_path / "docs", [])
    work = new_work(tmp_path / "shards")
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=tiny_tokenizer(tmp_path))
    assert (facts.tokens, facts.docs, facts.bytes_a_token) == (0, 0, 0.0)
    assert len(Shards(work.out, "uint16")) == 0


def test_heads_are_special_tokens_and_texts_are_not(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    name = FIM[0]
    docs = [doc("a", f"the {name} cat"), doc("b", "dog"), doc("c", "mat")]
    heads = ["", f"{name}a/b\n", f"{name}\n"]
    table = pa.Table.from_pylist(docs, schema=DOCS).append_column(HEAD, pa.array(heads, pa.large_string()))
    write_table(tmp_path / "docs/docs/00000-of-00001.parquet", table)
    work = new_work(tmp_path / "work")
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=tokenizer)
    found = Shards.of(Artifact(work.out, "", to_json(facts)))
    tokens, encoder = found.read(0, len(found)).tolist(), open_tokenizer(tokenizer.path)
    mark, end = encoder.token_to_id(name), encoder.token_to_id(EOS)
    plain = [
        encoder.encode(text, add_special_tokens=False).ids for text in (docs[0]["text"], "a/b\n", "dog", "\n", "mat")
    ]
    assert tokens == [*plain[0], end, mark, *plain[1], *plain[2], end, mark, *plain[3], *plain[4], end]
    assert mark not in plain[0]
    assert facts.tokens == len(tokens)


def test_a_tokenizer_without_a_mark(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([doc("a", "x = 1")], schema=DOCS)
    table = table.append_column(HEAD, pa.array(["<nosuchmark>a/b\n"], pa.large_string()))
    write_table(tmp_path / "docs/docs/00000-of-00001.parquet", table)
    with pytest.raises(RecipeError, match="no token `<nosuchmark>`"):
        shard(new_work(tmp_path / "work"), docs=Artifact(tmp_path / "docs", "", {}), tokenizer=tiny_tokenizer(tmp_path))
