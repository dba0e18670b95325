"""A run with four workers ends by kill -9, Ctrl-C, TERM and HUP at ten moments: no process stays, no byte changes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import HOUSE, aurora

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TO_ALL = (signal.SIGINT, signal.SIGHUP)  # as a terminal sends them
MOMENTS = 10
LONGEST_S = 10.0  # after the first step has begun
GONE_S = 20.0
PROGRAM = (  # small shards, so that there is work for all
    "import sys; from aurora_m.data.read import sources; sources.SHARD_BYTES = 1000; "
    "from aurora_m.__main__ import entry; entry()"
)


def started(recipe: Path, store: Path, said: Path, mark: str) -> "subprocess.Popen[bytes]":
    """A run of the recipe with four workers, once it has begun its first step."""
    words = ("run", recipe, "--to", "cap", "--workers", "4", "--store", store)
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "AURORA_MARK": mark, "OMP_NUM_THREADS": "1"}
    with said.open("w") as stderr:
        run = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    while "[" not in said.read_text() and run.poll() is None:
        time.sleep(0.01)
    return run


def marked(mark: str) -> list[int]:
    """The processes that have a mark in their environment, and are not dead."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def digests(recipe: Path, store: Path) -> dict[str, str]:
    rows = json.loads(aurora("plan", recipe, "--to", "cap", "--store", store, "--json").stdout)
    return {row["step"]: row["digest"] for row in rows}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(1800)
def test_however_a_run_ends_no_process_stays_and_no_byte_changes(tmp_path: Path) -> None:
    recipe = Path(shutil.copytree(HOUSE / "tests/graph/small", tmp_path / "small")) / "scratch.toml"
    said, broken, mark = tmp_path / "said", tmp_path / "broken", uuid.uuid4().hex
    assert started(recipe, tmp_path / "whole", said, mark).wait(600) == 0, said.read_text()
    whole = digests(recipe, tmp_path / "whole")
    moments = random.Random(11)
    done = 0
    while done < MOMENTS:
        number = SIGNALS[done % len(SIGNALS)]
        run = started(recipe, broken, said, mark)
        try:
            code = run.wait(moments.uniform(0.0, LONGEST_S))
        except subprocess.TimeoutExpired:
            (os.killpg if number in TO_ALL else os.kill)(run.pid, number)
            code = run.wait(60)
        end_s = time.monotonic() + GONE_S
        while left := marked(mark):
            assert time.monotonic() < end_s, left
            time.sleep(0.05)
        if code == 0:  # it was done: once more from the start
            assert digests(recipe, broken) == whole
            shutil.rmtree(broken)
            continue
        assert code == (-number if number == signal.SIGKILL else 128 + number), said.read_text()
        done += 1
    assert started(recipe, broken, said, mark).wait(600) == 0, said.read_text()
    assert digests(recipe, broken) == whole
