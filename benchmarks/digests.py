"""Whether a change kept the bytes: `python benchmarks/digests.py REVISION [--recipe recipes/tiny.toml] [--json]`.

Runs the recipe with the code of a git revision and with that of this tree, each from raw text into an empty store, and
prints a line a step: whether its digest is the same, and else which files and facts differ. `--before` and `--after`
take stores in which the recipe was run already. Ends with 1 if a step differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[1]
FACTS_SHOWN = 4


@dataclass(frozen=True)
class Difference:
    """What of a step's artifact differs; nothing where its digest is the same."""

    step: str
    same: bool
    files: list[str]
    facts: list[str]

    def line(self) -> str:
        """One line for people."""
        if self.same:
            return f"{self.step:24} same"
        parts = [*(["files " + ", ".join(self.files)] if self.files else [])]
        more = f" and {len(self.facts) - FACTS_SHOWN} more" if len(self.facts) > FACTS_SHOWN else ""
        parts += ["facts " + ", ".join(self.facts[:FACTS_SHOWN]) + more] if self.facts else []
        return f"{self.step:24} {'; '.join(parts)}"


def main() -> int:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("revision", nargs="?", help="the code to compare with")
    parser.add_argument("--recipe", default="recipes/tiny.toml")
    parser.add_argument("--before", type=Path, help="a store of the earlier code, instead of a run")
    parser.add_argument("--after", type=Path, help="a store of this code, instead of a run")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.before and not args.revision:
        parser.error("name a REVISION, or a store with --before")
    with tempfile.TemporaryDirectory() as folder:
        before = args.before or run(checkout(args.revision, Path(folder, "code")), args.recipe, Path(folder, "before"))
        after = args.after or run(HOUSE, args.recipe, Path(folder, "after"))
        found = compare(manifests(before, args.recipe), manifests(after, args.recipe))
    if args.json:
        print(json.dumps([asdict(difference) for difference in found]))
    else:
        print("\n".join(difference.line() for difference in found))
        print(f"{sum(difference.same for difference in found)} of {len(found)} steps have the same digest")
    return int(not all(difference.same for difference in found))


def checkout(revision: str, folder: Path) -> Path:
    """The files of a revision in a folder."""
    packed = subprocess.run(["git", "archive", revision], cwd=HOUSE, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(code: Path, recipe: str, store: Path) -> Path:
    """Run a recipe with the code in a folder; returns the store."""
    module = "aurora_m" if (code / "aurora_m/__main__.py").exists() else "aurora_m.cli"
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-m", module, "run", recipe, "--store", str(store)]
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=sys.stderr)
    return store


def manifests(store: Path, recipe: str) -> dict[str, dict[str, Any]]:
    """The manifest of each step of a recipe, in the order they were made; a store of any format has these names."""
    refs = store / "refs" / tomllib.loads((HOUSE / recipe).read_text())["name"]
    homes = [store / "artifacts" / ref.read_text() for ref in refs.iterdir() if ref.suffix != ".tmp"]
    made = [json.loads((home / "manifest.json").read_text()) for home in homes]
    return {manifest["key"]["name"]: manifest for manifest in sorted(made, key=lambda one: str(one["finished"]))}


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs, step by step, in the order in which the later run made them."""
    names = [*after, *(name for name in before if name not in after)]
    empty: dict[str, Any] = {"digest": "", "files": {}, "facts": {}}
    found = []
    for name in names:
        old, new = before.get(name, empty), after.get(name, empty)
        files = differing({f: about["sha256"] for f, about in old["files"].items()},
                          {f: about["sha256"] for f, about in new["files"].items()})  # fmt: skip
        found.append(Difference(name, old["digest"] == new["digest"], files, differing(old["facts"], new["facts"])))
    return found


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names whose values differ, with what is only there or only here."""
    gone = [f"-{name}" for name in old if name not in new]
    added = [f"+{name}" for name in new if name not in old]
    return gone + added + [name for name in old if name in new and old[name] != new[name]]


if __name__ == "__main__":
    sys.exit(main())
