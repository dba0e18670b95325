"""Overlap: a copy of an evaluation item is found inside a long page, and nothing less is."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.data.dedup.contamination import OverlapFacts, overlap

ITEM = "Which river flows through the old town of Turku on its way to the sea? The Aura river."
ITEMS = {
    "turku": ITEM,
    "short": "Two plus two makes four",
    "tiny": "What is it?",
    "ja": "日本で一番高い山は何ですか。富士山です。",
}


@pytest.fixture
def found(new_work: Callable[[], Work], tmp_path: Path) -> Callable[..., tuple[OverlapFacts, list[dict[str, Any]]]]:
    """Facts, and the rows of the source `web`."""

    def call(docs: Artifact, items: dict[str, str] = ITEMS) -> tuple[OverlapFacts, list[dict[str, Any]]]:
        write_jsonl(tmp_path / "items/overlap.jsonl", [{"id": name, "text": text} for name, text in items.items()])
        work = new_work()
        facts = overlap(work, docs={"web": docs}, items=Artifact(tmp_path / "items", "0" * 64, {}))
        rows: list[dict[str, Any]] = pq.read_table(work.out / "overlap/web").to_pylist()
        return facts, rows

    return call


def test_copies_are_found_whatever_their_case_and_punctuation(found: Any, make_docs: Callable[..., Artifact]) -> None:
    rng = random.Random(0)
    page = [" ".join("".join(rng.choices("abcdef", k=4)) for _ in range(3000)) for _ in range(2)]
    copies = [
        f"{page[0]} {ITEM.upper().replace(' ', '  -- ')} {page[1]}",
        page[0] + " Which river flows through the old town of Turku on its way to",
        page[0] + " river flows through the old town of Turku on its way to",
        "so two plus two makes four",
        "two plus two is four",
        "What is it?",
        f"{page[1]}日本で一番高い山は何ですか。富士山です。TWO plus two makes four",
        "",
    ]
    facts, rows = found(make_docs(copies))
    held = [row["contaminated_item_ids"] for row in rows]
    assert held == ["turku", "turku", "", "short", "", "", "ja;short", ""]
    assert [row["contaminated_items"] for row in rows] == [1, 1, 0, 1, 0, 0, 2, 0]
    assert [row["id"] for row in rows] == [f"d{i}" for i in range(8)]
    assert facts == OverlapFacts(items=4, items_too_short=1, items_found=3, docs={"web": 4})


def test_a_piece_that_two_items_share_names_both(found: Any, make_docs: Callable[..., Artifact]) -> None:
    _, rows = found(make_docs([ITEM]), {"b": ITEM + " Not the Kemi.", "a": ITEM + " Not the Oulu."})
    assert (rows[0]["contaminated_items"], rows[0]["contaminated_item_ids"]) == (2, "a;b")


def test_shards_change_nothing(found: Any, make_docs: Callable[..., Artifact]) -> None:
    texts = [ITEM[i:] for i in range(0, 60, 3)]
    assert found(make_docs(texts)) == found(make_docs(texts, 5))


def test_no_items(found: Any, make_docs: Callable[..., Artifact]) -> None:
    facts, rows = found(make_docs(["some text here"]), {})
    assert facts == OverlapFacts(items=0, items_too_short=0, items_found=0, docs={"web": 0})
    assert rows == [{"id": "d0", "contaminated_items": 0, "contaminated_item_ids": ""}]
