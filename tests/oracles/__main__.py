"""The oracles of training as one table: `python -m tests.oracles [--seeds N] [--only O2,O5] [--json] [--out FILE]`.

Each seed is a process of its own, on as many cores as there are. Ends with 1 if a gate is red, or blind to its control.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.oracles.oracle import Oracle, medians
from tests.oracles.study import ABSENT, ORACLES, Both, study, written

COLUMNS = ("oracle", "says", "source", "expected", "gate", "got", "seeds", "control", "control got", "verdict")


def row(oracle: Oracle, found: Sequence[Both]) -> dict[str, str]:
    """One line of the table."""
    measured, sabotaged = ([*side] for side in zip(*found, strict=True))
    verdict = oracle.verdict(measured, sabotaged)
    gate = ", ".join(map(str, oracle.gate))
    told = (oracle.name, oracle.says, oracle.source, oracle.expected, gate, written(medians(measured)), len(found))
    cells = (*told, oracle.control, written(medians(sabotaged), [b.figure for b in oracle.gate]), verdict)
    return dict(
        zip(COLUMNS, (*map(str, cells[:-1]), f"{verdict} (advisory)" if oracle.advisory else verdict), strict=True)
    )


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """The table for a page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *([r[name] for name in COLUMNS] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(rows: Sequence[dict[str, str]]) -> None:
    """The table for people."""
    table = Table(*COLUMNS, show_lines=True)
    for cells in rows:
        table.add_row(*(cells[name] for name in COLUMNS))
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def asked(text: str) -> list[str]:
    """The oracles that a list such as `O2,O5` names."""
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in ORACLES:
            raise argparse.ArgumentTypeError(f"{name}: {ABSENT.get(name, 'there is no such oracle')}")
    return names


def main() -> int:
    """Measure and judge; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracles", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, 1 to N")
    parser.add_argument("--only", type=asked, default=[*ORACLES], metavar="O2,O5")
    parser.add_argument("--json", action="store_true", help="print figures of all seeds, not the table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write them there, and the table next to it as .md")
    given = parser.parse_args()
    seeds = range(1, given.seeds + 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(min(cores, given.seeds), multiprocessing.get_context("spawn")) as pool:
        found = [*pool.map(partial(study, names=given.only), seeds)]
    rows = [row(ORACLES[name], [of_seed[name] for of_seed in found]) for name in given.only]
    figures: Any = [
        {**cells, "figures": [of_seed[cells["oracle"]][0] for of_seed in found],
         "control figures": [of_seed[cells["oracle"]][1] for of_seed in found]} for cells in rows
    ]  # fmt: skip
    whole = json.dumps({"oracles": figures, "absent": ABSENT}, indent=1)
    if given.out:
        given.out.write_text(whole + "\n")
        given.out.with_suffix(".md").write_text(markdown(rows))
    if given.json:
        print(whole)
    else:
        show(rows)
        print("\n".join(f"{name}  {why}" for name, why in ABSENT.items()))
    return int(any(cells["verdict"] in ("red", "blind") for cells in rows))


if __name__ == "__main__":
    sys.exit(main())
