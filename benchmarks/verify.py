"""What it costs that a run checks what it reads: the tiny recipe, with and without: `python benchmarks/verify.py`.

Each round makes the recipe in an empty store, where the run itself made all that it reads; and again from its sources,
documents and base on, where it reads what another run made; with checks and without, in turn. Writes
benchmarks/results/verify-<date>.json: medians, their ratio, and the seconds inside of the check itself, which the
noise of a machine does not hide.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

HOUSE = Path(__file__).parents[1]
KEPT = ("fetch.", "base", "items")  # what the second run of a round finds and reads

RUN = """
import atexit, sys, time
from aurora_m.cli.main import main
from aurora_m.core import run
spent_s, verify = 0.0, run.verify
def timed(home, seen):
    global spent_s
    started_s = time.perf_counter()
    verify(home, seen)
    spent_s += time.perf_counter() - started_s
run.verify = timed if sys.argv[1] == "on" else lambda home, seen: None
code = main(sys.argv[3:])
open(sys.argv[2], "w").write(str(spent_s))
sys.exit(code)
"""


def seconds_of(check: str, store: Path, words: list[str]) -> tuple[float, float]:
    """Run once; returns the seconds of the whole process, and of its checks."""
    note = store.parent / "spent"
    command = [sys.executable, "-c", RUN, check, str(note), "run", "recipes/tiny.toml", "--store", str(store), *words]
    started_s = time.monotonic()
    subprocess.run(command, cwd=HOUSE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started_s, float(note.read_text())


def trials(rounds: int, words: list[str]) -> Iterator[tuple[str, str, float, float]]:
    """Which run, whether it checked, its seconds and those of the check; on and off in turn."""
    for number in range(rounds):
        for check in ("on", "off") if number % 2 else ("off", "on"):
            with tempfile.TemporaryDirectory() as folder:
                store = Path(folder, "store")
                yield "from nothing", check, *seconds_of(check, store, words)
                for home in (store / "artifacts").iterdir():
                    if not home.name.startswith(KEPT):
                        shutil.rmtree(home)
                yield "from what there is", check, *seconds_of(check, store, words)


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    args, words = parser.parse_known_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for which, check, seconds, spent_s in trials(args.rounds, words):
        found.setdefault((which, check), []).append((seconds, spent_s))
        print(f"{which}, checks {check}: {seconds:.1f} s, {1000 * spent_s:.1f} ms of it in checks", flush=True)
    result: dict[str, object] = {"date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count(), **vars(args)}
    for which in dict.fromkeys(which for which, _ in found):
        on, off = (median(seconds for seconds, _ in found[which, check]) for check in ("on", "off"))
        spent_s = median(spent_s for _, spent_s in found[which, "on"])
        result[which] = {
            "on_s": round(on, 2), "off_s": round(off, 2), "ratio": round(on / off, 4),
            "check_s": round(spent_s, 4), "check_share": round(spent_s / on, 6),
        }  # fmt: skip
    path = HOUSE / "benchmarks/results" / f"verify-{result['date']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path, json.dumps(result))


if __name__ == "__main__":
    main()
