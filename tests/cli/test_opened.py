"""A page that is opened says when, on what and in what time it was made; its artifact does not."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aurora_m.cli.opened import made_words, pages
from aurora_m.core import machine
from aurora_m.core.machine import hardware
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store


def made(store: Store, name: str, inputs: dict[str, str], content: str, **about: Any) -> Artifact:
    """An artifact with one page, without any step."""
    key: dict[str, Any] = {"name": name, "fn": "toy:x", "version": 1, "params": {}, "inputs": inputs}
    out = store.partial(key) / "out"
    out.mkdir(parents=True)
    (out / "report.html").write_text(content)
    return store.commit(key, {}, about)


def test_a_page_that_is_opened_says_how_it_was_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    before = {"finished": "2026-11-30T10:00:00", "seconds": 90.0, "hardware": "2 × A <b>"}
    first = made(store, "cap", {}, "x", **before)
    after = {"finished": "2026-12-01T09:00:00", "seconds": 30.0, "hardware": "2 × A <b>"}
    page = made(store, "report", {"models.cap": first.digest}, "<h1>a</h1><h1>b</h1>", **after)
    (opened,) = pages(store, page)
    line = "Made 2026-12-01 on 2 × A &lt;b&gt;. Its 2 steps took 2m00s, each counted once, whenever it ran."
    assert opened.read_text() == f'<h1>a</h1>\n<p class="over">{line}</p><h1>b</h1>'
    assert (page.path / "report.html").read_text() == "<h1>a</h1><h1>b</h1>"
    assert not store.runs.exists()  # there a recipe may have any name
    store.point("tiny/report", page)
    assert store.gc() == (0, 0)
    assert opened.exists()
    (store.root / "refs" / "tiny" / "report").unlink()
    assert store.gc()[0] == 3  # no name reaches the two artifacts, and the page is one's
    assert list(store.pages.iterdir()) == []


def test_artifacts_of_before_say_no_hardware() -> None:
    about = {"finished": "2026-01-02", "seconds": 1.0}
    assert made_words(about) == "Made 2026-01-02. Its 1 step took 1.0s, each counted once, whenever it ran."


def test_the_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some  CPU\nmodel name\t: Some  CPU\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "processors", lambda: 2)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False)))
    assert hardware() == "2 × Some CPU (x86_64)"
    cuda = SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2, get_device_name=lambda index: "H200")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert hardware() == "2 × Some CPU (x86_64), 2 × H200"
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert hardware() == "2 × processor (x86_64)"
