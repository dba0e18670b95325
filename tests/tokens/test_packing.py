"""Best fit: every token once, nothing cut that fits, documents apart; and rows are those of the plain algorithm."""

import random
import tempfile
from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import new_work, tiny_shards

from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.tokens import packing
from aurora_m.tokens.fim import MIN_TOKENS, infill, restore
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.packing import MARKS, Packed, best_fit, cut_end_to_end, pack
from aurora_m.tokens.shards import Shards
from aurora_m.tokens.stream import BLOCK, Stream

END = 0
SIGNS = (901, 902, 903)  # prefix, middle, suffix
BODIES = st.lists(st.integers(0, 60), min_size=1, max_size=25)
ROWS = st.integers(2, 40)
SIZES = st.integers(1, 40).flatmap(
    lambda room: st.tuples(st.just(room), st.lists(st.integers(1, room), min_size=1, max_size=80))
)


def plainly(sizes: list[int], room: int) -> list[int]:
    """The room left in each row after best fit decreasing, one piece after the other."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [(left, row) for row, left in enumerate(rooms) if left >= size]
        if not fitting:
            rooms.append(room)
        row = min(fitting)[1] if fitting else len(rooms) - 1
        rooms[row] -= size
    return sorted(rooms)


@given(SIZES)
@settings(max_examples=300)
def test_it_is_best_fit_decreasing(given: tuple[int, list[int]]) -> None:
    room, sizes = given
    rows = best_fit(np.array(sizes), room)
    filled = np.bincount(rows, sizes).astype(int)
    assert sorted((room - filled).tolist()) == plainly(sizes, room)


def test_by_hand() -> None:
    # 7 opens a row; 5 opens another and takes the second 5; 3 fills up the 7; 2 has no row left.
    assert best_fit(np.array([5, 3, 2, 7, 5]), 10).tolist() == [1, 0, 2, 0, 1]


def test_a_million_documents_of_one_row_are_fast_and_close() -> None:
    sizes = np.clip(np.random.default_rng(0).lognormal(5.8, 1.1, 10**6), 1, 2048).astype(np.int64)
    rows = best_fit(sizes, 2048)
    filled = np.bincount(rows, sizes)
    assert filled.max() <= 2048
    assert 1 - filled.mean() / 2048 < 1e-4


def made(folder: Path, bodies: list[int], row_tokens: int, filled: bool = False) -> tuple[list[list[int]], Packed, Any]:
    """Documents of so many tokens and an end token, packed; no two tokens are the same."""
    starts = np.cumsum([1, *bodies])
    docs = [[*range(start, start + body), END] for start, body in zip(starts.tolist(), bodies, strict=False)]
    half = len(docs) // 2
    shards = Shards.of(tiny_shards(folder, [docs[:half], docs[half:]]))
    about = pack(shards, row_tokens, filled, folder / "packs")
    return docs, Packed.open(shards, row_tokens, folder / "packs"), about


@given(BODIES, ROWS)
@settings(max_examples=50)
def test_every_token_is_read_once_and_what_fits_is_whole(bodies: list[int], row_tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs, packed, about = made(Path(folder), bodies, row_tokens)
        whole = [token for doc in docs for token in doc]
        spans = [span for row in range(about["rows"]) for span in packed.spans(row)]
        assert sorted(spans) == [(a, b) for (a, _), (_, b) in zip(sorted(spans), sorted(spans), strict=True)]
        assert [token for a, b in sorted(spans) for token in whole[a:b]] == whole  # in order: the shard itself
        begins = np.cumsum([0, *(len(doc) for doc in docs)]).tolist()
        cut = 0
        for begin, doc in zip(begins, docs, strict=False):
            inside = [(a, b) for a, b in spans if begin <= a < begin + len(doc)]
            assert len(inside) == -(-len(doc) // row_tokens)
            cut += len(inside) > 1
        assert about == {"rows": about["rows"], "pieces": len(spans), "cut_docs": cut}


@given(BODIES, ROWS)
@settings(max_examples=50)
def test_targets_are_each_token_once_and_documents_are_apart(bodies: list[int], row_tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs, packed, about = made(Path(folder), bodies, row_tokens)
        learnt: Counter[int] = Counter()
        beginning_of = {doc[0]: number for number, doc in enumerate(docs) if len(doc) > 1}
        unlearnt = 0
        for row in range(about["rows"]):
            tokens, starts, weights = packed.row(row, None)
            assert len(tokens) == row_tokens + 1
            assert tokens.dtype == np.int64
            real = 1 + sum(b - a for a, b in packed.spans(row))
            assert tokens[real:].tolist() == [END] * (row_tokens + 1 - real)  # the padding
            assert not weights[real - 1 :].any()
            learnt.update(tokens[1:][weights == 1].tolist())
            unlearnt += int((weights[: real - 1] == 0).sum())
            for at in range(1, real):  # each target is what follows its input in the source
                if weights[at - 1] and tokens[at] != END:
                    begins = int(tokens[at]) in beginning_of
                    assert tokens[at - 1] == (END if begins else tokens[at] - 1)
                    assert (at in starts.tolist()) >= begins
        whole = Counter(token for doc in docs for token in doc)
        assert sum((whole - learnt).values()) == unlearnt  # the first tokens of rests that stand behind a piece
        assert not learnt - whole
        rests = sum(len(doc) > row_tokens and len(doc) % row_tokens > 0 for doc in docs)
        assert unlearnt <= rests


@given(BODIES.filter(lambda bodies: max(bodies) >= MIN_TOKENS), st.integers(MIN_TOKENS + MARKS, 40), st.integers(0, 99))
@settings(max_examples=50)
def test_filled_documents_keep_their_end(bodies: list[int], row_tokens: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs, packed, about = made(Path(folder), bodies, row_tokens, filled=True)
        read: list[list[int]] = []
        for row in range(about["rows"]):
            tokens, starts, weights = packed.row(row, partial(infill, rate=1.0, marks=SIGNS, seed=(seed, row)))
            assert len(tokens) == row_tokens + 1
            assert tokens.dtype == np.int64  # also where the row cuts no document
            spans = packed.spans(row)
            bounds = [*starts.tolist(), row_tokens + 1][1 : len(spans) + 2]
            for a, b in pairwise(bounds):
                piece = tokens[a:b]
                ended = piece[-1] == END
                body = piece[: len(piece) - ended]
                if SIGNS[0] in body:
                    assert len(body) >= MIN_TOKENS + MARKS
                    assert weights[a : b - 1].all()
                    body = restore(body, SIGNS)
                else:
                    assert len(body) < MIN_TOKENS
                read.append([*body.tolist(), *([END] if ended else [])])
        assert sorted(token for piece in read for token in piece) == sorted(token for doc in docs for token in doc)
        fitting = [doc for doc in docs if len(doc) <= row_tokens - MARKS]
        assert not Counter(map(tuple, fitting)) - Counter(map(tuple, read))


def test_runs_bound_the_memory_and_change_no_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "RUN", 7)
    lots = random.Random(3)
    docs, packed, about = made(tmp_path, [lots.randint(0, 30) for _ in range(50)], 16)
    spans = sorted(span for row in range(about["rows"]) for span in packed.spans(row))
    assert [a for a, _ in spans][1:] == [b for _, b in spans][:-1]
    assert spans[-1][1] == sum(map(len, docs))


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    bodies = [random.Random(4).randint(0, 60) for _ in range(300)]
    for name in ("one", "two"):
        made(tmp_path / name, bodies, 32)
    for file in ("pieces.bin", "rows.bin"):
        assert (tmp_path / f"one/packs/{file}").read_bytes() == (tmp_path / f"two/packs/{file}").read_bytes()


@given(BODIES, ROWS)
@settings(max_examples=40)
def test_documents_cut_end_to_end_are_counted(bodies: list[int], row_tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs, packed, _ = made(Path(folder), bodies, row_tokens)
        row_of = [-1, *(at // row_tokens for at in range(sum(map(len, docs)) - 1))]  # of each token as a target
        row_of[0] = 0
        begins = np.cumsum([0, *(len(doc) for doc in docs)]).tolist()
        cut = sum(row_of[a] != row_of[b - 1] for a, b in pairwise(begins))
        assert cut_end_to_end(packed.shards, row_tokens) == cut


def test_short_rows_have_no_room_for_marks(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="rows of 10 tokens have no room for the marks of infilling"):
        made(tmp_path, [5, 5], MIN_TOKENS + MARKS - 1, filled=True)


@pytest.fixture
def packed_mixture(tmp_path: Path) -> tuple[Artifact, dict[str, Artifact], Any]:
    """Two sources with documents of unlike lengths, best fit, and infilling in one of them."""
    lots = random.Random(5)
    shards = {}
    for name, most in (("long", 150), ("short", 12)):
        docs = [[lots.randint(1, 99) for _ in range(lots.randint(1, most))] + [END] for _ in range(400)]
        shards[name] = tiny_shards(tmp_path / name, [docs])
    work = new_work(tmp_path / "mixture")
    asked: dict[str, Any] = {"shares": {"long": 0.6, "short": 0.4}, "unit": "tokens", "fim": {"long": 0.5}}
    sizes: dict[str, Any] = {"tokens": 8 * BLOCK * 64, "row_tokens": 64, "max_epochs": 99.0, "packing": "best_fit"}
    facts = mix(work, shards=shards, name="m", **asked, **sizes)
    return Artifact(work.out, "", to_json(facts)), shards, to_json(facts)


def test_a_packed_stream_has_its_shares_in_tokens(packed_mixture: Any) -> None:
    mixture, shards, facts = packed_mixture
    stream = Stream(mixture, shards, 3, SIGNS)
    count = 8 * BLOCK
    read: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for index in range(count):
        row = stream[index]
        rows[row.source] += 1
        read[row.source] += int(row.weights.sum()) - MARKS * int((row.tokens == SIGNS[0]).sum())
    assert read["long"] / read.total() == pytest.approx(0.6, abs=0.005)
    for name, about in facts["sources"].items():
        assert abs(rows[name] - Fraction(about["row_share"]) * count) < 1
        assert about["cut_docs"] < about["cut_docs_concat"]
        padding = 1 - sum(b - a for n in range(about["rows_an_epoch"]) for a, b in stream._rows(name)[0].spans(n)) / (
            about["rows_an_epoch"] * 64
        )
        assert about["padding"] == pytest.approx(padding, abs=1e-6)


def test_a_packed_row_is_a_pure_function_and_names_its_documents(packed_mixture: Any) -> None:
    mixture, shards, _ = packed_mixture
    stream, again = Stream(mixture, shards, 3, SIGNS), Stream(mixture, shards, 3, SIGNS)
    for index in reversed(range(0, 400, 7)):
        row, same = stream[index], again[index]
        for part in ("tokens", "positions", "weights"):
            np.testing.assert_array_equal(getattr(row, part), getattr(same, part))
        source = Shards.of(shards[row.source])
        if row.source == "short":  # not filled in
            parts = stream.parts(index)
            ids = source.doc_ids(0, source.num_docs)
            begins = source.bounds(0, source.num_docs)
            text = [source.read(int(begins[ids.index(p.doc)]) + p.first, p.last - p.first) for p in parts]
            assert np.concatenate(text).tolist() == row.tokens[1 : 1 + sum(map(len, text))].tolist()
            restarts = np.flatnonzero(row.positions == 0)
            assert set(np.cumsum([0, *map(len, text)])[:-1].tolist()) <= set(restarts.tolist())
