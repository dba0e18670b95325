"""Hostile programs are contained in each wall; honest ones pass."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from aurora_m.evals.sandbox import run as module
from aurora_m.evals.sandbox.run import Sandbox, is_tight, probe

PROJECT = Path(__file__).parents[3]

REACHES = {  # each statement must raise OSError
    "network": "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
    "local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "home": f"open({str(next(filter(Path.is_file, Path.home().iterdir()), PROJECT / 'pyproject.toml'))!r}).read()",
    "project": f"open({str(PROJECT / 'pyproject.toml')!r}).read()",
    "password file": "open('/etc/passwd').read()",
    "this process": f"open('/proc/{os.getpid()}/environ').read()",
    "write to usr": "open('/usr/new', 'w')",
    "write to root": "open('/new', 'w')",
    "write to the library": "import os; open(os.__file__, 'a')",
    "symlink": "import os; os.symlink('/etc/passwd', '/tmp/link'); open('/tmp/link').read()",
    "hard link": "import os; os.link('/etc/passwd', '/tmp/link')",
    "process": "import os; os.fork()",
    "program": "import os; os.execv('/bin/sh', ['sh'])",
    "signal": f"import os; os.kill({os.getpid()}, 9)",
    "mode": "import os; os.chmod('/usr', 0o777)",
    "limits of another": f"import resource; resource.prlimit({os.getpid()}, resource.RLIMIT_CPU, (1, 1))",
}


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each wall that can be put up on this machine; one that stands must hold."""
    return standing(request.param)


def standing(name: Literal["bubblewrap", "landlock"]) -> Sandbox:
    found = Sandbox(name)
    if (name == "bubblewrap" and not shutil.which("bwrap")) or not found.run("pass", 30).ok:
        pytest.skip(f"{name} does not start here")
    assert is_tight(found)
    return found


LEFT_ALONE = """
import os, subprocess, sys, threading, time
from pathlib import Path
from aurora_m.evals.sandbox.run import Sandbox
started = []
class Popen(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        started.append(self.pid)
subprocess.Popen = Popen
threading.Thread(target=Sandbox("landlock").run, args=("while True: __import__('time').sleep(9)", 999.0)).start()
while not started or "Seccomp:\\t2" not in Path("/proc", str(started[0]), "status").read_text():
    time.sleep(0.01)
print(started[0], flush=True)
os._exit(0)
"""


def test_a_program_ends_with_the_run_that_started_it() -> None:
    """A stop of the run ends its process at once: nobody is left who would end the program after its time."""
    standing("landlock")
    command = [sys.executable, "-c", LEFT_ALONE]
    printed = subprocess.run(
        command, capture_output=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    ).stdout
    end_s = time.monotonic() + 30
    while is_alive(int(printed)):
        assert time.monotonic() < end_s
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that nobody has taken leave of does not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_correct_code_passes(sandbox: Sandbox) -> None:
    imports = "import random, math, re, json, collections, datetime, decimal, hashlib, typing, dataclasses"
    assert sandbox.run(f"{imports}\nassert math.sqrt(4) == 2\nprint('ä')", 10).ok


@pytest.mark.parametrize("reach", REACHES)
def test_nothing_is_within_reach(sandbox: Sandbox, reach: str) -> None:
    code = f"try:\n    exec({REACHES[reach]!r})\nexcept OSError:\n    pass\nelse:\n    raise AssertionError('reached')"
    assert sandbox.run(code, 10) == module.Result(True)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("assert 1 == 2, 'wrong'", "AssertionError: wrong"),
        ("x = bytearray(3 * 10**9)", "MemoryError"),
        ("import os\nwhile True: os.fork()", "Operation not permitted"),
        ("import threading\nwhile True: threading.Thread(target=print).start()", "can't start new thread"),
        ("while True: pass", "no end after 1 s"),
        ("import time; time.sleep(60)", "no end after 1 s"),
        ("import os; os._exit(0)", "left before its end"),
        ("raise SystemExit", "left before its end"),
        ("def f(:", "SyntaxError"),
        ("f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(2**20))", "Error"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
    ],
)
def test_hostile_and_broken_code_is_contained(sandbox: Sandbox, code: str, why: str) -> None:
    began_s = time.monotonic()
    result = sandbox.run(code, 1)
    assert not result.ok
    assert why in result.why
    assert time.monotonic() - began_s < 5


def test_output_is_capped(sandbox: Sandbox) -> None:
    result = sandbox.run("print('x' * 10**8)", 10)
    assert not result.ok
    assert len(result.why) <= module.WHY_CHARS
    assert sandbox.run("print('x' * 10**5)", 10).ok


def test_tmp_is_capped() -> None:
    sandbox = standing("bubblewrap")
    code = "for n in range(1000): open(f'/tmp/{n}', 'wb').write(bytes(2**20 - 1))"
    assert "No space left" in sandbox.run(code, 10).why


def test_nothing_is_left_behind(sandbox: Sandbox) -> None:
    if sandbox.name == "bubblewrap":
        assert sandbox.run("open('/tmp/kept', 'w').write('x')", 10).ok
    assert not sandbox.run("open('/tmp/kept')", 10).ok


def test_runs_are_alike(sandbox: Sandbox) -> None:
    code = "raise Exception(list({'a', 'b', 'c', 'd', 'e'}))"
    assert len({sandbox.run(code, 10).why for _ in range(4)}) == 1


def test_without_a_wall_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "other")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was run"))
    assert probe() is None


def test_a_wall_that_lets_something_through_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANARY", "open(%(secret)r)  # %(folder)s")
    assert probe() is None


def test_the_first_wall_that_holds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_tight", lambda sandbox: sandbox.name == "landlock")
    assert probe() == Sandbox("landlock")
