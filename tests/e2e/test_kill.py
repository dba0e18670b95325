"""Killed with -9 at six random moments, the tiny run ends with the digests of the uninterrupted one."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import HOUSE, TINY, aurora, command

KILLS = 6
LONGEST_S = 24.0  # past the start of the program and any single step, so that kills fall everywhere


def digests(store: Path) -> dict[str, str]:
    return {row["step"]: row["digest"] for row in json.loads(aurora("plan", TINY, "--store", store, "--json").stdout)}


@pytest.mark.slow
def test_kill_9_changes_nothing(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "store"
    moments = random.Random(2404)
    killed = 0
    while killed < KILLS:
        run = subprocess.Popen(
            command("run", TINY, "--store", broken), cwd=HOUSE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            code = run.wait(moments.uniform(1.0, LONGEST_S))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            killed += 1
            continue
        assert code == 0
        break  # the machine was so fast that the run ended before the last kill
    assert killed >= KILLS // 2
    aurora("run", TINY, "--store", broken)
    assert digests(broken) == digests(store)
