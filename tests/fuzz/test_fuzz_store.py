"""Manifests and names of a store with other bytes: told, or harmless; never other facts, digests or artifacts."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from aurora_m.core.manifest import MANIFEST
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store
from tests.fuzz.mutations import SEEDS, examples, flipped, tried

KEY: dict[str, Any] = {"name": "step", "fn": "toy:x", "version": 1, "params": {"tokens": 1024}, "inputs": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two artifacts, each with a name."""
    store = Store(tmp_path_factory.mktemp("store"))
    for number in (0, 1):
        key = {**KEY, "params": {"tokens": number}}
        out = store.partial(key) / "out"
        out.mkdir(parents=True)
        (out / "text").write_text(f"number {number}")
        made = store.commit(key, {"docs": number, "share": 0.25, "by": {"fi": 3}}, {"finished": "2026", "seconds": 1.5})
        store.point(f"toy/step{number}", made)
    return store


def looked_up(store: Store) -> list[Artifact | None]:
    """What the keys and the names give."""
    keys = [{**KEY, "params": {"tokens": number}} for number in (0, 1)]
    by_key = [tried(lambda key=key: store.find(key)) for key in keys]  # type: ignore[misc]
    by_name = [tried(lambda number=number: store.named(f"toy/step{number}")) for number in (0, 1)]  # type: ignore[misc]
    tried(store.check_formats)
    tried(lambda: store.manifests("step"))
    return by_key + by_name


def harmless(store: Store, path: Path, content: bytes) -> None:
    before, right = looked_up(store), path.read_bytes()
    path.write_bytes(content)
    try:
        for found, wanted in zip(looked_up(store), before, strict=True):
            assert found in (None, wanted)
    finally:
        path.write_bytes(right)


@examples(400)
@given(SEEDS)
def test_manifests(store: Store, seed: int) -> None:
    path = sorted((store.root / "artifacts").glob(f"*/{MANIFEST}"))[seed % 2]
    harmless(store, path, flipped(path.read_bytes(), seed))


def test_every_bit_of_a_manifest(store: Store) -> None:
    path = sorted((store.root / "artifacts").glob(f"*/{MANIFEST}"))[0]
    content = path.read_bytes()
    for at in range(len(content)):
        harmless(store, path, content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])


@examples(200)
@given(SEEDS)
@example(0)
def test_names(store: Store, seed: int) -> None:
    path = store.root / f"refs/toy/step{seed % 2}"
    harmless(store, path, flipped(path.read_bytes(), seed))
