"""Print the tests next to what changed since `main`, for `make quick`: `python tests/quick.py`."""

import subprocess
from pathlib import Path

HOUSE = Path(__file__).parents[1]
ALWAYS = "tests/test_layers.py"


def git(*words: str) -> list[str]:
    """The lines that git prints; none where it fails."""
    return subprocess.run(["git", *words], cwd=HOUSE, capture_output=True, text=True).stdout.splitlines()


def changed() -> list[str]:
    """Files that differ from where this branch left `main`, and those that git does not know yet."""
    base = git("merge-base", "HEAD", "main") or git("merge-base", "HEAD", "origin/main") or ["HEAD"]
    return [*git("diff", "--name-only", base[0]), *git("ls-files", "--others", "--exclude-standard")]


def next_to(name: str) -> set[str]:
    """The tests of one file: its mirror in `tests/`, and those of the same room that import it.

    Where there are none, the tests of the folder; of a test, itself.
    """
    path = Path(name)
    if path.parts[0] == "tests":
        itself = path.name.startswith("test_") and path.parts[1] != "e2e" and (HOUSE / path).exists()
        return {name} if itself else set()
    if path.parts[0] != "aurora_m" or len(path.parts) < 3:
        return set()
    room, folder = HOUSE / "tests" / path.parts[1], HOUSE / "tests" / path.relative_to("aurora_m").parent
    module = ".".join(path.with_suffix("").parts)
    near = {folder / f"test_{path.stem}.py"} & {*folder.glob("test_*.py")}
    if path.suffix == ".py":
        names = (module, f"from {module.rpartition('.')[0]} import {path.stem}")
        near |= {test for test in room.rglob("test_*.py") if any(text in test.read_text() for text in names)}
    near = near or {*folder.glob("test_*.py")}
    return {test.relative_to(HOUSE).as_posix() for test in near}


if __name__ == "__main__":
    print(*sorted({ALWAYS}.union(*map(next_to, changed()))))
