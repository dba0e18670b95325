"""The stream: a pure function of its index, with exact shares, and every epoch a permutation."""

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import new_work, tiny_shards

from aurora_m.core.ends import Ends, Mark
from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_json, write_json
from aurora_m.core.step import Artifact
from aurora_m.tokens.fim import restore
from aurora_m.tokens.mixture import FILE, MixtureFacts, SourceMix, mix
from aurora_m.tokens.rows import Row
from aurora_m.tokens.shards import ShardFacts
from aurora_m.tokens.stream import BLOCK, TOGETHER, Stream, combine_keys, hash_keyed, permute, positions_of

T = 16  # row_tokens
MARKS = (901, 902, 903)
NOTHING = ShardFacts(0, 0, 0, 0.0, "uint16", 0)
PLANS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 700)), min_size=1, max_size=5)


def planned(folder: Path, sources: Mapping[str, tuple[float, int, float]], rows: int) -> Artifact:
    """A mixture of sources: (share of rows, rows an epoch, fim rate)."""
    mixed = {
        name: SourceMix(share, share, share, 1.0, rows, 1.0, fim, an_epoch, 0, 0.0)
        for name, (share, an_epoch, fim) in sources.items()
    }
    write_json(folder / FILE, to_json(MixtureFacts(rows, T, "tokens", "concat", mixed)))
    return Artifact(folder, "", {})


def order_of(weights: list[tuple[int, int]], blocks: int, seed: int) -> tuple[Stream, dict[str, float]]:
    """A stream that is only asked where its rows come from."""
    total = sum(weight for weight, _ in weights)
    shares = {f"s{n}": round(weight / total, 9) for n, (weight, _) in enumerate(weights)}
    sources = {f"s{n}": (shares[f"s{n}"], size, 0.0) for n, (_, size) in enumerate(weights)}
    with tempfile.TemporaryDirectory() as folder:
        mixture = planned(Path(folder), sources, blocks * BLOCK)
        nowhere = Artifact(Path(folder), "", to_json(NOTHING))
        return Stream(mixture, dict.fromkeys(sources, nowhere), seed, None), shares


@given(PLANS, st.integers(1, 6), st.integers(0, 2**63))
@settings(max_examples=40)
def test_every_epoch_is_a_permutation(weights: list[tuple[int, int]], blocks: int, seed: int) -> None:
    stream, _ = order_of(weights, blocks, seed)
    read: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index in range(len(stream)):
        place = stream.where(index)
        read[place.source][place.epoch].append(place.row)
    for number, (_, size) in enumerate(weights):
        epochs = read[f"s{number}"]
        assert sorted(epochs) == list(range(len(epochs)))
        for epoch, rows in epochs.items():
            if epoch < len(epochs) - 1:
                assert sorted(rows) == list(range(size))
            else:
                assert len(set(rows)) == len(rows)
                assert set(rows) <= set(range(size))


@given(PLANS, st.integers(1, 6), st.integers(0, 2**63))
@settings(max_examples=40)
def test_shares_are_exact_to_a_row_at_block_ends(weights: list[tuple[int, int]], blocks: int, seed: int) -> None:
    stream, shares = order_of(weights, blocks, seed)
    seen: Counter[str] = Counter()
    total = sum(Fraction(share) for share in shares.values())
    for block in range(blocks):
        seen.update(stream.where(index).source for index in range(block * BLOCK, (block + 1) * BLOCK))
        for name, share in shares.items():
            assert abs(seen[name] - Fraction(share) / total * (block + 1) * BLOCK) < 1


