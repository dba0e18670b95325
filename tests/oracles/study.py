"""All oracles, and what they find for one seed."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.oracles import capacity, data, forgetting, infill, masks, rate, skills, state, vocabulary
from tests.oracles.lab import Lab
from tests.oracles.oracle import Figures, Oracle

FAMILIES = (forgetting, rate, vocabulary, infill, masks, state, data, capacity, skills)
ORACLES: dict[str, Oracle] = {
    oracle.name: oracle for oracle in sorted((o for f in FAMILIES for o in f.ORACLES), key=lambda o: o.number)
}
ABSENT = {
    "O23": "merged weights instead of a falling rate (WSM): exact in tests/train/test_average.py",
    "O24": "balanced safety tuning: not of training",
}

Both = tuple[Figures, Figures]  # measured, sabotaged


def study(seed: int, names: Sequence[str]) -> dict[str, Both]:
    """The figures of some oracles for one seed, those of their controls beside them."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(seed, Path(folder))
        for number, name in enumerate(names, 1):
            started_s = time.monotonic()
            found[name] = (dict(ORACLES[name].measure(lab)), dict(ORACLES[name].sabotage(lab)))
            told = f"seed {seed}  {number}/{len(names)}  {name}  {time.monotonic() - started_s:.0f} s"
            print(f"  {told}  {written(found[name][0])}", file=sys.stderr, flush=True)
    return found


def written(figures: Figures, only: Sequence[str] = ()) -> str:
    """Figures in words."""
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items() if not only or name in only)
