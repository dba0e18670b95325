"""A hundred Ctrl-C at random moments: each ends with 130 and one line, and the run goes on to the same digests."""

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from aurora_m.core.interrupt import STOPPED
from tests.e2e.conftest import HOUSE, TINY, aurora, command
from tests.e2e.test_kill import digests

INTERRUPTS = 100
LONGEST_S = 8.0  # past the start of the program, and into some steps


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_interrupts(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "store"
    moments = random.Random(130)
    count = 0
    while count < INTERRUPTS:
        run = subprocess.Popen(
            command("run", TINY, "--store", broken),
            cwd=HOUSE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            run.wait(moments.uniform(0.3, LONGEST_S))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)
        stderr = run.communicate(timeout=120)[1]
        if run.returncode == 0:  # it was done: once more from the start
            assert digests(broken) == digests(store)
            shutil.rmtree(broken)
            continue
        assert run.returncode == STOPPED, stderr
        assert "Traceback" not in stderr
        assert stderr.count("; the same command goes on from here\n") == 1
        assert stderr.splitlines()[-1].startswith("stopped in ")
        count += 1
    aurora("run", TINY, "--store", broken)
    assert digests(broken) == digests(store)