@given(PLANS, st.integers(0, 2**63), st.randoms(use_true_random=False))
@settings(max_examples=6)
def test_a_row_has_no_history(weights: list[tuple[int, int]], seed: int, order: random.Random) -> None:
    weights = [(weight, size + 60) for weight, size in weights]  # or there are very many epochs
    stream, _ = order_of(weights, 3 * TOGETHER, seed)  # more than the stream keeps
    expected = [stream.where(index) for index in range(len(stream))]
    indices = order.sample(range(len(stream)), 60)
    assert [stream.where(index) for index in indices] == [expected[index] for index in indices]
    fresh, _ = order_of(weights, 3 * TOGETHER, seed)
    assert fresh.where(indices[0]) == expected[indices[0]]
    shorter, _ = order_of(weights, TOGETHER + 1, seed)  # the budget decides how many rows, not which
    assert [shorter.where(index) for index in range(len(shorter))] == expected[: len(shorter)]


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_within_half_a_percent_wherever_a_long_stage_ends(seed: int) -> None:
    stream, shares = order_of([(60, 700), (30, 700), (9, 700), (1, 50)], 20, seed)
    seen: Counter[str] = Counter()
    for index in range(len(stream)):
        seen[stream.where(index).source] += 1
        if index >= 1000:
            assert all(abs(seen[name] / (index + 1) - share) < 0.02 for name, share in shares.items())
        if index >= 4000:  # 1,000 steps of 4 rows
            assert all(abs(seen[name] / (index + 1) - share) < 0.005 for name, share in shares.items())


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    """An epoch of two blocks: what its first block reads is another half of the source each time."""
    halves = []
    for seed in (1, 2):
        stream, _ = order_of([(1, 2 * BLOCK)], 6, seed)
        for begin in (0, 2 * BLOCK, 4 * BLOCK):
            halves.append(frozenset(stream.where(index).row for index in range(begin, begin + BLOCK)))
    assert all(len(half) == BLOCK for half in halves)
    assert len(set(halves)) == 6


def test_a_source_keeps_its_order_when_another_comes(tmp_path: Path) -> None:
    nowhere = Artifact(tmp_path, "", to_json(NOTHING))
    read = []
    for names in (["s"], ["another", "s"]):  # a block of its own rows takes a block for each source
        mixture = planned(tmp_path / str(len(names)), dict.fromkeys(names, (1 / len(names), 700, 0.0)), 2 * BLOCK)
        stream = Stream(mixture, dict.fromkeys(names, nowhere), 5, None)
        places = [stream.where(index) for index in range(len(names) * BLOCK)]
        read.append({place.row for place in places if place.source == "s"})
    assert read[0] == read[1]
    assert len(read[0]) == BLOCK
    assert {place.row for place in places if place.source == "another"} != read[0]


