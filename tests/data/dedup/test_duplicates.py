"""Duplicates: planted copies are found, nothing under the threshold is, and the first copy stays."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurora_m.core.step import Artifact, Work
from aurora_m.data.dedup import duplicates as module
from aurora_m.data.dedup import sketches
from aurora_m.data.dedup.duplicates import DuplicatesFacts, Repeats, duplicates
from aurora_m.data.dedup.minhash import MIN_WORDS
from aurora_m.data.text import kernels

NewWork = Callable[[], Work]
MakeDocs = Callable[..., Artifact]


def soup(rng: random.Random, words: int) -> list[str]:
    """Random words."""
    return ["".join(rng.choices("abcdefgh", k=5)) for _ in range(words)]


def jaccard(a: str, b: str) -> float:
    """True Jaccard of the 5-word shingles."""
    one, two = ({tuple(text.split()[i : i + 5]) for i in range(len(text.split()) - 4)} for text in (a, b))
    return len(one & two) / len(one | two)


def found(
    work: Work, docs: dict[str, Artifact], near: float = 0.8
) -> tuple[DuplicatesFacts, dict[str, list[dict[str, Any]]]]:
    """Facts and rows of each source."""
    facts = duplicates(work, docs=dict(sorted(docs.items())), near=near, order=list(docs))
    return facts, {name: pq.read_table(work.out / "duplicates" / name).to_pylist() for name in docs}


def test_exact_is_after_white_space(work: Work, make_docs: MakeDocs) -> None:
    docs = {"a": make_docs(["é\n\nx", "other"]), "b": make_docs([" é  x ", "É x", "other"])}
    facts, rows = found(work, docs)
    assert [row["dup_of"] for row in rows["a"]] == [None, None]
    assert rows["b"] == [
        {"id": "d0", "dup_of": "a/d0", "dup_kind": "exact", "similarity": 1.0},
        {"id": "d1", "dup_of": None, "dup_kind": None, "similarity": None},
        {"id": "d2", "dup_of": "a/d1", "dup_kind": "exact", "similarity": 1.0},
    ]
    assert facts == DuplicatesFacts({"a": Repeats(2, 0, 0, 0), "b": Repeats(3, 2, 0, 12)})


def test_the_earlier_source_is_kept(new_work: NewWork, make_docs: MakeDocs) -> None:
    docs = {"a": make_docs(["same text"]), "b": make_docs(["same text"])}
    assert found(new_work(), docs)[1]["b"][0]["dup_of"] == "a/d0"
    assert found(new_work(), {"b": docs["b"], "a": docs["a"]})[1]["a"][0]["dup_of"] == "b/d0"


def test_planted_near_copies_are_found_and_no_pair_under_the_threshold(work: Work, make_docs: MakeDocs) -> None:
    rng = random.Random(5)
    texts: list[str] = []
    planted = 0
    for _ in range(150):
        words = soup(rng, 120)
        texts.append(" ".join(words))
        for changes in (1, 9):  # Jaccard about 0.92 and below 0.55
            copy = list(words)
            for i in rng.sample(range(3, 117), changes):
                copy[i] = "changed"
            planted += changes == 1
            texts.append(" ".join(copy).upper() + "!")
    facts, rows = found(work, {"web": make_docs(texts)})
    near = [(row["id"], row["dup_of"], row["similarity"]) for row in rows["web"] if row["dup_of"]]
    num_bytes = sum(len(texts[int(i[1:])]) for i, _, _ in near)
    assert facts.sources["web"] == Repeats(450, 0, len(near), num_bytes)
    assert len(near) >= 0.98 * planted
    for copy_id, kept, similarity in near:
        true = jaccard(texts[int(copy_id[1:])].lower().rstrip("!"), texts[int(kept.removeprefix("web/d"))].lower())
        assert similarity == round(true, 6) >= 0.8


def test_the_threshold_is_inclusive_and_chains_are_one_text(new_work: NewWork, make_docs: MakeDocs) -> None:
    words = soup(random.Random(1), 60)
    texts = [" ".join(words), " ".join([*words[3:], "x", "y", "z"]), " ".join([*words[6:], *"xyzuvw"])]
    assert jaccard(texts[0], texts[1]) == jaccard(texts[1], texts[2]) == 53 / 59
    _, rows = found(new_work(), {"web": make_docs(texts)}, near=53 / 59)
    assert [row["dup_of"] for row in rows["web"]] == [None, "web/d0", "web/d0"]
    assert [row["similarity"] for row in rows["web"]] == [
        None,
        round(53 / 59, 6),
        round(jaccard(texts[0], texts[2]), 6),
    ]
    _, rows = found(new_work(), {"web": make_docs(texts)}, near=53 / 59 + 1e-9)
    assert [row["dup_of"] for row in rows["web"]] == [None] * 3


def test_an_exact_copy_of_a_near_copy(work: Work, make_docs: MakeDocs) -> None:
    words = soup(random.Random(2), 100)
    first, second = " ".join(words), " ".join([*words[:-1], "end"])
    _, rows = found(work, {"web": make_docs([first, second, second + "\n"])})
    assert [(row["dup_of"], row["dup_kind"]) for row in rows["web"]] == [
        (None, None),
        ("web/d0", "near"),
        ("web/d0", "near"),
    ]
    assert rows["web"][2]["similarity"] == rows["web"][1]["similarity"] == round(jaccard(first, second), 6)


def test_short_texts_are_only_exact(new_work: NewWork, make_docs: MakeDocs) -> None:
    words = soup(random.Random(3), int(MIN_WORDS))
    for size, kind in ((MIN_WORDS - 1, None), (MIN_WORDS, "near")):
        text = " ".join(words[:size])
        _, rows = found(new_work(), {"web": make_docs([text, text + "."])})
        assert rows["web"][1]["dup_kind"] == kind


def test_japanese_is_compared_by_character_pairs(work: Work, make_docs: MakeDocs) -> None:
    text = "日本語の文章には単語の間に空白がないので文字の組で比べることにしている。" * 3
    _, rows = found(work, {"web": make_docs([text, text.replace("。", "、")])})
    assert rows["web"][1]["dup_kind"] == "near"


def test_shards_change_nothing(new_work: NewWork, make_docs: MakeDocs) -> None:
    rng = random.Random(4)
    base = [soup(rng, 40) for _ in range(10)]
    texts = [" ".join([*rng.choice(base), *soup(rng, rng.randrange(3))]) for _ in range(60)]
    results = [found(new_work(), {"a": make_docs(texts, n), "b": make_docs(texts[::-1], n)}, 0.7) for n in (1, 4)]
    assert results[0] == results[1]
    repeats = results[0][0].sources["b"]
    assert repeats.exact == 60 - repeats.near


def written(work: Work) -> dict[str, bytes]:
    """The bytes of all files."""
    return {str(path.relative_to(work.out)): path.read_bytes() for path in sorted(work.out.rglob("*.parquet"))}


def family(seed: int, texts: int) -> list[str]:
    """Texts of which many are near and some the same."""
    rng = random.Random(seed)
    base = [soup(rng, 60) for _ in range(12)]
    return [" ".join([*rng.choice(base), *soup(rng, rng.randrange(8))]) for _ in range(texts)]


def test_workers_change_no_byte(new_work: NewWork, make_docs: MakeDocs) -> None:
    docs = {"a": make_docs(family(1, 40), 2), "b": make_docs(family(2, 20), 1), "c": make_docs(family(1, 9), 1)}
    results = []
    for workers in (1, 2, 8):
        work = new_work()
        work = replace(work, runtime=replace(work.runtime, workers=workers))
        facts = duplicates(work, docs=docs, near=0.8, order=["b", "a", "c"])
        results.append((facts, written(work)))
    assert results[0] == results[1] == results[2]
    assert results[0][0].sources["a"].near > 10


def test_shards_and_parts(new_work: NewWork, make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts send every pair through the exchange of files; small pieces cut the shards."""
    texts = family(3, 60)
    results = []
    for shards, part_docs, piece_docs, open_files in ((1, 2**20, 1024, 128), (7, 13, 4, 2), (3, 29, 1, 1)):
        monkeypatch.setattr(sketches, "PART_DOCS", part_docs)
        monkeypatch.setattr(sketches, "PIECE_DOCS", piece_docs)
        monkeypatch.setattr(sketches, "PIECE_BYTES", 99 * piece_docs)
        monkeypatch.setattr(sketches, "OPEN_FILES", open_files)
        work = new_work()
        facts = duplicates(work, docs={"web": make_docs(texts, shards)}, near=0.85, order=["web"])
        results.append((facts, pq.read_table(work.out / "duplicates/web")))
    assert results[0] == results[1] == results[2]
    assert results[0][1]["id"].to_pylist() == [f"d{i}" for i in range(60)]


