"""Places: a large file of lines is read in pieces, and nothing depends on where they end."""

import json
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.data.read import files as module
from aurora_m.data.read.files import SourceFile, chunks, cut, file_lines, numbered, tally

MARK = b"\xef\xbb\xbf"
LINES = st.lists(st.sampled_from([b"", b" \r", b'{"text": "a"}', b'{"text": "' + b"x" * 90 + b'"}\r']), max_size=30)


def place_of(path: Path, name: str = "x.jsonl") -> SourceFile:
    """A file as a source names it."""
    return SourceFile(name, ".jsonl", name, str(path), path.stat().st_size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=LINES,
    end=st.sampled_from([b"", b"\n", b"\r\n", b"\n \n"]),
    mark=st.sampled_from([b"", MARK]),
    chunk_bytes=st.integers(4, 60),
    piece_bytes=st.integers(4, 200),
)
def test_pieces_are_whole_lines_with_the_numbers_that_they_have_in_the_file(
    tmp_path: Path, lines: list[bytes], end: bytes, mark: bytes, chunk_bytes: int, piece_bytes: int
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(mark + b"\n".join(lines) + end)
    wanted = {
        number: line for number, line in enumerate(path.read_bytes().removeprefix(MARK).split(b"\n"), 1) if line.strip()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk_bytes)
        pieces = cut(place_of(path), piece_bytes)
        kept = numbered(pieces, map(tally, pieces))
        found = [
            {
                number: line
                for first, part in file_lines(piece)
                for number, line in enumerate(part, first)
                if line.strip()
            }
            for piece in kept
        ]
    assert pieces[0].first_byte == 0
    assert all(one.first_byte + one.num_bytes == two.first_byte for one, two in pairwise(pieces))
    assert sum(piece.num_bytes for piece in pieces) == path.stat().st_size
    longest = max(map(len, path.read_bytes().split(b"\n"))) + 1
    assert all(piece_bytes <= piece.num_bytes < piece_bytes + longest for piece in pieces[:-1])
    assert all(found) or not wanted
    assert {number: line for part in found for number, line in part.items()} == wanted


def test_a_large_file_of_lines_is_cut_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    line = json.dumps({"text": "a" * 700}) + "\n"
    path.write_bytes(line.encode() * 9000 + b"\n" * 2**22)
    whole = place_of(path)
    pieces = cut(whole, 2**21)
    assert [piece.first_byte for piece in pieces[1:]] == list(accumulate(piece.num_bytes for piece in pieces[:-1]))
    kept = numbered(pieces, map(tally, pieces))
    assert kept == [
        piece._replace(line=piece.first_byte // len(line) + 1)
        for piece in pieces
        if piece.first_byte < 9000 * len(line)
    ]
    assert 3 <= len(kept) < len(pieces)  # blank pieces are left out
    for other in (whole._replace(name="x.jsonl.gz"), whole._replace(kind=".txt"), whole._replace(path="s3://b/x")):
        assert cut(other, 2**21) == [other]
    assert cut(whole, whole.num_bytes) == [whole]


def test_of_a_blank_file_one_piece_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(MARK + b" \n" * 50)
    pieces = cut(place_of(path), 20)
    assert len(pieces) > 3
    assert numbered(pieces, map(tally, pieces)) == pieces[:1]


def test_a_file_that_shrank_is_told_and_one_that_grew_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"one\ntwo\nthree\n")
    source_file = place_of(path)
    path.write_bytes(b"one\ntwo\nthree\nfour\n")
    assert b"".join(chunks(source_file)) == b"one\ntwo\nthree\n"
    assert sum(piece.num_bytes for piece in cut(source_file, 3)) == source_file.num_bytes
    path.write_bytes(b"one\ntwo\nthree")
    source_file = place_of(path)
    path.write_bytes(b"one\ntwo\nthreeXX\nfour\n")
    assert b"".join(b"".join(chunks(piece)) for piece in cut(source_file, 3)) == b"one\ntwo\nthree"
    path.write_bytes(b"one\n")
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        list(chunks(source_file))
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        list(map(tally, cut(source_file, 3)))