def test_sources_are_mixed_within_a_block() -> None:
    stream, _ = order_of([(1, 700), (1, 700)], 1, 5)
    halves = Counter(stream.where(index).source for index in range(BLOCK // 2))
    assert halves["s0"] == pytest.approx(64, abs=25)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=60)
def test_permute_is_a_permutation(size: int, key: int) -> None:
    found = permute(np.arange(size), size, key)
    assert sorted(found.tolist()) == list(range(size))
    some = np.arange(size)[:: max(1, size // 7)]
    assert permute(some, size, key).tolist() == found[some].tolist()


def test_permute_of_a_large_domain() -> None:
    size = 10**12 + 39
    values = np.concatenate([np.arange(1000), size - 1 - np.arange(1000)])
    found = permute(values, size, 7)
    assert len(set(found.tolist())) == 2000
    assert found.min() >= 0
    assert found.max() < size
    assert permute(np.empty(0, np.int64), 5, 1).tolist() == []


def test_hashes_are_the_same_on_every_machine() -> None:
    values = np.array([0, 1, 2**64 - 1], np.uint64)
    mask = 2**64 - 1

    def splitmix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    assert hash_keyed(values, 3).tolist() == [splitmix((int(v) + 3 * 0x9E3779B97F4A7C15) & mask) for v in values]
    assert combine_keys(1, 2) != combine_keys(2, 1)
    assert combine_keys(-1) == combine_keys(2**64 - 1)
    assert 0 <= combine_keys(17, 3) < 2**64


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 60))
def test_positions_restart_at_every_document(lengths: list[int], length: int) -> None:
    starts = np.cumsum([0, *lengths[:-1]])
    expected = [n for size in [*lengths[:-1], 10**3] for n in range(size)][:length]
    assert positions_of(starts, length).tolist() == expected


@pytest.fixture
def made(tmp_path: Path) -> tuple[Artifact, dict[str, Artifact], dict[str, list[list[int]]]]:
    """A mixture with infilling in one source, its shards, and the documents."""
    lots = random.Random(4)
    docs = {
        name: [[lots.randint(low, low + 99) for _ in range(lots.randint(1, 40))] + [0] for _ in range(90)]
        for name, low in (("a", 100), ("b", 500))
    }
    shards = {name: tiny_shards(tmp_path / name, [d[:30], d[30:31], d[31:]]) for name, d in docs.items()}
    rows = {name: (s.read(ShardFacts).tokens - 1) // T for name, s in shards.items()}
    mixture = planned(tmp_path, {"a": (0.3, rows["a"], 0.0), "b": (0.7, rows["b"], 0.5)}, 400)
    return mixture, shards, docs


def unfilled(mixture: Artifact) -> Artifact:
    """The same mixture without infilling."""
    plan = read_json(mixture.path / FILE)
    sources = {name: (s["row_share"], s["rows_an_epoch"], 0.0) for name, s in plan["sources"].items()}
    return planned(mixture.path / "unfilled", sources, plan["rows"])


def test_rows_hold_what_the_shards_hold(made: Any) -> None:
    mixture, shards, docs = made
    stream = Stream(unfilled(mixture), shards, 9, None)
    assert len(stream) == len(list(stream)) == 400
    for index in range(0, 400, 3):
        row, place = stream[index], stream.where(index)
        begin = place.row * T
        pairs = [(number, token) for number, doc in enumerate(docs[place.source]) for token in doc]
        part = pairs[begin : begin + T + 1]
        assert row.tokens.tolist() == [token for _, token in part]
        assert (row.source, row.epoch) == (place.source, place.epoch)
        held = Counter(number for number, _ in part)
        parts = stream.parts(index)
        assert [(p.doc, p.last - p.first) for p in parts] == [(f"d{number}", held[number]) for number in sorted(held)]
        assert [t for p in parts for t in docs[place.source][int(p.doc[1:])][p.first : p.last]] == row.tokens.tolist()
        begins = [at if part[at][1] == 0 else 0 for at in range(T)]  # a document begins at the end before it
        assert row.positions.tolist() == [at - max(begins[: at + 1]) for at in range(T)]
        assert row.weights.tolist() == [1.0] * T


def test_infilling_is_in_its_source_only_and_depends_on_the_row(made: Any) -> None:
    mixture, shards, _ = made
    plain, filled = Stream(unfilled(mixture), shards, 9, None), Stream(mixture, shards, 9, MARKS)
    assert [plain.where(index) for index in range(400)] == [filled.where(index) for index in range(400)]
    changed = [index for index in range(400) if (plain[index].tokens != filled[index].tokens).any()]
    assert {filled.where(index).source for index in changed} == {"b"}
    assert len(changed) > 80
    again = Stream(mixture, shards, 9, MARKS)
    for index in reversed(changed):
        row = filled[index]
        np.testing.assert_array_equal(again[index].tokens, row.tokens)
        np.testing.assert_array_equal(again[index].positions, row.positions)
        assert len(row.tokens) == T + 1
        begins = np.flatnonzero(row.positions == 0)
        assert begins.tolist() == sorted({0, *np.flatnonzero(row.tokens[:T] == 0).tolist()})
        for piece in np.split(row.tokens, begins[1:])[:-1]:  # all but the last are whole
            body = piece[1:] if piece[0] == 0 else piece
            body = restore(body, MARKS) if MARKS[0] in body else body
            assert not set(MARKS) & set(body.tolist())


def test_the_next_epoch_is_cut_elsewhere(made: Any) -> None:
    stream = Stream(made[0], made[1], 9, MARKS)
    filled = defaultdict(set)
    for index in range(400):
        if MARKS[0] in stream[index].tokens:
            filled[stream.where(index).row].add(stream[index].tokens.tobytes())
    again = [versions for versions in filled.values() if len(versions) > 1]
    assert len(again) > 10


def test_outside_the_stream(made: Any) -> None:
    stream = Stream(made[0], made[1], 9, MARKS)
    for index in (-1, 400):
        with pytest.raises(IndexError, match=f"row {index} of 400"):
            stream[index]


def test_infilling_needs_marks(made: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        Stream(made[0], made[1], 9, None)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        "the base's tokenizer has no marks for infilling",
        "mixture: fim",
        "leave `fim` out of the mixture",
    )


# --- documents with a lead

LED = Ends(Mark(0, "</s>", "it"), Mark(999, "<s>", "it"))


def documents(row: Row) -> list[tuple[list[int], list[int]]]:
    """What each document of a row gives: inputs, of which the first is the lead but where it was cut, and targets."""
    begins = [*np.flatnonzero(row.positions == 0).tolist(), T]
    return [(row.inputs[a:b].tolist(), row.targets[a:b].tolist()) for a, b in pairwise(begins)]


def test_a_lead_is_read_where_the_end_before_a_document_stands(made: Any) -> None:
    mixture, shards, docs = made
    plain, led = (Stream(unfilled(mixture), shards, 9, None, ends) for ends in (None, LED))
    seen = 0
    for index in range(0, 400, 3):
        row, same = led[index], plain[index]
        number, text = plain.where(index).row, [t for doc in docs[row.source] for t in doc]
        if number == 0:  # the first document of a source has a lead, too
            assert row.inputs.tolist()[0] == 999
            assert row.targets.tolist() == text[:T]
            continue
        begins = (same.tokens[:-1] == 0) & (same.positions == 0)
        assert row.inputs.tolist() == np.where(begins, 999, same.tokens[:-1]).tolist()
        assert (row.targets.tolist(), row.weights.tolist()) == (same.targets.tolist(), same.weights.tolist())
        assert row.positions.tolist() == same.positions.tolist()
        assert 0 not in row.inputs
        assert 999 not in row.targets
        seen += int(begins.sum())
    assert seen > 50


def test_what_a_row_has_of_a_source_is_said_with_a_lead_too(made: Any) -> None:
    mixture, shards, docs = made
    led = Stream(unfilled(mixture), shards, 9, None, LED)
    for index in range(400):
        row, parts = led[index], led.parts(index)
        held = [t for p in parts for t in docs[row.source][int(p.doc[1:])][p.first : p.last]]
        first = led.where(index).row == 0
        assert held == (row.targets if first else row.tokens).tolist()


def test_a_filled_document_has_its_lead_in_front(made: Any) -> None:
    mixture, shards, _ = made
    plain, led = (Stream(mixture, shards, 9, MARKS, ends) for ends in (None, LED))
    filled = 0
    for index in range(400):
        if led.where(index).row:
            assert led[index].targets.tolist() == plain[index].targets.tolist()
        for inputs, _ in documents(led[index])[1:]:
            assert inputs[0] == 999
            filled += MARKS[0] in inputs[1:2]
    assert filled > 30


def test_a_packed_document_has_its_lead_and_its_rests_have_no_loss(tmp_path: Path) -> None:
    lots = random.Random(6)
    docs = [[lots.randint(100, 998) for _ in range(lots.randint(1, 40))] + [0] for _ in range(200)]
    shards = {"s": tiny_shards(tmp_path / "s", [docs])}
    work = new_work(tmp_path / "mixture")
    settings_of: dict[str, Any] = {"unit": "tokens", "fim": {}, "tokens": T * 800, "row_tokens": T, "max_epochs": 99.0}
    facts = mix(work, shards=shards, name="m", shares={"s": 1.0}, packing="best_fit", **settings_of)
    mixture = Artifact(work.out, "", to_json(facts))
    plain, led = (Stream(mixture, shards, 9, None, ends) for ends in (None, LED))
    whole: Counter[tuple[int, ...]] = Counter()
    for index in range(len(led)):
        row, same = led[index], plain[index]
        assert (row.targets.tolist(), row.weights.tolist()) == (same.targets.tolist(), same.weights.tolist())
        for (inputs, targets), begin in zip(documents(row), np.flatnonzero(row.positions == 0), strict=True):
            if inputs[0] == 999 and row.weights[begin]:
                whole[tuple(targets)] += 1
                assert inputs[1:] == targets[:-1]
        assert set(row.inputs[row.weights > 0]).isdisjoint({0})
    assert {tuple(doc) for doc in docs if len(doc) <= T} <= {*whole}
    assert sum(len(doc) <= T for doc in docs) > 50
