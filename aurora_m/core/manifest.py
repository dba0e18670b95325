"""The manifest of an artifact: what it was made from, its facts and its files, under a checksum of itself.

What is checked when: a manifest, by its own checksum, whenever it is read; that the files are there and of their sizes,
whenever an artifact is found; their bytes by `verify`, which a run calls before a step reads what it did not make.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON, digest, file_digests, folder_files
from aurora_m.core.errors import DataError, StoreError
from aurora_m.core.files import json_text, parse_json, replacing

MANIFEST = "manifest.json"
FORMAT = 3  # of a manifest; version 0.1 wrote no number


def write_manifest(folder: Path, about: Mapping[str, JSON]) -> None:
    """Write a manifest with its checksum: SHA-256 of all else in it, as canonical JSON."""
    with replacing(folder / MANIFEST) as file:
        file.write(sealed({"format": FORMAT, **about}))


def sealed(body: Mapping[str, JSON]) -> bytes:
    """A JSON object as text, with its checksum."""
    plain = json.loads(json_text(dict(body)))  # as it will be read: a key that is a number becomes a text
    return json_text({**plain, "checksum": digest(plain)})


def unsealed(text: bytes) -> tuple[dict[str, Any], bool]:
    """What `sealed` wrote, and whether every byte of it is as it was. DataError or ValueError if it is no object."""
    found = parse_json(text, MANIFEST)
    if not isinstance(found, dict):
        raise DataError("this is no JSON object", at=MANIFEST, hint="look at what wrote it")
    body = {key: value for key, value in found.items() if key != "checksum"}
    # Canonical JSON does not see white space or a key that stands twice: the text has to be ours, too.
    return found, found.get("checksum") == digest(body) and text == json_text(found)


def read_manifest(home: Path) -> dict[str, Any]:
    """The manifest of an artifact. StoreError if it is of another format, or a byte of it is not as it was written."""
    try:
        manifest, whole = unsealed((home / MANIFEST).read_bytes())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, DataError, ValueError):
        raise damaged(home, MANIFEST) from None
    number = manifest.get("format")
    if number != FORMAT and (whole or "checksum" not in manifest):
        raise StoreError(
            "this store was made by another version of Aurora",
            at=f"{home / MANIFEST}: format {'none' if number is None else number}, not {FORMAT}",
            hint="choose another `--store`",
        )
    if not whole:
        raise damaged(home, MANIFEST)
    return manifest


def check_sizes(home: Path, files: Mapping[str, Any]) -> None:
    """StoreError if a file of an artifact is missing or has another size than its manifest says."""
    for name, file in files.items():
        path = home / name
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise damaged(home, name)


def verify(home: Path, seen: Callable[[int], object] = int) -> None:
    """Read every byte of an artifact again. StoreError if one differs from its manifest, or a file is a stranger's.

    seen  is called with numbers of bytes as they are read, from several threads
    """
    files = read_manifest(home)["files"]
    check_sizes(home, files)
    for name in folder_files(home):  # steps read all files of a kind, and a release takes all that are there
        if name not in files and name != MANIFEST:
            hint = "move it out of the artifact's folder"
            raise StoreError("a file in a finished artifact is none of its own", at=str(home / name), hint=hint)
    for (name, file), sha256 in zip(files.items(), file_digests([home / name for name in files], seen), strict=True):
        if sha256 != file["sha256"]:
            raise damaged(home, name)


def damaged(home: Path, name: str) -> StoreError:
    """What to say of a file of an artifact that is not as it was written."""
    return StoreError(
        "a file of a finished artifact is missing or changed",
        at=str(home / name),
        hint=f"delete the folder `{home}`; the next run makes it again",
    )
