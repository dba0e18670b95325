"""A model of the hub at a pinned commit: downloaded, and every byte compared with what the hub says it is."""

import hashlib
from pathlib import Path

from aurora_m.core.canon import BLOCK_BYTES
from aurora_m.core.errors import DataError

FILES = ["*.json", "*.jinja", "*.safetensors", "tokenizer*", "*.model", "merges.txt"]
NOTES = Path(".cache/huggingface/download")  # where the hub's library keeps, for each file, commit, ETag and time


def download(name: str, revision: str, folder: Path) -> None:
    """Fetch a model's files into a folder. DataError if one is not what the hub has under that commit."""
    from huggingface_hub import snapshot_download

    snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=FILES)
    for note in sorted((folder / NOTES).rglob("*.metadata")):
        path = folder / note.relative_to(folder / NOTES).with_suffix("")
        commit, etag, *_ = note.read_text(encoding="utf-8").splitlines()
        if not path.exists():  # it was of an earlier commit
            continue
        if commit != revision or _digest(path, len(etag)) not in (etag, None):
            path.unlink()
            hint = "run again: it is downloaded again"
            raise DataError("a downloaded file is not what the hub has", at=f"hf:{name}, {path.name}", hint=hint)


def _digest(path: Path, digits: int) -> str | None:
    """What the hub calls a file: SHA-256 of a large one, git's SHA-1 of the others; none of an ETag of another kind."""
    if digits not in (40, 64):
        return None
    found = hashlib.sha256() if digits == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # noqa: S324  # git's
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()