def test_workers_share_what_is_small(new_work: NewWork, make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over few documents has tasks for several workers, and no other result."""
    docs = {"a": make_docs(family(5, 80), 3), "b": make_docs(family(6, 30), 2)}
    results = []
    for few in (2**14, 7):
        monkeypatch.setattr(sketches, "FEW_DOCS", few)
        work = new_work()
        facts = duplicates(work, docs=docs, near=0.8, order=["a", "b"])
        results.append((facts, written(work), len(list((work.scratch / "near-duplicates").iterdir()))))
    assert results[0][:2] == results[1][:2]
    assert (results[0][2], results[1][2]) == (1, sketches.PARTS)


def test_components_are_those_of_all_pairs(work: Work, make_docs: MakeDocs) -> None:
    """A group of many texts: what is joined is what a comparison of every pair would join."""
    words = soup(random.Random(9), 400)
    texts = [" ".join(words[i : i + 100]) for i in (0, 8, 16, 50, 58, 150, 158, 300)]
    _, rows = found(work, {"web": make_docs(texts)}, 0.8)
    assert [row["dup_of"] for row in rows["web"]] == [
        None, "web/d0", "web/d0", None, "web/d3", None, "web/d5", None
    ]  # fmt: skip


def test_near_ones_of_one_group_are_joined_whatever_their_order() -> None:
    near = {(0, 3), (3, 5), (1, 2), (2, 4)}
    compared: list[tuple[int, int]] = []

    class Fake:
        def similar(self, one: int, two: int, near_: float) -> bool:
            compared.append((min(one, two), max(one, two)))
            return compared[-1] in near

    for group in itertools.permutations(range(6)):
        parents: dict[int, int] = {}
        compared.clear()
        module._join(list(group), parents, Fake(), 0.8)  # type: ignore[arg-type]
        assert [module._root(parents, text) for text in range(6)] == [0, 1, 1, 0, 1, 0]
        assert len(compared) == len(set(compared))


def test_a_killed_run_redoes_only_what_is_not_finished(
    work: Work, make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = {"web": make_docs(family(4, 30), 3)}
    duplicates(work, docs=docs, near=0.8, order=["web"])
    whole = written(work)
    folder = work.scratch / "sketches"
    (folder / "00001").rename(folder / "00001.part")  # as if it had been killed in the second shard
    (folder / "00001.part" / "keys.npy").write_bytes(b"half")
    (work.scratch / "near-duplicates" / "00000.npy").unlink()
    (work.scratch / "similarity" / "00000.npy.tmp").write_bytes(b"half")
    done: list[Path] = []
    measured = sketches._measured
    monkeypatch.setattr(sketches, "_measured", lambda path, file: done.append(path) or measured(path, file))
    duplicates(work, docs=docs, near=0.8, order=["web"])
    assert [path.name for path in done] == ["00001-of-00003.parquet"]
    assert written(work) == whole


def test_nothing_at_all(work: Work, make_docs: MakeDocs) -> None:
    facts, rows = found(work, {"web": make_docs([]), "books": make_docs(["", ""])})
    assert rows["web"] == []
    assert [row["dup_kind"] for row in rows["books"]] == [None, "exact"]
    assert facts.sources["web"] == Repeats(0, 0, 0, 0)


def test_word_hashes_follow_the_folded_words() -> None:
    texts = pa.array(["The CAT, the cat.", "cat the"], pa.large_string())
    words, lengths, bounds = kernels.words(texts)
    assert list(bounds) == [0, 4, 6]
    assert list(lengths) == [3] * 6
    assert words[0] == words[2] == words[5]
    assert words[1] == words[3] == words[4] != words[0]
    assert len(np.unique(kernels.words(pa.array([" ".join(map(str, range(9999)))]))[0])) == 9999
