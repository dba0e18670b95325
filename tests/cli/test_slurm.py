"""Batch files: what is asked of Slurm, and that the command is the one that was typed."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_m.cli.main import main

TINY = Path(__file__).parents[2] / "recipes" / "tiny.toml"
DONE, FAILED, WRONG = 0, 1, 2

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def aurora(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call the command line in an empty folder: exit code, stdout, stderr."""
    for name in [name for name in os.environ if name.startswith("AURORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*args: str | Path) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        return code, *capsys.readouterr()

    return call


def asked(text: str) -> dict[str, str]:
    """The `#SBATCH` lines of a batch file."""
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH ")]
    return dict((*line.split("=", 1), "")[:2] for line in lines)


def test_a_batch_file_asks_for_machines_and_runs_the_same_command(
    aurora: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURORA_MICRO_BATCH", "2")
    words = ["run", TINY, "--to", "cap", "--store", "a b", "--workers", "3", "--debug"]
    code, out, err = aurora(*words, "--launch", "slurm", "--nodes", "32", "--gpus-per-node=4", "--partition", "gpu")
    path = tmp_path / "a b/slurm/tiny.sh"
    assert (code, err) == (DONE, "")
    assert out == f"wrote {path}; next: sbatch {shlex.quote(str(path))}\n"
    text = path.read_text()
    settings = asked(text)
    assert {key: settings[key] for key in ("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "partition")} == {
        "job-name": "tiny", "nodes": "32", "ntasks-per-node": "1", "gpus-per-node": "4", "partition": "gpu",
    }  # fmt: skip
    assert {"requeue", "exclusive"} <= settings.keys()
    assert "time" not in settings
    assert f"export AURORA_MICRO_BATCH=2\ncd {tmp_path}\n" in text
    assert text.splitlines()[-2] == f"  -m aurora_m {shlex.join(map(str, words))} &"
    assert not (tmp_path / "a b/artifacts").exists()
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""


def test_the_launchers_meet_at_the_first_machine(aurora: Call, tmp_path: Path) -> None:
    assert aurora("run", TINY, "--launch", "slurm", "--nodes", "2", "--time", "1-12:00:00")[0] == DONE
    path = tmp_path / "store/slurm/tiny.sh"
    assert asked(path.read_text())["time"] == "1-12:00:00"
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, lines in (("scontrol", "echo n07\necho n08"), ("srun", 'printf "%s\\n" "$@"')):
        (tools / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tools / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "123", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[07-08]", "SLURM_CPUS_ON_NODE": "96"}
    environment = {**os.environ, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash", path], env=environment, capture_output=True, text=True, check=True)
    words = ran.stdout.splitlines()
    assert words[:2] == ["--kill-on-bad-exit=1", "--cpus-per-task=96"]
    assert words[3:] == [
        "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=123",
        "--rdzv-endpoint=n07:20123", "-m", "aurora_m", "run", str(TINY),
    ]  # fmt: skip


def test_a_failed_run_fails_the_job(aurora: Call, tmp_path: Path) -> None:
    assert aurora("run", TINY, "--launch", "slurm")[0] == DONE
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, lines in (("scontrol", "echo n07"), ("srun", "exit 3")):
        (tools / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tools / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "1", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "n07", "SLURM_CPUS_ON_NODE": "8"}
    environment = {**os.environ, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"}
    path = tmp_path / "store/slurm/tiny.sh"
    assert subprocess.run(["bash", path], env=environment, capture_output=True).returncode == 3


def test_for_machines(aurora: Call, tmp_path: Path) -> None:
    code, out, _ = aurora("run", TINY, "--launch", "slurm", "--json")
    assert (code, json.loads(out)) == (DONE, {"batch_file": str(tmp_path / "store/slurm/tiny.sh")})
    assert "--json" in (tmp_path / "store/slurm/tiny.sh").read_text()


@pytest.mark.parametrize(
    ("words", "at"),
    [
        (["--nodes", "0"], "--nodes"),
        (["--gpus-per-node", "-1"], "--gpus-per-node"),
        (["--time", "tomorrow"], "--time"),
        (["--partition", "a b"], "--partition"),
    ],
)
def test_what_slurm_would_refuse(aurora: Call, tmp_path: Path, words: list[str], at: str) -> None:
    code, out, err = aurora("run", TINY, "--launch", "slurm", *words)
    assert (code, out) == (WRONG, "")
    assert f"  at: {at}\n" in err
    assert not (tmp_path / "store").exists()


def test_a_run_without_its_files_is_not_launched(aurora: Call, tmp_path: Path) -> None:
    code, _, err = aurora("run", TINY.parent / "aurora_m.toml", "--launch", "slurm")
    assert code == FAILED
    assert "error: no file matches `models/starcoderplus/*`" in err
    assert not (tmp_path / "store").exists()


def test_a_batch_file_is_the_users_and_holds_no_variable_that_the_job_does_not_need(
    aurora: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"STORE": "s", "WORKERS": "2", "ENGINE": "local", "THREADS": "3", "DEVICE": "cpu", "MICRO_BATCH": "4"}
    for name, value in {**settings, "TOKEN": "hunter2", "S3_SECRET": "hunter2", "STORE_KEY": "hunter2"}.items():
        monkeypatch.setenv(f"AURORA_{name}", value)
    before = os.umask(0)
    try:
        assert aurora("run", TINY, "--store", "s", "--launch", "slurm")[0] == DONE
    finally:
        os.umask(before)
    path = tmp_path / "s/slurm/tiny.sh"
    assert path.stat().st_mode & 0o777 == 0o600
    exported = [line.removeprefix("export AURORA_") for line in path.read_text().splitlines() if "export " in line]
    assert exported == sorted(f"{name}={value}" for name, value in settings.items())
    assert "hunter2" not in path.read_text()
