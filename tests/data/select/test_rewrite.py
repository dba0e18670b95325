"""Rewrite: only the kept documents, only the counted edits, and a true hold-out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_all, write_table
from aurora_m.core.table import shards as table_shards
from aurora_m.data.personal import pii
from aurora_m.data.personal.pii import KINDS, find, mask
from aurora_m.data.select.rewrite import RewriteFacts, rewrite

Rewritten = Callable[..., tuple[RewriteFacts, dict[str, str], dict[str, str], list[Any]]]


@pytest.fixture
def rewritten(new_work: Callable[[], Work], make_docs: Callable[..., Artifact], tmp_path: Path) -> Rewritten:
    """Rewrite texts: facts, docs and held as {id: text}, samples."""

    def call(
        texts: list[str], kept: list[int] | None = None, held_out: float = 0.0, shards: int = 1, **params: Any
    ) -> tuple[RewriteFacts, dict[str, str], dict[str, str], list[Any]]:
        ids = [f"d{i}" for i in (range(len(texts)) if kept is None else kept)]
        write_table(tmp_path / "kept/kept.parquet", pa.table({"id": pa.array(ids, pa.string())}))
        work, docs = new_work(), make_docs(texts, shards)
        for path in table_shards(docs.path):
            table = pq.read_table(path)
            found = pii.counts(table["text"], table["lang"].to_pylist())
            write_table(tmp_path / "measured/signals" / path.name, pa.table(found))
        given_params: dict[str, Any] = {"mask": list(KINDS), "source": "web", "seed": 1, **params}
        facts = rewrite(
            work,
            docs=docs,
            kept=Artifact(tmp_path / "kept", "0" * 64, {}),
            signals=Artifact(tmp_path / "measured", "0" * 64, {}),
            held_out=held_out,
            **given_params,
        )
        left, held = (
            {row["id"]: row["text"] for row in read_all(work.out, kind).to_pylist()} for kind in ("docs", "held")
        )
        return facts, left, held, read_jsonl(work.out / "samples.jsonl")

    return call


def test_edits_are_made_counted_and_shown(rewritten: Rewritten) -> None:
    texts = ["plain", "é a@b.org c@d.org", "dropped", "from 80.12.34.56"]
    facts, docs, held, samples = rewritten(texts, kept=[0, 1, 3])
    assert docs == {"d0": "plain", "d1": "é <EMAIL> <EMAIL>", "d3": "from <IP>"}
    assert held == {}
    num_bytes = sum(len(text.encode()) for text in docs.values())
    edits = {"email": 2, "ip": 1}
    assert facts == RewriteFacts(docs=3, bytes=num_bytes, held_docs=0, held_bytes=0, emptied=0, edits=edits)
    assert [sample["kind"] for sample in samples] == ["email", "email", "ip"]
    assert samples[0] == {"kind": "email", "id": "d1", "before": "é a@b.org c@d.org", "after": "é <EMAIL> c@d.org"}
    assert (samples[2]["before"], samples[2]["after"]) == (texts[3], docs["d3"])


def test_the_mask_knows_the_language(rewritten: Rewritten) -> None:
    facts, docs, _, samples = rewritten(
        ["pid 131052-308T", "ssn 536-90-4399", "p 212-555-0123"], mask=["fi_hetu", "us_ssn"]
    )
    assert docs == {"d0": "pid <FI_HETU>", "d1": "ssn <US_SSN>", "d2": "p 212-555-0123"}
    assert facts.edits == {"fi_hetu": 1, "us_ssn": 1}
    assert [sample["kind"] for sample in samples] == ["fi_hetu", "us_ssn"]


def test_samples_are_few_and_short(rewritten: Rewritten) -> None:
    facts, _, _, samples = rewritten(["x " * 300 + "a@b.org" + " y" * 300] * 9)
    assert facts.edits == {"email": 9}
    assert [(len(sample["before"]), len(sample["after"])) for sample in samples] == [(167, 167)] * 5


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30), max_size=8), st.sampled_from([0.0, 0.3, 1.0]), st.integers(1, 3), st.data())
def test_only_counted_edits_change_a_text(
    rewritten: Rewritten, texts: list[str], held_out: float, shards: int, data: st.DataObject
) -> None:
    kept = [i for i in range(len(texts)) if data.draw(st.booleans())]
    facts, docs, held, _ = rewritten(texts, kept, held_out, shards)
    both = docs | held
    assert (facts.docs, facts.held_docs) == (len(docs), len(held))
    kept = [i for i in kept if texts[i].strip()]  # of a blank one nothing is left
    assert sorted(both) == sorted(f"d{i}" for i in kept)
    assert len(both) == len(docs) + len(held)
    if not facts.edits:
        assert all(both[f"d{i}"] == texts[i] for i in kept)
    assert both == {f"d{i}": mask(texts[i], find(texts[i], "en")) for i in kept}


def test_the_hold_out_follows_seed_and_id_alone(rewritten: Rewritten) -> None:
    texts = [f"text {i}" for i in range(1000)]
    _, docs, held, _ = rewritten(texts, held_out=0.1)
    assert 70 < len(held) < 130
    assert list(docs) == sorted(docs, key=lambda name: int(name[1:]))
    assert rewritten(texts, held_out=0.1, shards=7)[1:3] == (docs, held)
    assert set(rewritten(texts, kept=list(range(0, 1000, 2)), held_out=0.1)[2]) == {
        n for n in held if int(n[1:]) % 2 == 0
    }
    assert set(rewritten(texts, held_out=0.2)[2]) > set(held)
    assert set(rewritten(texts, held_out=0.1, seed=2)[2]) != set(held)


@pytest.mark.parametrize("share", [1e-9, 0.999999, 1.0])
def test_each_side_gets_one(rewritten: Rewritten, share: float) -> None:
    _, docs, held, _ = rewritten(["a", "b", "c"], held_out=share)
    assert min(len(docs), len(held)) == 1
    assert len(rewritten(["a"], held_out=1e-9)[1]) == 1
    assert rewritten([], held_out=share)[1:3] == ({}, {})


def test_boilerplate_lines_are_dropped_and_counted(rewritten: Rewritten, tmp_path: Path) -> None:
    numbers = pa.array([[0, 2], None, [0]], pa.list_(pa.int32()))
    whole = pa.table({"id": ["d0", "d1", "d2"], "lines": numbers, "boiler": [0.5, 0.0, 1.0]})
    for shard, rows in enumerate((whole.slice(0, 1), whole.slice(1))):
        write_table(tmp_path / f"found/lines/web/{shard:05d}-of-00002.parquet", rows)
    texts = ["Menu\nNews of a@b.org today\nFooter", "Menu of the day", "Menu"]
    facts, docs, _, samples = rewritten(texts, lines=Artifact(tmp_path / "found", "0" * 64, {}), shards=2)
    assert docs == {"d0": "News of <EMAIL> today", "d1": "Menu of the day"}
    assert (facts.edits, facts.emptied) == ({"email": 1, "line": 3}, 1)
    assert [sample["kind"] for sample in samples] == ["email", "line", "line"]


@pytest.mark.parametrize("shards", [1, 4])
def test_shards_change_no_document(rewritten: Rewritten, shards: int) -> None:
    texts = [f"e\u0301 n{i} a{i}@b.org" for i in range(20)]
    whole = rewritten(texts, kept=[*range(0, 20, 3)], held_out=0.4)
    assert rewritten(texts, kept=[*range(0, 20, 3)], held_out=0.4, shards=shards) == whole
