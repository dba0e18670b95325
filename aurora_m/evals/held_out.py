"""Held-out documents: which of a source are measured, and the score of their bits. No model here."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.core.canon import JSON, digest
from aurora_m.core.table import read_shards


def choose_documents(folder: Path, max_bytes: int) -> list[dict[str, str]]:
    """Documents chosen by a hash of their ids, at most `max_bytes` of text and always one: {id, lang, text}."""
    sizes: list[tuple[str, int]] = []
    for table in read_shards(folder, "held", ["id", "text"]):
        sizes += zip(table["id"].to_pylist(), pc.binary_length(table["text"]).to_pylist(), strict=True)
    chosen: set[str] = set()
    total = 0
    for name, num_bytes in sorted(sizes, key=lambda size: digest(size[0])):  # ids that are paths come in neighbourhoods
        total += num_bytes
        if chosen and total > max_bytes:
            break
        chosen.add(name)
    wanted = pa.array(sorted(chosen), pa.string())
    rows = [
        row
        for table in read_shards(folder, "held", ["id", "lang", "text"])
        for row in table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
    ]
    return sorted(rows, key=lambda row: str(row["id"]))


def score_document(row: dict[str, Any]) -> dict[str, JSON]:
    """The row of scores.jsonl of a row of bits.jsonl."""
    name = f"{row['source']}/{row['id']}"
    score: dict[str, JSON] = {"id": name, "task": "bpb", "lang": row["lang"], "group": row["id"], "metric": "bpb"}
    return {**score, "value": row["bits"], "weight": row["num_bytes"]}
