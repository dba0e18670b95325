"""Decide: every document stays or is counted once, and a wrong condition says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.facts import from_json, to_json
from aurora_m.core.files import read_json, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import write_table
from aurora_m.data.dedup.contamination import overlap
from aurora_m.data.dedup.duplicates import duplicates
from aurora_m.data.measure.signals import signals
from aurora_m.data.select.decide import DecideFacts, decide

Decided = Callable[..., tuple[DecideFacts, list[str], Any]]
NewWork = Callable[[], Work]
MakeDocs = Callable[..., Artifact]


def as_taken(parts: list[Artifact]) -> dict[str, Artifact]:
    """Signals, duplicates and overlap as `decide` takes them."""
    return dict(zip(("signals", "duplicates", "overlap"), parts, strict=False))


@pytest.fixture
def decided(new_work: NewWork, make_docs: MakeDocs, tmp_path: Path) -> Decided:
    """Measure texts and decide: facts, kept ids, reasons."""

    def call(texts: list[str], keep: str, shards: int = 1, lang: str = "code") -> tuple[DecideFacts, list[str], Any]:
        docs = make_docs(texts, shards, lang=lang)
        write_jsonl(tmp_path / "items/overlap.jsonl", [{"id": "q", "text": "what is the answer to this question"}])
        items = Artifact(tmp_path / "items", "0" * 64, {})
        made = [new_work() for _ in range(4)]
        signals(made[0], docs=docs, lang=lang)
        duplicates(made[1], docs={"web": docs}, near=0.8, order=["web"])
        overlap(made[2], docs={"web": docs}, items=items)
        inputs = [Artifact(work.out, "0" * 64, {}) for work in made]
        facts = decide(made[3], docs=docs, columns=as_taken(inputs), source="web", keep=keep)
        kept = pq.read_table(made[3].out / "kept.parquet")["id"].to_pylist()
        return facts, kept, read_json(made[3].out / "reasons.json")

    return call


def test_a_document_counts_under_the_first_clause_it_fails(decided: Decided) -> None:
    texts = ["one two three", "one", "one two three", "What is the answer to this question?", "one"]
    keep = "words >= 2 AND dup_of IS NULL AND contaminated_items = 0 AND lang = 'code' AND lang_prob BETWEEN 0.5 AND 1"
    facts, kept, reasons = decided(texts, keep)
    assert kept == ["d0"]
    counts = {
        "words >= 2": 2,
        "dup_of IS NULL": 1,
        "contaminated_items = 0": 1,
        "lang = 'code'": 0,
        "lang_prob BETWEEN 0.5 AND 1": 0,
    }
    assert facts == DecideFacts(docs_in=5, docs_kept=1, bytes_in=68, bytes_kept=13, reasons=counts)
    assert [(reason["clause"], reason["docs"]) for reason in reasons] == list(counts.items())
    assert [reason["bytes"] for reason in reasons] == [6, 13, 36, 0, 0]
    assert reasons[1]["samples"] == [{"id": "d2", "text": "one two three", "values": {"dup_of": "web/d0"}}]
    assert {sample["id"]: sample["values"] for sample in reasons[0]["samples"]} == {
        "d1": {"words": 1},
        "d4": {"words": 1},
    }


def test_null_fails(decided: Decided) -> None:
    facts, kept, _ = decided(["a", "a", "b"], "similarity > 0.5")
    assert kept == ["d1"]
    assert facts.reasons == {"similarity > 0.5": 2}
    assert decided(["a", "a", "b"], "NOT similarity > 0.5")[1] == []


def test_samples_are_few_short_and_the_same_for_any_shards(decided: Decided) -> None:
    texts = [f"{i} " + "x" * 400 for i in range(30)]
    results = [decided(texts, "words > 2 AND words > 2", shards) for shards in (1, 4)]
    assert results[0] == results[1]
    facts, kept, (reason,) = results[0]
    assert (kept, facts.reasons) == ([], {"words > 2": 30})
    assert [len(sample["text"]) for sample in reason["samples"]] == [300] * 5
    assert [sample["id"] for sample in reason["samples"]] != [f"d{i}" for i in range(5)]


CLAUSES = [
    "words > 2",
    "(words > 1 OR digits > 0.2)",
    "dup_of IS NULL",
    "num_bytes BETWEEN 2 AND 20",
    "contaminated_items = 0",
]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "1", "\n", "é"]), max_size=8).map(" ".join), max_size=12),
    st.lists(st.sampled_from(CLAUSES), min_size=1, unique=True),
    st.integers(1, 3),
)
def test_nothing_leaves_uncounted(decided: Decided, texts: list[str], clauses: list[str], shards: int) -> None:
    facts, kept, reasons = decided(texts, " AND ".join(clauses), shards)
    assert facts.docs_in == len(texts) == len(kept) + sum(reason["docs"] for reason in reasons)
    assert facts.bytes_in == facts.bytes_kept + sum(reason["bytes"] for reason in reasons)
    assert facts.docs_kept == len(kept)
    assert [reason["clause"] for reason in reasons] == clauses


def test_columns_of_other_docs_are_refused(new_work: NewWork, make_docs: MakeDocs) -> None:
    docs, other = make_docs(["a", "b"]), make_docs(["a"])
    made = [new_work() for _ in range(4)]
    signals(made[0], docs=docs, lang="code")
    duplicates(made[1], docs={"web": other}, near=0.8, order=["web"])
    write_table(
        made[2].out / "overlap/web/00000-of-00001.parquet", pa.table({"id": ["d0", "d1"], "contaminated_items": [0, 0]})
    )
    parts = [Artifact(work.out, "0" * 64, {}) for work in made]
    with pytest.raises(DataError, match="the columns are not those of these docs"):
        decide(made[3], docs=docs, columns=as_taken(parts), source="web", keep="words > 0")
    with pytest.raises(DataError, match="the columns are not those of these docs"):  # of another number of shards
        decide(made[3], docs=make_docs(["a", "b"], 2), columns=as_taken(parts), source="web", keep="words > 0")


def test_columns_of_many_sources_are_found_by_the_name_of_the_source(
    new_work: NewWork, make_docs: MakeDocs, tmp_path: Path
) -> None:
    docs = make_docs(["a", "b", "c"], 2)
    for source, shares in (("web", [0.1, 0.9, 0.2]), ("other", [0.9, 0.1, 0.9])):
        whole = pa.table({"id": ["d0", "d1", "d2"], "boiler": shares, "num_bytes": [1, 1, 1]})
        for shard, rows in enumerate((whole.slice(0, 1), whole.slice(1))):
            write_table(tmp_path / f"lines/lines/{source}/{shard:05d}-of-00002.parquet", rows)
    work = new_work()
    lines = Artifact(tmp_path / "lines", "0" * 64, {})
    facts = decide(work, docs=docs, columns={"lines": lines}, source="web", keep="boiler < 0.5")
    assert pq.read_table(work.out / "kept.parquet")["id"].to_pylist() == ["d0", "d2"]
    assert facts.reasons == {"boiler < 0.5": 1}
    assert read_json(work.out / "reasons.json")[0]["samples"] == [{"id": "d1", "text": "b", "values": {"boiler": 0.9}}]


def test_facts_are_json(decided: Decided) -> None:
    facts, _, reasons = decided(["a"], "words > 0")
    assert from_json(DecideFacts, json.loads(json.dumps(to_json(facts))), "here") == facts
    assert json.loads(json.dumps(reasons)) == reasons
