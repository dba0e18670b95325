"""The store: whole artifacts or none, names, clearing up, one run at a time, a full disk."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aurora_m.core.canon import digest
from aurora_m.core.errors import StoreError
from aurora_m.core.files import json_text, read_json
from aurora_m.core.manifest import MANIFEST, verify
from aurora_m.core.run import plan
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store, disk_errors

Child = Callable[..., "subprocess.Popen[str]"]

AGAIN = "run its recipe again, which writes the name anew"
KEY: dict[str, Any] = {"name": "step", "fn": "toy:x", "version": 1, "params": {}, "inputs": {}}


def key(**params: int) -> dict[str, Any]:
    return {**KEY, "params": params}


def fill(store: Store, files: dict[str, str], finished: str = "2024", **params: int) -> Artifact:
    """Commit an artifact with these files, without any step."""
    out = store.partial(key(**params)) / "out"
    for name, text in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    return store.commit(key(**params), {"n": len(files)}, {"finished": finished})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


# --- artifacts


def test_commit_and_find(store: Store) -> None:
    assert store.find(key()) is None
    made = fill(store, {"a": "1", "deep/b": "22"})
    assert store.find(key()) == made
    assert made.path == store.home(key())
    assert made.path.name == f"step-{made.path.name[-12:]}"
    assert (made.path / "deep" / "b").read_text() == "22"
    assert made.facts == {"n": 2}
    assert not store.partial(key()).exists()
    verify(made.path)


def test_manifest_says_all(store: Store) -> None:
    made = fill(store, {"b": "22", "a": "1"})
    manifest = read_json(made.path / MANIFEST)
    assert list(manifest) == ["format", "key", "digest", "facts", "finished", "files", "checksum"]
    assert manifest["key"] == key()
    assert manifest["files"] == {
        "a": {"sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", "bytes": 1},
        "b": {"sha256": "785f3ec7eb32f30b90cd0fcf3657d388b5ff4297f2f9716ff66e9b69c05ddd09", "bytes": 2},
    }


def test_digest_is_of_files_and_facts_alone(store: Store, tmp_path: Path) -> None:
    one = fill(store, {"a": "1", "b": "2"}, finished="2024", x=1)
    again = fill(Store(tmp_path / "elsewhere"), {"b": "2", "a": "1"}, finished="2025", x=2)
    changed = ({"a": "1"}, {"a": "1", "c": "2"}, {"a": "2", "b": "1"})
    others = [fill(store, files, x=n) for n, files in enumerate(changed, 3)]
    assert again.digest == one.digest
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_a_step_may_not_write_a_manifest(store: Store) -> None:
    with pytest.raises(ValueError, match=r"step `step` wrote a `manifest.json` of its own"):
        fill(store, {MANIFEST: "{}"})
    assert store.find(key()) is None


def test_manifests_are_of_one_step_and_newest_first(store: Store) -> None:
    fill(store, {}, finished="2024-01", x=1)
    fill(store, {}, finished="2024-03", x=2)
    fill(store, {}, finished="2024-02", x=3)
    longer = {**key(), "name": "step-two"}
    (store.partial(longer) / "out").mkdir(parents=True)
    store.commit(longer, {}, {"finished": "2025"})
    assert [manifest["key"]["params"]["x"] for manifest in store.manifests("step")] == [2, 3, 1]
    assert len(store.manifests("step-two")) == 1
    assert store.manifests("ste") == []


def remake(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "truncated": lambda path: os.truncate(path, 1),
    "longer": lambda path: path.write_text("12345"),
    "a folder": remake,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("name", ["a", "deep/b"])
def test_a_damaged_file_is_told(store: Store, damage: Callable[[Path], object], name: str) -> None:
    made = fill(store, {"a": "1234", "deep/b": "1234"})
    damage(made.path / name)
    reads: list[Callable[[], object]] = [
        lambda: store.find(key()),
        lambda: store.open(made.path),
        lambda: verify(made.path),
    ]
    for read in reads:
        with pytest.raises(StoreError, match="a file of a finished artifact is missing or changed") as caught:
            read()
        assert caught.value.at == str(made.path / name)
        assert caught.value.hint == f"delete the folder `{made.path}`; the next run makes it again"


def test_a_changed_byte_is_found_by_verify(store: Store) -> None:
    made = fill(store, {"a": "1234", "b": "1234", "c": "5678"})
    verify(made.path)
    (made.path / "b").write_text("1235")
    assert store.find(key()) == made
    with pytest.raises(StoreError, match="missing or changed") as error:
        verify(made.path)
    assert error.value.at == str(made.path / "b")


@pytest.mark.parametrize("text", ["", '{"key": ', "\xff"])
def test_a_damaged_manifest_is_told(store: Store, text: str) -> None:
    made = fill(store, {"a": "1"})
    (made.path / MANIFEST).write_text(text, encoding="latin-1")
    for read in (lambda: store.find(key()), lambda: store.manifests("step"), lambda: verify(made.path)):
        with pytest.raises(StoreError, match="missing or changed") as caught:
            read()
        assert caught.value.at == str(made.path / MANIFEST)


@pytest.mark.parametrize(("number", "said"), [(None, "none"), (1, "1"), (4, "4")])
def test_a_manifest_of_another_format_is_refused(store: Store, number: int | None, said: str) -> None:
    made = fill(store, {"a": "1"})
    manifest = {**read_json(made.path / MANIFEST), "format": number}
    del manifest["checksum"]
    if number is None:
        del manifest["format"]
    if number == 4:
        manifest["checksum"] = digest(manifest)
    (made.path / MANIFEST).write_bytes(json_text(manifest))
    store.point("x/step", made)
    uses = (lambda: store.find(key()), lambda: store.manifests("step"), lambda: store.named("x/step"), store.gc)
    for use in uses:
        with pytest.raises(StoreError) as caught:
            use()
        assert str(caught.value) == (
            f"error: this store was made by another version of Aurora\n  at: {made.path / MANIFEST}: "
            f"format {said}, not 3\n\nhint: choose another `--store`"
        )


def test_the_hint_for_damage_works(toy: ModuleType, tmp_path: Path) -> None:
    goal = toy.chain()
    made = toy.make(goal, tmp_path)
    (made.path / "all.json").unlink()
    with pytest.raises(StoreError, match="missing or changed") as caught:
        toy.make(goal, tmp_path)
    folder = Path(caught.value.hint.split("`")[1])
    subprocess.run(["rm", "-r", folder], check=True)
    with pytest.raises(StoreError, match="the artifact that `toy/last` means is not there") as caught:
        Store(tmp_path).named("toy/last")
    assert (caught.value.at, caught.value.hint) == (str(made.path), AGAIN)
    assert toy.make(goal, tmp_path) == made


def test_a_folder_of_another_key_is_not_served(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fill(store, {"a": "1"}, x=1)
    monkeypatch.setattr(Store, "home", lambda self, key: made.path)  # as two keys with the same 48 bits have it
    assert store.find(key(x=1)) == made
    with pytest.raises(StoreError) as caught:
        store.find(key(x=2))
    assert caught.value.what == "a finished artifact was made from something else than its name says"
    assert caught.value.at == str(made.path / MANIFEST)
    assert caught.value.hint == f"delete the folder `{made.path}`, or choose another `--store`"


def test_all_is_on_the_disk_before_an_artifact_is_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync, rename = set(), os.fsync, os.rename

    def seen(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def renamed(old: Path, new: Path) -> None:
        assert {path.stat().st_ino for path in (old, *old.rglob("*"))} <= synced
        rename(old, new)
        synced.clear()

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(os, "rename", renamed)
    made = fill(store, {"a": "1", "deep/b": "22"})
    assert made.path.parent.stat().st_ino in synced


def test_a_folder_without_a_manifest_is_not_served_and_not_in_the_way(store: Store) -> None:
    made = fill(store, {"a": "1"})
    (made.path / MANIFEST).unlink()  # as a killed `gc` leaves it
    assert store.find(key()) is None
    assert fill(store, {"b": "1"}).facts == {"n": 1}
    assert sorted(path.name for path in made.path.iterdir()) == ["b", MANIFEST]


# --- names


def test_names(store: Store) -> None:
    assert store.names() == []
    one, two = fill(store, {"a": "1"}, x=1), fill(store, {"a": "2"}, x=2)
    for name, artifact in (("tiny/cap", one), ("big/cap", one), ("tiny/cap", two)):
        store.point(name, artifact)
    assert store.names() == ["big/cap", "tiny/cap"]
    assert store.named("tiny/cap") == two
    assert store.named("big/cap") == one


def test_a_half_written_name_is_no_name(store: Store) -> None:
    store.point("tiny/cap", fill(store, {}))
    (store.root / "refs" / "tiny" / ".old.tmp").touch()  # as a killed run leaves it
    assert store.names() == ["tiny/cap"]
    assert store.gc() == (0, 0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cap", "did you mean `big/cap`, `tiny/cap`?"),
        ("small/cap", "did you mean `big/cap`, `tiny/cap`?"),
        ("tiny/eval", "did you mean `big/eval`?"),
        ("tiny", "`aurora show` lists the names"),
        ("", "`aurora show` lists the names"),
    ],
)
def test_an_unknown_name_says_what_is_near(store: Store, name: str, hint: str) -> None:
    made = fill(store, {})
    for known in ("tiny/cap", "big/cap", "big/eval"):
        store.point(known, made)
    with pytest.raises(StoreError) as caught:
        store.named(name)
    assert (caught.value.what, caught.value.hint) == (f"no artifact is named `{name}`", hint)


# --- gc


def test_gc_keeps_what_names_reach(store: Store) -> None:
    kept, freed = fill(store, {"a": "1"}, x=1), fill(store, {"a": "22", "deep/b": "333"}, x=2)
    store.point("tiny/step", kept)
    half = store.partial(key(x=3))
    (half / "scratch").mkdir(parents=True)
    (half / "out").mkdir()
    (half / "out" / "half").write_text("55555")
    manifest_bytes = (freed.path / MANIFEST).stat().st_size
    assert store.gc() == (2, 2 + 3 + manifest_bytes + 5)
    assert store.named("tiny/step") == kept
    assert [path.name for path in (store.root / "artifacts").iterdir()] == [kept.path.name]
    assert list((store.root / "partial").iterdir()) == []
    assert store.gc() == (0, 0)


def test_gc_keeps_what_a_stopped_step_goes_on_from(store: Store) -> None:
    scratch = store.partial(key()) / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "checkpoint").write_text("55555")
    assert store.gc() == (0, 0)
    assert (scratch / "checkpoint").read_text() == "55555"
    (scratch / "checkpoint").unlink()
    assert store.gc() == (1, 0)


def test_gc_keeps_all_that_a_named_artifact_was_made_from(toy: ModuleType, tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = toy.make(toy.chain(), tmp_path)
    homes = {path.name for path in (tmp_path / "artifacts").iterdir()}
    for name in store.names():
        if name != "toy/last":
            (tmp_path / "refs" / name).unlink()
    assert store.gc() == (0, 0)
    assert {path.name for path in (tmp_path / "artifacts").iterdir()} == homes
    assert len(homes) == 3
    (tmp_path / "refs" / "toy" / "last").unlink()
    store.point("toy/first", next(store.open(made.path.parent / home) for home in homes if home.startswith("source-")))
    assert store.gc()[0] == 2  # what was made from it is not what it was made from


def test_gc_of_an_empty_store(store: Store) -> None:
    assert store.gc() == (0, 0)


def test_gc_frees_what_a_name_meant_before(store: Store) -> None:
    old, new = fill(store, {"a": "1"}, x=1), fill(store, {"a": "2"}, x=2)
    store.point("tiny/step", old)
    store.point("tiny/step", new)
    assert store.gc()[0] == 1
    assert store.find(key(x=1)) is None
    assert store.find(key(x=2)) == new


def test_a_killed_gc_serves_no_half_artifact(child: Child, toy: ModuleType, tmp_path: Path) -> None:
    code = """
        made = make(chain(), STORE)
        import shutil
        from aurora_m.core.store import Store
        (STORE / "refs" / "toy" / "last").unlink()
        shutil.rmtree = lambda folder: die()
        Store(STORE).gc()
    """
    process = child(tmp_path, code)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr
    assert [row.state for row in plan([toy.chain()], Store(tmp_path))] == ["have", "have", "run"]
    assert toy.make(toy.chain(), tmp_path).digest == toy.make(toy.chain(), tmp_path / "fresh").digest


# --- lock


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(
    child: Child, toy: ModuleType, tmp_path: Path
) -> None:
    process = child(tmp_path, 'make(Step("holds", "toy:holds"), STORE)')
    assert process.stdout
    assert process.stdout.readline() == "running\n"
    goal = toy.chain()
    with pytest.raises(StoreError) as caught:
        toy.make(goal, tmp_path)
    assert caught.value.what == f"another run (process {process.pid}) is using the store"
    assert caught.value.at == str(tmp_path)
    assert caught.value.hint == "wait until it is done, or choose another folder with `--store`"
    assert [row.state for row in plan([goal], Store(tmp_path))] == ["run", "wait", "wait"]  # reading needs no lock
    process.kill()
    process.wait()
    assert toy.make(goal, tmp_path).facts == {}


def test_the_lock_ends_with_its_block(store: Store) -> None:
    for _ in range(2):
        with store.lock():
            assert (store.root / "lock").read_text() == str(os.getpid())
            with pytest.raises(StoreError, match=f"process {os.getpid()}"), store.lock():
                raise AssertionError
    with pytest.raises(RuntimeError), store.lock():
        raise RuntimeError
    with store.lock():
        pass


def test_a_holder_that_has_not_yet_written_its_number(store: Store) -> None:
    with store.lock():
        (store.root / "lock").write_text("")
        with pytest.raises(StoreError, match=r"another run \(process unknown\)"), store.lock():
            raise AssertionError


@pytest.mark.parametrize("name", ["lock", "events.jsonl"])
def test_a_link_to_somebodys_file_is_not_written_through(toy: ModuleType, tmp_path: Path, name: str) -> None:
    mine, link = tmp_path / "mine", tmp_path / "store" / name
    link.parent.mkdir()
    for content in ("my thesis", None):
        if content:
            mine.write_text(content)
        else:
            mine.unlink()
        link.unlink(missing_ok=True)
        link.symlink_to(mine)
        with pytest.raises(StoreError) as caught:
            toy.make(toy.chain(), link.parent)
        assert (caught.value.what, caught.value.at) == ("a file of the store is a link", str(link))
        assert caught.value.hint == "delete the link: the file behind it would be written to"
        assert (mine.read_text() if mine.exists() else None) == content


# --- full disk


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the disk is read-only"),
    ],
)
def test_disk_errors_in_words(tmp_path: Path, number: int, what: str) -> None:
    for file, at in ((None, tmp_path), ("/some/file", "/some/file")):
        with pytest.raises(StoreError) as caught, disk_errors(tmp_path):
            raise OSError(number, os.strerror(number), file)
        assert (caught.value.what, caught.value.at) == (what, str(at))
        assert "`aurora gc` deletes what no name reaches" in caught.value.hint


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("nth", range(1, 15))
def test_a_disk_that_fills_at_any_write_leaves_no_half_artifact(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    goal = toy.chain()
    whole = toy.make(goal, tmp_path / "fresh")
    store, fsync, calls = Store(tmp_path / "store"), os.fsync, 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk is full"):
        toy.make(goal, store.root)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "aurora_m.toy", toy)
    for home in (store.root / "artifacts").glob("*"):
        verify(home)
    assert toy.make(goal, store.root).digest == whole.digest


TMPFS = """
    from aurora_m.core.errors import StoreError
    from aurora_m.core.manifest import verify
    from aurora_m.core.store import Store
    small, large = (Step("big", "toy:big", params={"num_bytes": n * 2**16}) for n in (2, 100))
    try:
        make(large, STORE)
        raise SystemExit("1 MB held 6.5 MB")
    except StoreError as error:
        told = [error.what, error.at, error.hint]
    store = Store(STORE)
    left = [path.name for path in (STORE / "artifacts").glob("*")]
    with store.lock():
        freed = store.gc()
    made = make(small, STORE)
    verify(made.path)
    print(json.dumps({"told": told, "left": left, "freed": freed, "facts": made.facts, "names": store.names()}))
