"""Models of the hub: what was downloaded is what the pinned commit has."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.errors import DataError
from aurora_m.model.hub import NOTES, download

COMMIT = "c" * 40
LARGE, SMALL = b"weights" * 999, b"{}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[bytes, str]]:
    """What the hub has, by name: bytes and ETag."""
    held = {
        "model.safetensors": (LARGE, hashlib.sha256(LARGE).hexdigest()),
        "config.json": (SMALL, hashlib.sha1(b"blob 2\0{}").hexdigest()),  # git's
        "tokenizer.json": (SMALL, "W/something"),
    }

    def snapshot(name: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert (name, revision) == ("owner/name", COMMIT)
        for file, (content, etag) in held.items():
            if not (local_dir / file).exists():
                (local_dir / NOTES).mkdir(parents=True, exist_ok=True)
                (local_dir / file).write_bytes(content)
                (local_dir / NOTES / f"{file}.metadata").write_text(f"{COMMIT}\n{etag}\n1.0\n")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return held


def test_what_the_hub_has_is_taken(hub: Any, tmp_path: Path) -> None:
    download("owner/name", COMMIT, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == LARGE


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_byte_is_told_and_downloaded_again(hub: Any, tmp_path: Path, name: str) -> None:
    download("owner/name", COMMIT, tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        download("owner/name", COMMIT, tmp_path)
    assert caught.value.what == "a downloaded file is not what the hub has"
    assert (caught.value.at, caught.value.hint) == (f"hf:owner/name, {name}", "run again: it is downloaded again")
    download("owner/name", COMMIT, tmp_path)


def test_a_file_of_another_commit_is_told(hub: Any, tmp_path: Path) -> None:
    download("owner/name", COMMIT, tmp_path)
    note = tmp_path / NOTES / "config.json.metadata"
    note.write_text(note.read_text().replace(COMMIT, "d" * 40))
    with pytest.raises(DataError, match="not what the hub has"):
        download("owner/name", COMMIT, tmp_path)
