"""A hundred Ctrl-C at random moments: each ends with 130 and one line, and the run goes on to the same digests."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_m.core.interrupt import STOPPED
from tests.e2e.conftest import HOUSE, TINY, aurora
from tests.e2e.test_kill import digests

INTERRUPTS = 100
LONGEST_S = 8.0  # past the imports, and into some steps
HANDLED = " aurora_m.core.interrupt\n"  # imported: before that line the interpreter itself answers a signal


def interrupted(store: Path, said: Path, wait_s: float) -> tuple[int, list[str]]:
    """Stop the tiny run so long after its first own import; returns its exit code and what it said."""
    with said.open("w") as stderr:
        run = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "aurora_m", "run", str(TINY), "--store", str(store)],
            cwd=HOUSE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    while not said.read_text().partition(HANDLED)[2]:
        assert run.poll() is None
        time.sleep(0.002)
    try:
        run.wait(wait_s)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGINT)
    code = run.wait(120)
    return code, [line for line in said.read_text().splitlines() if not line.startswith("import time:")]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_interrupts(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "store"
    moments = random.Random(130)
    count = 0
    while count < INTERRUPTS:
        longest_s = LONGEST_S if count % 3 else 0.5  # a third of them in the imports
        code, lines = interrupted(broken, tmp_path / "said", moments.uniform(0.0, longest_s))
        if code == 0:  # it was done: once more from the start
            assert digests(broken) == digests(store)
            shutil.rmtree(broken)
            continue
        assert code == STOPPED, lines
        assert lines[-1].startswith("stopped in ")
        assert lines[-1].endswith("; the same command goes on from here")
        assert all(line.startswith(("[", " ")) or not line for line in lines[:-1]), lines
        count += 1
    aurora("run", TINY, "--store", broken)
    assert digests(broken) == digests(store)