"""


def test_a_disk_that_is_really_full(child: Child, tmp_path: Path) -> None:
    mount = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"', "sh")
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    process = child(tmp_path, TMPFS, before=mount)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert found["told"][:2] == ["the disk is full", str(tmp_path)]
    assert found["left"] == []
    assert found["freed"][0] == 1
    assert found["freed"][1] > 900_000
    assert found["facts"] == {"bytes": 2**17}
    assert found["names"] == ["toy/big"]


# --- damaged names, links and strangers


@pytest.mark.parametrize(
    "content", [b"", b"/etc", b"..", b"../../etc", b"artifacts", b"step-", b"step-0123456789aB", b"\xff"]
)
def test_a_damaged_name_is_told_and_gc_deletes_nothing(store: Store, content: bytes) -> None:
    made, other = fill(store, {"a": "1"}, x=1), fill(store, {"a": "2"}, x=2)
    store.point("tiny/step", made)
    ref = store.root / "refs" / "tiny" / "step"
    ref.write_bytes(content)
    uses: list[Callable[[], object]] = [lambda: store.named("tiny/step"), store.gc]
    for use in uses:
        with pytest.raises(StoreError) as caught:
            use()
        assert caught.value.what == "the name `tiny/step` is damaged: it means no artifact"
        assert (caught.value.at, caught.value.hint) == (str(ref), AGAIN)
    assert made.path.exists()
    assert other.path.exists()
    store.point("tiny/step", made)  # as the next run does
    assert store.gc()[0] == 1


def test_any_flip_in_a_name_is_told(store: Store) -> None:
    store.point("tiny/step", fill(store, {"a": "1"}))
    ref = store.root / "refs" / "tiny" / "step"
    right = ref.read_bytes()
    for place, bit in ((place, bit) for place in range(len(right)) for bit in range(8)):
        ref.write_bytes(right[:place] + bytes([right[place] ^ 1 << bit]) + right[place + 1 :])
        with pytest.raises(StoreError) as caught:
            store.gc()
        assert caught.value.hint == AGAIN


def test_gc_stops_at_a_name_whose_artifact_is_not_there(store: Store) -> None:
    made, other = fill(store, {"a": "1"}, x=1), fill(store, {"a": "2"}, x=2)
    store.point("tiny/step", made)
    shutil.rmtree(made.path)
    with pytest.raises(StoreError, match="the artifact that `tiny/step` means is not there"):
        store.gc()
    assert other.path.exists()


def test_gc_deletes_a_link_and_nothing_behind_it(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    far = fill(other, {"a": "1"}, x=1)
    link = store.root / "artifacts" / far.path.name
    link.parent.mkdir(parents=True)
    link.symlink_to(far.path)
    half = other.root / "partial" / "step-0123456789ab"
    (half / "out").mkdir(parents=True)
    (half / "out" / "a").write_text("1")
    (store.root / "partial").mkdir()
    (store.root / "partial" / half.name).symlink_to(half)
    assert store.find(key(x=1)) == Artifact(link, far.digest, far.facts)
    store.point("tiny/step", Artifact(link, far.digest, far.facts))
    assert store.gc() == (1, 0)
    assert link.is_symlink()
    (store.root / "refs" / "tiny" / "step").unlink()
    assert store.gc() == (1, 0)
    assert list((store.root / "artifacts").iterdir()) == []
    verify(far.path)
    assert (half / "out" / "a").exists()


@pytest.mark.parametrize("name", ["artifacts", "partial", "pages", "refs", "refs/tiny"])
def test_gc_deletes_nothing_where_a_folder_of_the_store_is_a_link(store: Store, tmp_path: Path, name: str) -> None:
    mine, other = fill(store, {"a": "1"}, x=1), Store(tmp_path / "other")
    fill(other, {"a": "2"}, x=2)
    (other.partial(key(x=3)) / "out").mkdir(parents=True)
    for one in (store, other):
        one.point("tiny/step", mine)
    link = store.root / name
    shutil.rmtree(link, ignore_errors=True)
    link.symlink_to(other.root / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError) as caught:
        store.gc()
    assert sorted(tmp_path.rglob("*")) == before
    assert caught.value.what.startswith("nothing is deleted: a folder of the store is a link")
    assert (caught.value.at, caught.value.hint) == (
        str(link),
        "move what is behind it here, or link the whole store",
    )


def test_a_linked_store_is_a_store(store: Store, tmp_path: Path) -> None:
    fill(store, {"a": "1"})
    (tmp_path / "link").symlink_to(store.root)
    assert Store(tmp_path / "link").gc()[0] == 1


def test_gc_keeps_what_a_linked_artifact_was_made_from(toy: ModuleType, tmp_path: Path) -> None:
    made = toy.make(toy.chain(), tmp_path / "one")
    made.path.rename(tmp_path / "moved")
    made.path.symlink_to(tmp_path / "moved")
    for name in ("source", "work"):
        (tmp_path / "one" / "refs" / "toy" / name).unlink()
    assert Store(tmp_path / "one").gc() == (0, 0)


def test_a_link_that_leads_nowhere_is_in_nobodys_way(store: Store, tmp_path: Path) -> None:
    link = store.home(key())
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nowhere")
    assert store.find(key()) is None
    made = fill(store, {"a": "1"})
    assert not made.path.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_strangers_block_nothing_and_are_left_alone(store: Store) -> None:
    made = fill(store, {"a": "1"}, x=1)
    store.point("tiny/step", made)
    strange = [
        store.root / name
        for name in ("artifacts/notes.txt", "artifacts/step-000000000000", "artifacts/backup/manifest.json",
                     "partial/core", "refs/README", "refs/tiny/.DS_Store")
    ]  # fmt: skip
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    fill(store, {"a": "2"}, x=2)
    assert store.names() == ["tiny/step"]
    assert len(store.manifests("step")) == 2
    store.check_formats()
    assert store.gc()[0] == 1
    assert [path.read_text() for path in strange] == ["mine"] * len(strange)
    assert {path.relative_to(store.root).as_posix() for path in store.strangers()} == {
        "artifacts/notes.txt", "artifacts/step-000000000000", "artifacts/backup", "partial/core", "refs/README",
        "refs/tiny/.DS_Store",
    }  # fmt: skip


def test_names_that_end_like_temporary_files_are_names(toy: ModuleType, tmp_path: Path) -> None:
    steps = [toy.Step(name, "toy:number", params={"value": n}) for n, name in enumerate(("cap", "cap.tmp", "x.part"))]
    toy.run(steps, toy.Runtime(store=tmp_path), toy.Log(quiet=True), "a.tmp")
    store = Store(tmp_path)
    assert store.names() == ["a.tmp/cap", "a.tmp/cap.tmp", "a.tmp/x.part"]
    assert [store.named(f"a.tmp/{step.name}").path.name[:-13] for step in steps] == ["cap", "cap.tmp", "x.part"]
    assert store.gc() == (0, 0)
