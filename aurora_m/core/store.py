"""The store: finished artifacts in folders named by what went into them, and names that point at them.

store/
  artifacts/<step>-<12 hex>/     files, then manifest.json: written last, so a folder that has one is whole
  partial/<step>-<12 hex>/       out/ and scratch/ of a step that runs or was killed
  refs/<recipe>/<step>           the artifact that a name means now
  runs/<recipe>/<step>/          numbers of training steps while they run, for `aurora watch`
  events.jsonl  lock
"""

import difflib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON, digest, file_digests, folder_files
from aurora_m.core.errors import AuroraError, StoreError
from aurora_m.core.files import read_json, replacing, sync_folder, write_json
from aurora_m.core.step import Artifact, Facts, fingerprint

MANIFEST = "manifest.json"
FORMAT = 2  # of a manifest; version 0.1 wrote no number
FULL_BYTES = 2**16  # a disk with less room than this is full
_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
}
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")  # so safetensors, tokenizers and polars end their messages


@dataclass(frozen=True)
class Store:
    """A folder of artifacts. Reading needs no lock; whoever runs steps or calls `gc` holds it."""

    root: Path

    @property
    def events(self) -> Path:
        """The log of all runs, one JSON object a line."""
        return self.root / "events.jsonl"

    @property
    def runs(self) -> Path:
        """The folder of what training steps tell while they run."""
        return self.root / "runs"

    def home(self, key: Mapping[str, JSON]) -> Path:
        """The folder in which the step with this key is or will be."""
        return self.root / "artifacts" / f"{key['name']}-{fingerprint(key)[:12]}"

    def partial(self, key: Mapping[str, JSON]) -> Path:
        """The folder in which the step with this key is being made."""
        return self.root / "partial" / self.home(key).name

    def find(self, key: Mapping[str, JSON]) -> Artifact | None:
        """The finished artifact with this key, if there is one. StoreError if its folder is another key's."""
        home = self.home(key)
        if not (home / MANIFEST).exists():
            return None
        if fingerprint(_manifest(home)["key"]) != fingerprint(key):  # a name holds 48 bits of it
            raise StoreError(
                "a finished artifact was made from something else than its name says",
                at=str(home / MANIFEST),
                hint=f"delete the folder `{home}`, or choose another `--store`",
            )
        return self.open(home)

    def open(self, home: Path) -> Artifact:
        """Read an artifact. StoreError if a file of it is missing or has another size."""
        manifest = _manifest(home)
        for name, file in manifest["files"].items():
            path = home / name
            if not path.exists() or path.stat().st_size != file["bytes"]:
                raise _damaged(home, name)
        return Artifact(home, manifest["digest"], manifest["facts"])

    def verify(self, home: Path) -> None:
        """Read every byte of an artifact again. StoreError if one differs from its manifest."""
        self.open(home)
        files = _manifest(home)["files"]
        for (name, file), sha256 in zip(files.items(), file_digests(home / name for name in files), strict=True):
            if sha256 != file["sha256"]:
                raise _damaged(home, name)

    def commit(self, key: Mapping[str, JSON], facts: Facts, about: Mapping[str, JSON]) -> Artifact:
        """Turn a partial folder into an artifact: digest its files, write the manifest, rename into place."""
        partial, home = self.partial(key), self.home(key)
        out = partial / "out"
        names = folder_files(out)
        sums: dict[str, JSON] = dict(zip(names, file_digests(out / name for name in names), strict=True))
        if MANIFEST in sums:
            raise ValueError(f"step `{key['name']}` wrote a `{MANIFEST}` of its own")
        files: dict[str, JSON] = {
            name: {"sha256": sha256, "bytes": (out / name).stat().st_size} for name, sha256 in sums.items()
        }
        whole = digest({"files": sums, "facts": facts})
        manifest = {"format": FORMAT, "key": dict(key), "digest": whole, "facts": facts, **about, "files": files}
        write_json(out / MANIFEST, manifest)
        for path in (*out.rglob("*"), out):  # or a power cut after the rename could leave empty files in `home`
            sync_folder(path)
        home.parent.mkdir(parents=True, exist_ok=True)
        if home.exists():  # without a manifest, or it would have been found: left by a `gc` that was killed
            shutil.rmtree(home)
        os.rename(out, home)
        sync_folder(home.parent)
        shutil.rmtree(partial)
        return self.open(home)

    def manifests(self, step: str) -> list[dict[str, Any]]:
        """All finished manifests of steps with this name, newest first."""
        homes = [path.parent for path in (self.root / "artifacts").glob(f"{step}-*/{MANIFEST}")]
        manifests = [_manifest(home) for home in homes if home.name[:-13] == step]
        return sorted(manifests, key=lambda manifest: str(manifest["finished"]), reverse=True)

    def check_formats(self) -> None:
        """StoreError if an artifact is of another version of Aurora: what both made could not be told apart later."""
        for path in (self.root / "artifacts").glob(f"*/{MANIFEST}"):
            _manifest(path.parent)

    def point(self, name: str, artifact: Artifact) -> None:
        """Let a name such as `tiny/cap` mean an artifact from now on."""
        with replacing(self.root / "refs" / name) as file:
            file.write(artifact.path.name.encode())

    def named(self, name: str) -> Artifact:
        """The artifact that a name means. StoreError, with the nearest names, if there is none."""
        names = self.names()
        if name not in names:
            near = [known for known in names if known.split("/")[-1] == name.split("/")[-1]]
            listed = ", ".join(f"`{known}`" for known in near or difflib.get_close_matches(name, names, 3, 0.75))
            raise StoreError(
                f"no artifact is named `{name}`",
                at=str(self.root),
                hint=f"did you mean {listed}?" if listed else "`aurora show` lists the names",
            )
        return self.open(self.root / "artifacts" / self._pointed(name))

    def names(self) -> list[str]:
        """All names, sorted."""
        refs = self.root / "refs"
        names = folder_files(refs) if refs.exists() else []
        return [name for name in names if not name.endswith(".tmp")]  # left by a run that was killed

    def gc(self) -> tuple[int, int]:
        """Delete what no name reaches and what was left half done; returns (folders, bytes). Needs the lock.

        A name reaches also all that its artifact was made from. What a stopped step left in scratch is kept: it may
        be the checkpoint from which the next run goes on.
        """
        kept = self._reached()
        folders = [p for p in (self.root / "artifacts").glob("*") if p.name not in kept]
        folders += [p for p in (self.root / "partial").glob("*") if not any((p / "scratch").glob("*"))]
        freed = sum((f / name).stat().st_size for f in folders for name in folder_files(f))
        for folder in folders:
            (folder / MANIFEST).unlink(missing_ok=True)  # first, so that a crash here leaves no half artifact
            shutil.rmtree(folder)
        return len(folders), freed

    def _reached(self) -> set[str]:
        """The folders that names mean, and those of all that these were made from, by the digests in their keys."""
        inputs: dict[str, list[str]] = {}
        homes: dict[str, list[str]] = {}  # of one digest: two keys may have given the same bytes
        for path in (self.root / "artifacts").glob(f"*/{MANIFEST}"):
            manifest = _manifest(path.parent)
            inputs[path.parent.name] = [*manifest["key"]["inputs"].values()]
            homes.setdefault(manifest["digest"], []).append(path.parent.name)
        front, reached = [self._pointed(name) for name in self.names()], set[str]()
        while front:
            home = front.pop()
            if home not in reached:
                reached.add(home)
                front += [parent for made in inputs.get(home, []) for parent in homes.get(made, [])]
        return reached

    def _pointed(self, name: str) -> str:
        return (self.root / "refs" / name).read_text()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store against a second run. StoreError at once if another process has it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StoreError(
                    f"another run (process {file.read().strip() or 'unknown'}) is using the store",
                    at=str(self.root),
                    hint="wait until it is done, or choose another folder with `--store`",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


@contextmanager
def disk_errors(at: Path) -> Iterator[None]:
    """Say a full or read-only disk in words, also where torch or safetensors report it as an error of their own."""
    try:
        yield
    except AuroraError:
        raise
    except Exception as error:
        number = _disk_error(error, at)
        if number is None:
            raise
        raise StoreError(
            _DISK[number],
            at=str(getattr(error, "filename", None) or at),
            hint="free some space (`aurora gc` deletes what no name reaches, but no checkpoints: for those, delete the "
            "folder `partial`) or choose another `--store`; the run goes on from what is finished",
        ) from error


def _disk_error(error: BaseException, at: Path) -> int | None:
    """The number in `_DISK` of what lies behind an exception, if it is the disk."""
    behind: BaseException | None = error
    while behind is not None:
        in_words = _RUST_ERROR.search(str(behind))
        number = int(in_words[1]) if in_words else getattr(behind, "errno", None)
        if number in _DISK:
            return number
        behind = behind.__cause__ or behind.__context__
    there = next(path for path in (at, *at.absolute().parents) if path.exists())
    return errno.ENOSPC if shutil.disk_usage(there).free < FULL_BYTES else None


def _manifest(home: Path) -> dict[str, Any]:
    """The manifest of an artifact. StoreError if it is none, or of another format."""
    try:
        manifest = dict(read_json(home / MANIFEST))
    except (FileNotFoundError, TypeError, ValueError):
        raise _damaged(home, MANIFEST) from None
    if manifest.get("format") != FORMAT:
        raise StoreError(
            "this store was made by another version of Aurora",
            at=f"{home / MANIFEST}: format {manifest.get('format', 'none')}, not {FORMAT}",
            hint="choose another `--store`, or delete this one",
        )
    return manifest


def _damaged(home: Path, name: str) -> StoreError:
    return StoreError(
        "a file of a finished artifact is missing or changed",
        at=str(home / name),
        hint=f"delete the folder `{home}`; the next run makes it again",
    )
