"""The store: finished artifacts in folders named by what went into them, and names that point at them.

store/
  artifacts/<step>-<12 hex>/     files, then manifest.json: written last, so a folder that has one is whole
  partial/<step>-<12 hex>/       out/ and scratch/ of a step that runs or was killed
  refs/<recipe>/<step>           the artifact that a name means now
  runs/<recipe>/<step>/          numbers of training steps while they run, for `aurora watch`
  pages/<step>-<12 hex>/         what `aurora show --open` made of an artifact's pages
  events.jsonl  lock

What else lies there is a stranger: it is left alone. What is behind a link is never deleted.
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
from aurora_m.core.faults import SYSTEM, of_system
from aurora_m.core.files import no_link, replacing, sync_folder
from aurora_m.core.manifest import MANIFEST, check_sizes, read_manifest, write_manifest
from aurora_m.core.step import Artifact, Facts, fingerprint

HOME = re.compile(r"[^/]+-[0-9a-f]{12}")  # the name of an artifact's folder
FULL_BYTES = 2**16  # a disk with less room than this is full
_DISK = {SYSTEM[number][0] for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)}


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

    @property
    def pages(self) -> Path:
        """The folder of pages as they are opened."""
        return self.root / "pages"

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
        manifest = read_manifest(home)
        if fingerprint(manifest["key"]) != fingerprint(key):  # a name holds 48 bits of it
            raise StoreError(
                "a finished artifact was made from something else than its name says",
                at=str(home / MANIFEST),
                hint=f"delete the folder `{home}`, or choose another `--store`",
            )
        return _artifact(home, manifest)

    def open(self, home: Path) -> Artifact:
        """Read an artifact. StoreError if a file of it is missing or has another size."""
        return _artifact(home, read_manifest(home))

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
        write_manifest(out, {"key": dict(key), "digest": whole, "facts": facts, **about, "files": files})
        for path in (*out.rglob("*"), out):  # or a power cut after the rename could leave empty files in `home`
            sync_folder(path)
        home.parent.mkdir(parents=True, exist_ok=True)
        remove(home)  # it has no manifest, or it would have been found: left by a `gc` that was killed
        os.rename(out, home)
        sync_folder(home.parent)
        shutil.rmtree(partial)
        return self.open(home)

    def manifests(self, step: str) -> list[dict[str, Any]]:
        """All finished manifests of steps with this name, newest first."""
        manifests = [read_manifest(home) for home in self.homes(step)]
        return sorted(manifests, key=lambda manifest: str(manifest["finished"]), reverse=True)

    def homes(self, step: str | None = None) -> list[Path]:
        """The folders of all finished artifacts, or of those of one step, sorted."""
        found = [path for path in self._folders("artifacts") if step in (None, path.name[:-13])]
        return [path for path in found if (path / MANIFEST).exists()]

    def _folders(self, kind: str) -> list[Path]:
        """The folders, or links to folders, in `artifacts`, `partial` or `pages` that are ours, sorted."""
        found = sorted((self.root / kind).glob("*"))
        return [path for path in found if HOME.fullmatch(path.name) and (path.is_dir() or path.is_symlink())]

    def strangers(self) -> list[Path]:
        """What lies among artifacts and names and is neither; nothing is done with it."""
        ours = {*self._folders("artifacts"), *self._folders("partial")}
        beside = [path for kind in ("artifacts", "partial") for path in sorted((self.root / kind).glob("*"))]
        refs = self.root / "refs"
        names = [refs / name for name in (folder_files(refs) if refs.exists() else []) if not _is_name(name)]
        return [path for path in beside if path not in ours] + names

    def check_formats(self) -> None:
        """StoreError if an artifact is of another version of Aurora: what both made could not be told apart later."""
        for home in self.homes():
            read_manifest(home)

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
        return self.open(self._pointed(name))

    def names(self) -> list[str]:
        """All names, sorted."""
        refs = self.root / "refs"
        return [name for name in folder_files(refs) if _is_name(name)] if refs.exists() else []

    def damaged_names(self) -> list[StoreError]:
        """What is wrong with each name that means no artifact."""
        found = []
        for name in self.names():
            try:
                self._pointed(name)
            except StoreError as error:
                found.append(error)
        return found

    def gc(self) -> tuple[int, int]:
        """Delete what no name reaches and what was left half done; returns (folders, bytes). Needs the lock.

        A name reaches also all that its artifact was made from. What a stopped step left in scratch is kept: it may
        be the checkpoint from which the next run goes on. Of a link nothing but the link is deleted. StoreError,
        before anything is, if a name or a manifest is damaged: what it reaches is not known; and if a folder of
        artifacts or names is a link: what is behind it may be another store's.
        """
        self._check_no_links()
        kept = self._reached()
        folders = [path for kind in ("artifacts", "pages") for path in self._folders(kind) if path.name not in kept]
        folders += [path for path in self._folders("partial") if not any((path / "scratch").glob("*"))]
        owned = [folder for folder in folders if not folder.is_symlink()]
        freed = sum((f / name).lstat().st_size for f in owned for name in folder_files(f))
        for folder in folders:
            remove(folder)
        return len(folders), freed

    def _check_no_links(self) -> None:
        """StoreError if a folder whose content `gc` deletes or goes by is a link; the store itself may be one."""
        refs = self.root / "refs"
        for folder in (self.root / "artifacts", self.root / "partial", self.pages, refs, *sorted(refs.glob("*"))):
            if folder.is_symlink():
                what = (
                    "nothing is deleted: a folder of the store is a link, and what is behind it may be another store's"
                )
                raise StoreError(what, at=str(folder), hint="move what is behind it here, or link the whole store")

    def _reached(self) -> set[str]:
        """The folders that names mean, and those of all that these were made from, by the digests in their keys."""
        inputs: dict[str, list[str]] = {}
        homes: dict[str, list[str]] = {}  # of one digest: two keys may have given the same bytes
        for home in self.homes():
            manifest = read_manifest(home)
            inputs[home.name] = [*manifest["key"]["inputs"].values()]
            homes.setdefault(manifest["digest"], []).append(home.name)
        front, reached = [self._pointed(name).name for name in self.names()], set[str]()
        while front:
            name = front.pop()
            if name not in reached:
                reached.add(name)
                front += [parent for made in inputs[name] for parent in homes.get(made, [])]
        return reached

    def _pointed(self, name: str) -> Path:
        """The folder that a name means. StoreError if what the name holds is none, or there is no artifact in it."""
        ref, again = self.root / "refs" / name, "run its recipe again, which writes the name anew"
        pointed = ref.read_bytes().decode("ascii", "replace")
        if not HOME.fullmatch(pointed):
            raise StoreError(f"the name `{name}` is damaged: it means no artifact", at=str(ref), hint=again)
        home = self.root / "artifacts" / pointed
        if not (home / MANIFEST).exists():
            raise StoreError(f"the artifact that `{name}` means is not there", at=str(home), hint=again)
        return home

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store against a second run. StoreError at once if another process has it, or `lock` is a link."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "a+", opener=no_link) as file:
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
        words = (of_system(error) or ("",))[0]
        if words not in _DISK:
            if not _is_full(at):
                raise
            words = SYSTEM[errno.ENOSPC][0]
        raise StoreError(
            words,
            at=str(getattr(error, "filename", None) or at),
            hint="free some space (`aurora gc` deletes what no name reaches, but no checkpoints: for those, delete the "
            "folder `partial`) or choose another `--store`; the run goes on from what is finished",
        ) from error


def _is_full(at: Path) -> bool:
    """Whether there is no room where a path is or would be."""
    there = next(path for path in (at, *at.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free < FULL_BYTES


def _artifact(home: Path, manifest: Mapping[str, Any]) -> Artifact:
    check_sizes(home, manifest["files"])
    return Artifact(home, manifest["digest"], manifest["facts"])


def _is_name(path: str) -> bool:
    """Whether a file in `refs` is a name: `<recipe>/<step>`, and nothing that begins with a dot, as what is half
    written does."""
    return "/" in path and not any(part.startswith(".") for part in path.split("/"))


def remove(path: Path) -> None:
    """Delete an artifact's folder, or the link to one, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        (path / MANIFEST).unlink(missing_ok=True)  # first, so that a crash here leaves no half artifact
        shutil.rmtree(path)
