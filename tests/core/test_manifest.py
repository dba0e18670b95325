"""Manifests: any byte that is not as it was written is told, and so is any byte of the files they name."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aurora_m.core.canon import digest
from aurora_m.core.errors import StoreError
from aurora_m.core.files import json_text, read_json
from aurora_m.core.log import Log
from aurora_m.core.manifest import MANIFEST, read_manifest, verify
from aurora_m.core.run import check_bytes
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store

KEY: dict[str, Any] = {"name": "step", "fn": "toy:x", "version": 1, "params": {}, "inputs": {}}
DAMAGED = "a file of a finished artifact is missing or changed"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def fill(store: Store, files: dict[str, str]) -> Artifact:
    """Commit an artifact with these files, without any step."""
    for name, text in files.items():
        path = store.partial(KEY) / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return store.commit(KEY, {"n": 1}, {"finished": "2024"})


def delete_hint(home: Path) -> str:
    return f"delete the folder `{home}`; the next run makes it again"


def test_every_flip_of_a_bit_in_a_manifest_is_told(store: Store) -> None:
    home = fill(store, {"a": "1", "deep/b": "22"}).path
    text = (home / MANIFEST).read_bytes()
    for place in range(len(text)):
        bit = random.Random(place).randrange(8)
        (home / MANIFEST).write_bytes(text[:place] + bytes([text[place] ^ 1 << bit]) + text[place + 1 :])
        with pytest.raises(StoreError) as caught:
            store.find(KEY)
        assert (caught.value.what, caught.value.at) == (DAMAGED, str(home / MANIFEST)), (place, bit)
        assert caught.value.hint == delete_hint(home), (place, bit)
    (home / MANIFEST).write_bytes(text)
    assert store.find(KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b' "finished"', b' "facts": {"n": 9},\n "finished"', 1),
        lambda text: text.replace(b'"n": 1', b'"n": 1.0'),
        lambda text: text.replace(b'"a"', b'"\\u0061"', 1),
        lambda text: b"[" * 100_000,
        lambda text: b"[]",
        lambda text: b"null",
        lambda text: text.replace(b'"n": 1', b'"n": NaN'),
        lambda text: text.replace(b'"n": 1', b'"n": "\\ud800"'),
    ],
    ids=["short", "long", "mark", "twice", "float", "escape", "deep", "list", "null", "nan", "surrogate"],
)  # fmt: skip
def test_a_manifest_that_is_not_as_it_was_written_is_told(store: Store, change: Callable[[bytes], bytes]) -> None:
    home = fill(store, {"a": "1"}).path
    (home / MANIFEST).write_bytes(change((home / MANIFEST).read_bytes()))
    with pytest.raises(StoreError, match=DAMAGED):
        read_manifest(home)


def test_facts_that_were_changed_with_care_are_told_all_the_same(store: Store) -> None:
    home = fill(store, {"a": "1"}).path
    manifest = read_json(home / MANIFEST)
    manifest["facts"]["n"] = 2
    (home / MANIFEST).write_bytes(json_text(manifest))
    with pytest.raises(StoreError, match=DAMAGED):
        read_manifest(home)
    del manifest["checksum"]
    (home / MANIFEST).write_bytes(json_text({**manifest, "checksum": digest(manifest)}))
    assert read_manifest(home)["facts"] == {"n": 2}  # a checksum is no signature: it finds accidents


def test_a_folder_in_the_place_of_a_manifest_is_told(store: Store) -> None:
    home = fill(store, {"a": "1"}).path
    (home / MANIFEST).unlink()
    (home / MANIFEST).mkdir()
    with pytest.raises(StoreError, match=DAMAGED):
        store.find(KEY)


def flip(path: Path) -> None:
    """Change one bit of a file and keep its size and its times."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_flipped_bit_is_found_before_a_step_reads_it(toy: ModuleType, tmp_path: Path) -> None:
    made = toy.make(toy.chain(), tmp_path)
    work = Store(tmp_path).named("toy/work")
    flip(work.path / "1.json")
    (tmp_path / "refs" / "toy" / "last").unlink()
    remade = made.path
    (remade / MANIFEST).unlink()
    with pytest.raises(StoreError) as caught:
        toy.make(toy.chain(), tmp_path)
    assert (caught.value.what, caught.value.at) == (DAMAGED, str(work.path / "1.json"))
    assert caught.value.hint == delete_hint(work.path)
    assert Store(tmp_path).manifests("last") == []


def test_a_flipped_bit_of_a_goal_is_found_though_nothing_is_to_do(toy: ModuleType, tmp_path: Path) -> None:
    made = toy.make(toy.chain(), tmp_path)
    flip(made.path / "all.json")
    with pytest.raises(StoreError) as caught:
        toy.make(toy.chain(), tmp_path)
    assert caught.value.at == str(made.path / "all.json")


def test_an_artifact_is_read_once_in_a_run_and_what_the_run_made_not_at_all(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr("aurora_m.core.run.verify", lambda home, seen: read.append(home.name[:-13]))
    toy.make(toy.chain(), tmp_path)
    assert read == []
    toy.make(toy.chain(), tmp_path)
    assert read == ["last"]
    toy.make(toy.chain(value=1), tmp_path)
    assert read == ["last", "last"]


def test_a_strange_file_in_an_artifact_is_told(store: Store) -> None:
    home = fill(store, {"docs/a": "1"}).path
    (home / "docs" / "b").write_text("a shard that nobody made")
    with pytest.raises(StoreError) as caught:
        verify(home)
    assert caught.value.what == "a file in a finished artifact is none of its own"
    assert (caught.value.at, caught.value.hint) == (str(home / "docs" / "b"), "move it out of the artifact's folder")


def test_checking_shows_how_far_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    home = fill(store, {"a": "1" * 2**20}).path
    seen: list[int] = []
    verify(home, seen.append)
    assert sum(seen) == 2**20
    check_bytes(home, Log())
    assert capsys.readouterr() == ("", "")  # quick work says nothing
    assert json.loads((home / MANIFEST).read_bytes())["checksum"]
