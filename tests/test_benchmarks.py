"""Benchmarks: that they start, and say what they lack. What they measure is no test."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

HOUSE = Path(__file__).parents[1]


def run(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, HOUSE / "benchmarks" / script, *words], capture_output=True, text=True)


@pytest.mark.parametrize("script", sorted(path.name for path in (HOUSE / "benchmarks").glob("*.py")))
def test_every_script_starts(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("usage:")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_gpu_benchmark_says_that_there_is_no_gpu() -> None:
    done = run("gpu.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: torch finds no CUDA device here")
    assert "error: the first 10 steps are left out" in run("gpu.py", "--steps", "10").stderr


def test_it_trains_with_the_loop_and_counts_as_it_says() -> None:
    done = run("gpu.py", "--try-cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    # Two blocks of 128 x 128 x (2 + 2 / 2) + 3 x 128 x 512 + 2 x 128 weights, a tied head, the last norm; attention.
    weights = 2 * (128 * 128 * 3 + 3 * 128 * 512 + 2 * 128) + 49_152 * 128 + 128
    flop = 6 * weights + 6 * 2 * 128 * 64
    assert f"A token counts {flop:.4g} FLOP" in done.stdout
