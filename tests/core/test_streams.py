"""The standard streams under any locale: what cannot be written is escaped, and JSON stays JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "nämé \U0001f600"


def ended(*args: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """The command line under another locale."""
    command = [sys.executable, "-m", "aurora_m", *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(command, env=env, cwd="/", capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_locale_without_letters(locale: dict[str, str], tmp_path: Path) -> None:
    found = ended("show", NAME, "--json", "--store", str(tmp_path), **locale)
    assert found.returncode == 1
    if "PYTHONIOENCODING" in locale:
        assert json.loads(found.stdout)["error"] == f"no artifact is named `{NAME}`"
    assert b"n\\u00e4m\\u00e9 \\ud83d\\ude00" in found.stdout or b"\\udc" in found.stdout
    assert b"Traceback" not in found.stderr
    assert found.stderr.startswith(b"error: no artifact is named `n")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    found = ended("show", os.fsdecode(b"\xff"), "--json", "--store", str(tmp_path), PYTHONUTF8="1")
    assert ascii(json.loads(found.stdout)["error"]) == ascii("no artifact is named `\\udcff`")  # errors hide nothing
    assert found.stderr.startswith(b"error: no artifact is named `\\udcff`\n")


def test_nothing_can_be_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aurora_m", "show", "--json", "--store", str(tmp_path)]
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert found.returncode == 1
    assert found.stderr.decode().splitlines() == [
        "error: the disk is full",
        "  at: aurora show",
        "",
        "hint: free some space there, or write to another disk; the run goes on from what is finished",
    ]
