"""A signal in training: the optimizer step is finished and saved; the next run goes on from it to the same bytes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import PATHS, plain_model, trained

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from processes import HALF, ROWS, Made, fitted, plain_model, plan
from aurora_m.core import interrupt
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work

class Asks(Made):
    def __getitem__(self, index):
        for number in numbers if index == HALF * ROWS else []:
            os.kill(os.getpid(), number)
        return super().__getitem__(index)

folder, numbers = Path(sys.argv[1]), [int(number) for number in sys.argv[2:]]
torch.set_num_threads(1)
interrupt.install()
work = Work(folder / "out", folder / "scratch", Runtime(folder, threads=1, device="cpu", save_every_s=3600.0), Log())
model = plain_model("llama")
with interrupt.at("step cap"):
    curve = fitted(work, model, Asks(), plan(), [])
torch.save([model.state_dict(), curve], folder / "made.pt")
"""


def run(folder: Path, *numbers: int) -> tuple[int, str]:
    """Train in a process of its own that gets these signals half-way; returns its exit code and what it said."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), *map(str, map(int, numbers))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("numbers", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])  # two at once are one
def test_a_signal_saves_and_nothing_is_lost(tmp_path: Path, numbers: list[int]) -> None:
    code, said = run(tmp_path, *numbers)
    assert code == 128 + numbers[0]
    assert not (tmp_path / "made.pt").exists()
    assert "\n  finishing this optimizer step and saving it; a second signal stops at once\n" in said
    last = re.search(r"\nstopped in step cap, saved after step ([1-3]); the same command goes on from here\n$", said)
    assert last, said
    assert len(list((tmp_path / "scratch/checkpoint").iterdir())) == 1
    code, said = run(tmp_path)
    assert code == 0
    assert f"  cap: resumed at step {int(last[1]) + 1} of 4\n" in said
    model, curve = trained(tmp_path / "whole", "llama")
    weights, again = torch.load(tmp_path / "made.pt", weights_only=False)
    assert again == curve
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert weights.keys() == plain_model("llama").state_dict().keys()
