"""Megatron's files: read from a layout written by hand, written back byte for byte, and refused when damaged."""

import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import new_work, tiny_shards, tiny_tokenizer
from tokenizers import Tokenizer, models

from aurora_m.core.ends import Ends, Mark
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.core.uri import pin_files
from aurora_m.tokens import megatron
from aurora_m.tokens.megatron import export_pair, import_shards, open_pair, pair_files, token_bytes
from aurora_m.tokens.shards import ShardFacts, Shards
from aurora_m.tokens.tokenizer import open_tokenizer

URI = "megatron:data/*"
# Three sequences, two documents: [7, 8 | 9] and [10, 0], as little-endian uint16.
IDX = (
    b"MMIDIDX\x00\x00"
    b"\x01\x00\x00\x00\x00\x00\x00\x00"  # version
    b"\x08"  # uint16
    b"\x03\x00\x00\x00\x00\x00\x00\x00"  # sequences
    b"\x03\x00\x00\x00\x00\x00\x00\x00"  # document bounds
    b"\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"  # lengths
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"  # pointers
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00"  # bounds
)
BIN = b"\x07\x00\x08\x00\x09\x00\x0a\x00\x00\x00"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tokenizer of 280 ids whose end token is 0."""
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def put(root: Path, idx: bytes = IDX, tokens: bytes = BIN, name: str = "fi") -> Path:
    (root / "data").mkdir(exist_ok=True)
    (root / f"data/{name}.idx").write_bytes(idx)
    (root / f"data/{name}.bin").write_bytes(tokens)
    return root


def imported(folder: Path, root: Path, tokenizer: Artifact, uri: str = URI) -> tuple[Artifact, ShardFacts]:
    work = new_work(folder, root=root)
    facts = import_shards(work, tokenizer=tokenizer, uri=uri, pin=pin_files(pair_files(uri, root)))
    return Artifact(work.out, "", to_json(facts)), facts


def test_a_layout_written_by_hand(tmp_path: Path, tokenizer: Artifact) -> None:
    found, facts = imported(tmp_path / "work", put(tmp_path), tokenizer)
    shards = Shards.of(found)
    assert shards.read(0, len(shards)).tolist() == [7, 8, 9, 0, 10, 0]  # the first document gets an end, the second has
    assert shards.bounds(0, 2).tolist() == [0, 4, 6]
    assert shards.doc_ids(0, 2) == ["fi:1", "fi:2"]
    text = open_tokenizer(tokenizer.path).decode([7, 8, 9, 10])
    assert to_json(facts) == {
        **{"tokens": 6, "docs": 2, "bytes": len(text.encode()), "bytes_a_token": round(len(text.encode()) / 6, 4)},
        **{"dtype": "uint16", "slow_shards": 0, "ends_added": 1},
    }


@pytest.mark.parametrize("lead", [7, 0])
def test_what_leads_documents_is_left_out(tmp_path: Path, tokenizer: Artifact, lead: int) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(tokenizer.path, folder)
    Ends(Mark(0, "<|endoftext|>", "it"), Mark(lead, "x", "it")).write(folder)
    docs = [[lead, 8, 9, 0], [8, lead, 0], [lead], [lead, 10]]
    idx = struct.pack("<9sQBQQ4i4q5q", b"MMIDIDX\0\0", 1, 8, 4, 5, 4, 3, 1, 2, 0, 8, 14, 16, 0, 1, 2, 3, 4)
    put(tmp_path, idx, np.array([token for doc in docs for token in doc], "<u2").tobytes())
    found, facts = imported(tmp_path / "work", tmp_path, Artifact(folder, "", {}))
    shards = Shards.of(found)
    assert shards.read(0, len(shards)).tolist() == [8, 9, 0, 8, lead, 0, 10, 0]
    assert shards.bounds(0, 3).tolist() == [0, 3, 6, 8]
    assert shards.doc_ids(0, 3) == ["fi:1", "fi:2", "fi:4"]
    assert (facts.tokens, facts.docs, facts.ends_added) == (8, 3, 1)


@pytest.mark.parametrize(("code", "kind"), [(1, "<u1"), (2, "<i1"), (3, "<i2"), (4, "<i4"), (5, "<i8"), (8, "<u2")])
def test_every_integer_type(tmp_path: Path, tokenizer: Artifact, code: int, kind: str) -> None:
    size = np.dtype(kind).itemsize
    idx = struct.pack("<9sQBQQ2i2q2q", b"MMIDIDX\0\0", 1, code, 2, 2, 1, 2, 0, size, 0, 2)
    put(tmp_path, idx, np.array([100, 101, 0], kind).tobytes())
    shards = Shards.of(imported(tmp_path / "work", tmp_path, tokenizer)[0])
    assert shards.read(0, 3).tolist() == [100, 101, 0]


def test_what_is_written_is_the_layout(tmp_path: Path) -> None:
    export_pair(tiny_shards(tmp_path / "shards", [[[7, 0]], [[258, 9, 0]]]), tmp_path / "out.v1")
    assert (tmp_path / "out.v1.bin").read_bytes() == b"\x07\x00\x00\x00\x02\x01\x09\x00\x00\x00"
    assert (tmp_path / "out.v1.idx").read_bytes() == b"".join(
        [
            b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + b"\x08" + (2).to_bytes(8, "little"),
            (3).to_bytes(8, "little"),
            b"\x02\x00\x00\x00\x03\x00\x00\x00",
            (0).to_bytes(8, "little") + (4).to_bytes(8, "little"),
            (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + (2).to_bytes(8, "little"),
        ]
    )


FILES = st.lists(
    st.lists(st.lists(st.integers(1, 279), max_size=9).map(lambda doc: [*doc, 0]), max_size=5), min_size=1, max_size=4
)


@given(FILES, st.sampled_from(["uint16", "uint32"]), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=15)
def test_out_and_in_again_is_exact(
    tokenizer: Artifact, files: list[list[list[int]]], dtype: str, shard: int, chunk: int
) -> None:
    old = megatron.SHARD_TOKENS, megatron.CHUNK_TOKENS
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ours = tiny_shards(place / "ours", files, dtype)
        try:
            megatron.SHARD_TOKENS, megatron.CHUNK_TOKENS = shard, chunk
            export_pair(ours, place / "pair")
            again, facts = imported(place / "work", place, tokenizer, "megatron:pair")
        finally:
            megatron.SHARD_TOKENS, megatron.CHUNK_TOKENS = old
        one, two = Shards.of(ours), Shards.of(again)
        assert two.read(0, len(two)).tolist() == one.read(0, len(one)).tolist()
        num_docs = one.num_docs
        assert two.bounds(0, num_docs).tolist() == one.bounds(0, num_docs).tolist()
        assert (facts.docs, two.num_docs, facts.ends_added) == (num_docs, num_docs, 0)
        assert two.doc_ids(0, num_docs) == [f"pair:{n + 1}" for n in range(num_docs)]
        sizes = [path.stat().st_size // 2 for path in (again.path / "tokens").glob("*.bin")]
        assert max(sizes) <= max(shard, 10)
        export_pair(again, place / "pair2")
        if dtype == "uint16":
            for suffix in (".bin", ".idx"):
                assert (place / f"pair2{suffix}").read_bytes() == (place / f"pair{suffix}").read_bytes()


def test_several_pairs_and_documents_without_tokens(tmp_path: Path, tokenizer: Artifact) -> None:
    empty = struct.pack("<9sQBQQ1i1q4q", b"MMIDIDX\0\0", 1, 8, 1, 4, 2, 0, 0, 0, 1, 1)  # only the second has tokens
    put(put(put(tmp_path), empty, b"\x05\x00\x06\x00", "a"), HEADLESS, b"", "none")
    found, facts = imported(tmp_path / "work", tmp_path, tokenizer)
    shards = Shards.of(found)
    assert shards.read(0, len(shards)).tolist() == [5, 6, 0, 7, 8, 9, 0, 10, 0]
    assert shards.doc_ids(0, 3) == ["a:2", "fi:1", "fi:2"]
    assert (facts.docs, facts.ends_added) == (3, 2)


HEADLESS = struct.pack("<9sQBQQ1q", b"MMIDIDX\0\0", 1, 8, 0, 1, 0)  # nothing in it
BIG = struct.pack(">9sQBQQ", b"MMIDIDX\0\0", 1, 8, 3, 3) + IDX[34:]


def spoiled(at: int, new: bytes) -> bytes:
    return IDX[:at] + new + IDX[at + len(new) :]


DAMAGE: dict[str, tuple[bytes, bytes, str]] = {
    "another file": (b"not an index at all, but a text of some length", BIN, "the file is no Megatron index"),
    "a cut head": (IDX[:20], BIN, "the file is no Megatron index"),
    "big-endian": (BIG, BIN, "the index has version 72057594037927936, not 1"),
    "another version": (spoiled(9, b"\x02"), BIN, "the index has version 2, not 1"),
    "floats": (spoiled(17, b"\x07"), BIN, "the index says type 7, which is no integer"),
    "an unknown type": (spoiled(17, b"\x09"), BIN, "the index says type 9, which is no integer"),
    "a wider type": (spoiled(17, b"\x04"), BIN, "the sequences do not stand end to end"),
    "a cut index": (IDX[:-1], BIN, f"the index has {len(IDX) - 1} bytes, not {len(IDX)}"),
    "modes": (IDX + b"\0\0\0", BIN, f"the index has {len(IDX) + 3} bytes, not {len(IDX)}"),
    "too many sequences": (spoiled(18, b"\xff" * 8), BIN, "the index has 94 bytes, not 221360928884514619438"),
    "a length below 0": (spoiled(34, b"\xff\xff\xff\xff"), BIN, "the sequences do not stand end to end"),
    "a pointer elsewhere": (spoiled(54, b"\x06"), BIN, "the sequences do not stand end to end"),
    "bounds that go back": (spoiled(78, b"\x04"), BIN, "the documents do not cover the sequences"),
    "bounds too few": (spoiled(86, b"\x02"), BIN, "the documents do not cover the sequences"),
    "a cut token file": (IDX, BIN[:-2], "the token file has 8 bytes, its index says 10"),
    "a longer token file": (IDX, BIN + b"\0", "the token file has 11 bytes, its index says 10"),
    "an unknown id": (IDX, b"\x18\x01" + BIN[2:], "the id 280 is not one of the tokenizer's 280"),
    "big-endian tokens": (IDX, BIN[::-1], "the id 2560 is not one of the tokenizer's 280"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(tmp_path: Path, tokenizer: Artifact, case: str) -> None:
    idx, tokens, what = DAMAGE[case]
    with pytest.raises(DataError) as caught:
        imported(tmp_path / "work", put(tmp_path, idx, tokens), tokenizer)
    assert caught.value.what == what
    assert "data/fi." in caught.value.at
    assert caught.value.hint


def test_the_document_of_an_unknown_id_is_named(tmp_path: Path, tokenizer: Artifact) -> None:
    with pytest.raises(DataError) as caught:
        imported(tmp_path / "work", put(tmp_path, IDX, BIN[:6] + b"\x18\x01\x00\x00"), tokenizer)
    assert caught.value.at.endswith("data/fi.bin, document 2")
    assert caught.value.hint == "tokenize the text with the base's tokenizer"


def small(folder: Path, vocab: dict[str, int]) -> Artifact:
    """A tokenizer of some tokens, with one for all other text."""
    folder.mkdir()
    Tokenizer(models.BPE(vocab, [], unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    return Artifact(folder, "", {})


def test_an_id_that_no_token_has_is_unknown_too(tmp_path: Path) -> None:
    tokenizer = small(tmp_path / "t", {"</s>": 0, "<unk>": 1, "a": 7, "b": 8, "c": 10})
    with pytest.raises(DataError, match="the id 9 is not one of the tokenizer's 5"):
        imported(tmp_path / "work", put(tmp_path), tokenizer)


def test_tokens_that_stand_for_no_text_are_refused(tmp_path: Path) -> None:
    tokenizer = small(tmp_path / "t", {"</s>": 0, "a": 7, "b": 8, "<unk>": 9, "c": 10})
    with pytest.raises(DataError) as caught:
        imported(tmp_path / "work", put(tmp_path), tokenizer)
    assert caught.value.what == "16.7% of the tokens are the one for text that the tokenizer cannot spell"
    assert (caught.value.at, caught.value.hint) == (
        URI,
        "leave such text out, or choose a base whose tokenizer can spell it",
    )


def test_an_index_without_tokens(tmp_path: Path) -> None:
    (put(tmp_path) / "data/fi.bin").unlink()
    with pytest.raises(DataError) as caught:
        pair_files(URI, tmp_path)
    assert (caught.value.what, caught.value.hint) == ("an index has no token file", "put `fi.bin` beside it")


def test_files_that_changed_after_the_pin(tmp_path: Path, tokenizer: Artifact) -> None:
    pin = pin_files(pair_files(URI, put(tmp_path)))
    (tmp_path / "data/fi.bin").write_bytes(BIN[:-2] + b"\x01\x00")
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        import_shards(new_work(tmp_path / "work", root=tmp_path), tokenizer=tokenizer, uri=URI, pin=pin)


def test_what_is_no_shards_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    with pytest.raises(RecipeError, match="the artifact holds no tokens"):
        export_pair(Artifact(tmp_path / "scores", "", {}), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@given(st.text(max_size=60))
def test_bytes_of_tokens_are_those_of_the_text(tokenizer: Artifact, text: str) -> None:
    encoder = open_tokenizer(tokenizer.path)
    sizes = token_bytes(encoder)
    assert len(sizes) == 280
    assert sizes[:4].tolist() == [0, 0, 0, 0]
    assert int(sizes[encoder.encode(text).ids].sum()) == len(text.encode())


def test_bytes_of_tokens_that_are_spelled_in_characters() -> None:
    vocab = {"▁yö": 0, "<0xE6>": 1, "日": 2, "never": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    tokenizer.add_special_tokens(["<s>"])
    assert token_bytes(tokenizer).tolist() == [4, 1, 3, 0, 0, 5]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], object]:
    """Open the pair written by hand."""
    return lambda: open_pair(put(tmp_path) / "data/fi")


def test_tokens_are_mapped_not_read(opened: Callable[[], megatron.Pair]) -> None:
    assert isinstance(opened().tokens, np.memmap)
