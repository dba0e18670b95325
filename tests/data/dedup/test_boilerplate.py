"""Lines of a site: what stands on many of its pages is found, whatever the shards, and nothing else is."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurora_m.core.files import shard_name
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import DOCS, write_table
from aurora_m.data.dedup import boilerplate as module
from aurora_m.data.dedup.boilerplate import Boilerplate, BoilerplateFacts, drop_lines, lines
from aurora_m.data.dedup.duplicates import duplicates

NewWork = Callable[[], Work]
Page = tuple[str, str]  # url or nothing, text
MIN_DOCS = 3
PIECES = st.sampled_from(["Menu", " Menu", "", "--", "Search  here", "Search here", "ほーむ", "Zwei", "\u3000", "7"])


def pages_of(folder: Path, pages: list[Page], shards: int = 1) -> Artifact:
    """Docs with the URL of each page in `meta`."""
    rows = [
        {"id": f"p{i}", "text": text, "source": "s", "lang": "en", "meta": json.dumps({"url": url} if url else {})}
        for i, (url, text) in enumerate(pages)
    ]
    for shard in range(shards):
        part = rows[len(rows) * shard // shards : len(rows) * (shard + 1) // shards]
        path = folder / "docs" / shard_name(shard, shards, "parquet")
        write_table(path, pa.Table.from_pylist(part, schema=DOCS))
    return Artifact(folder, "0" * 64, {})


def found(
    new_work: NewWork, docs: dict[str, Artifact], min_docs: int = MIN_DOCS, workers: int = 1
) -> tuple[BoilerplateFacts, dict[str, Any], Work]:
    """Facts, rows of each source, and the place."""
    before, work = new_work(), new_work()
    work = replace(work, runtime=replace(work.runtime, workers=workers))
    duplicates(before, docs=docs, near=0.8, order=list(docs))
    same = Artifact(before.out, "0" * 64, {})
    facts = lines(work, docs=docs, duplicates=same, min_docs=min_docs, order=list(docs))
    return facts, {name: pq.read_table(work.out / "lines" / name).to_pylist() for name in docs}, work


def test_menus_of_a_site_are_found_and_other_sites_are_not_touched(tmp_path: Path, new_work: NewWork) -> None:
    site = [
        (f"https://www.Example.org:80/{i}?x", f"Home | About\n\nStory {i}\n---\n  © Example \t org\n") for i in range(3)
    ]
    other = [(f"http://other.net/{i}", f"Home | About\nText {i}") for i in range(2)]
    docs = {"web": pages_of(tmp_path / "a", [*site, *other]), "more": pages_of(tmp_path / "b", [("", "Home | About")])}
    facts, rows, _ = found(new_work, docs)
    assert [row["lines"] for row in rows["web"]] == [[0, 4]] * 3 + [[]] * 2
    text = site[0][1]
    assert rows["web"][0]["boiler"] == round(len("Home | About\n  © Example \t org\n".encode()) / len(text.encode()), 6)
    assert drop_lines(text, [0, 4]) == "\nStory 0\n---\n"
    assert rows["more"] == [{"id": "p0", "lines": [], "boiler": 0.0}]
    num_bytes = 3 * len("Home | About\n  © Example \t org\n".encode())
    assert facts == BoilerplateFacts({"web": Boilerplate(5, 3, 6, num_bytes), "more": Boilerplate(1, 0, 0, 0)})


def test_a_site_is_one_across_sources_and_a_source_without_hosts_is_a_site(tmp_path: Path, new_work: NewWork) -> None:
    one = pages_of(tmp_path / "a", [("http://a.org/1", "Menu\none"), ("", "Foot\nx"), ("", "Foot\ny")])
    two = pages_of(tmp_path / "b", [("https://a.org", "Menu\ntwo"), ("ftp://u:p@a.org#z", "Menu\n3"), ("", "Foot\nz")])
    _, rows, _ = found(new_work, {"one": one, "two": two})
    assert [row["lines"] for row in rows["one"] + rows["two"]] == [[0], [], [], [0], [0], []]
    _, rows, _ = found(new_work, {"one": one, "two": two}, 2)
    assert [row["lines"] for row in rows["one"] + rows["two"]] == [[0], [0], [0], [0], [0], []]


def test_copies_of_a_page_are_counted_once_and_marked(tmp_path: Path, new_work: NewWork) -> None:
    article = " ".join(f"w{i}" for i in range(60))
    copies = [("http://a.org", f"Menu\n{article}\n{end}") for end in ("", "\n", "yes", "no")]
    shop = [("http://a.org", f"Menu\nThing {i}") for i in range(2)]
    _, rows, _ = found(new_work, {"web": pages_of(tmp_path / "a", [*copies, *shop])})
    assert [row["lines"] for row in rows["web"]] == [[0]] * 6


def plain(pages: list[Page], min_docs: int) -> list[list[int]]:
    """The same in plain Python, for pages of one site that are all different."""
    keys = [[" ".join(line.split()) for line in text.split("\n")] for _, text in pages]
    counts = Counter(line for page in keys for line in set(page) if any(char.isalnum() for char in line))
    return [[i for i, line in enumerate(page) if counts[line] >= min_docs] for page in keys]


@given(st.lists(st.lists(PIECES, min_size=1, max_size=6), min_size=1, max_size=12))
@example([["Menu", "", "x"], [" Menu"], ["Menu ", "Menu"]])
def test_as_plain_python(tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("lines")
    pages = [("http://a.org", "\n".join([*text, f"page {i}"])) for i, text in enumerate(texts)]
    task = (0, pages_of(folder, pages).path / "docs" / shard_name(0, 1, "parquet"), "s", folder / "dup")
    write_table(folder / "dup", pa.table({"dup_of": pa.nulls(len(pages), pa.string())}))
    assert module._counted(task, folder=folder / "counted") > 0
    keys = module._boilerplate(0, parts=1, shards=1, min_docs=MIN_DOCS, folder=folder)
    keys.rename(folder / "boilerplate.npy")
    *counts, num_bytes = module._marked(task, folder=folder, out=folder / "lines")
    rows = pq.read_table(folder / "lines").to_pylist()
    assert [row["lines"] for row in rows] == plain(pages, MIN_DOCS)
    assert counts == [len(rows), sum(bool(row["lines"]) for row in rows), sum(len(row["lines"]) for row in rows)]
    lost_bytes = 0
    for row, (_, text) in zip(rows, pages, strict=True):
        lost_bytes += len(text.encode()) - len(drop_lines(text, row["lines"]).encode())
    assert num_bytes == lost_bytes  # the last line is never boilerplate here


def test_shards_workers_and_parts_change_no_byte(
    tmp_path: Path, new_work: NewWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [(f"http://{i % 3}.org/", f"Menu {i % 5}\nText {i}\nFoot") for i in range(40)]
    results = []
    for shards, part in ((1, 2**20), (7, 2**20), (3, 4)):
        monkeypatch.setattr(module, "PART_LINES", part)
        results.append(found(new_work, {"web": pages_of(tmp_path / f"{shards}", pages, shards)})[:2])
    assert results[0] == results[1] == results[2]
    files = []
    for workers in (1, 2):
        _, _, work = found(new_work, {"web": pages_of(tmp_path / f"by {workers}", pages, 3)}, workers=workers)
        files.append({path.name: path.read_bytes() for path in (work.out / "lines/web").iterdir()})
    assert files[0] == files[1]
    assert len(files[0]) == 3
    assert results[0][0].sources["web"].lines > 40


def test_a_finished_shard_is_not_done_again(tmp_path: Path, new_work: NewWork, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = {"web": pages_of(tmp_path / "a", [("", f"Menu\n{i}") for i in range(9)], 3)}
    _, rows, work = found(new_work, docs)
    monkeypatch.setattr(module, "_measured", None)
    same = Artifact(tmp_path, "", {})
    lines(work, docs=docs, duplicates=same, min_docs=MIN_DOCS, order=["web"])
    assert pq.read_table(work.out / "lines/web").to_pylist() == rows["web"]


def test_nothing_at_all(tmp_path: Path, new_work: NewWork) -> None:
    facts, rows, _ = found(new_work, {"web": pages_of(tmp_path / "a", []), "b": pages_of(tmp_path / "b", [("", "")])})
    assert rows == {"web": [], "b": [{"id": "p0", "lines": [], "boiler": 0.0}]}
    assert facts.sources["web"] == Boilerplate(0, 0, 0, 0)
