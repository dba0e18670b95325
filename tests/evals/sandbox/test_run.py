"""Hostile programs are contained; none passes that is wrong; honest ones pass."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_m.evals.sandbox import run as module
from aurora_m.evals.sandbox.run import Program, Result, run, wall

PROJECT = Path(__file__).parents[3]

needs_wall = pytest.mark.skipif(wall() is None, reason="bubblewrap does not hold here: nothing is run")


def code(text: str, cpu_s: int = 10, wait_s: float = 60) -> Result:
    """Run code without tests."""
    return run(Program("", text, "", ""), cpu_s, wait_s)


REACHES = {  # each statement must raise OSError
    "network": "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
    "local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "home": f"open({str(next(filter(Path.is_file, Path.home().iterdir()), PROJECT / 'pyproject.toml'))!r}).read()",
    "project": f"open({str(PROJECT / 'pyproject.toml')!r}).read()",
    "installed packages": f"open({pytest.__file__!r})",
    "Aurora's answers": f"import os; os.listdir({str(PROJECT / 'aurora_m/sample')!r})",
    "password file": "open('/etc/passwd').read()",
    "this process": f"open('/proc/{os.getpid()}/environ').read()",
    "its own memory": "open('/proc/self/mem').read()",
    "its own descriptors": "import os; os.listdir('/proc/self/fd')",
    "write to usr": "open('/usr/new', 'w')",
    "write to root": "open('/new', 'w')",
    "write to the library": "import os; open(os.__file__, 'a')",
    "write to the sandbox": "open('/jail/new', 'w')",
    "symlink": "import os; os.symlink('/etc/passwd', '/tmp/link'); open('/tmp/link').read()",
    "hard link": "import os; os.link('/etc/passwd', '/tmp/link')",
    "process": "import os; os.fork()",
    "program": "import os; os.execv('/bin/sh', ['sh'])",
    "signal": f"import os; os.kill({os.getpid()}, 9)",
    "signal to its parent": "import os; os.kill(os.getppid(), 9)",
    "signal by descriptor": "import fcntl, os; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
    "mode": "import os; os.chmod('/usr', 0o777)",
    "limits of another": f"import resource; resource.prlimit({os.getpid()}, resource.RLIMIT_CPU, (1, 1))",
}


@needs_wall
@pytest.mark.parametrize("reach", REACHES)
def test_nothing_is_within_reach(reach: str) -> None:
    text = f"try:\n    exec({REACHES[reach]!r})\nexcept OSError:\n    pass\nelse:\n    raise AssertionError('reached')"
    assert code(text) == Result(True)
    assert run(Program("", "", "", text)) == Result(True)  # in the process of the tests, too


OWNED = """
import fcntl, os
reads, writes = os.pipe()
for command, value in ((fcntl.F_SETOWN, VICTIM), (getattr(fcntl, "F_SETSIG", 10), 9), (fcntl.F_SETFL, os.O_ASYNC)):
    try: fcntl.fcntl(reads, command, value)
    except OSError: pass
os.write(writes, b"x")
"""


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this user."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


@needs_wall
def test_no_descriptor_sends_a_signal(victim: "subprocess.Popen[bytes]") -> None:
    assert code(OWNED.replace("VICTIM", str(victim.pid))).ok
    with pytest.raises(subprocess.TimeoutExpired):
        victim.wait(0.3)


LEFT_ALONE = """
import os, subprocess, threading, time
from aurora_m.evals.sandbox import run
started = []
class Popen(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        started.append(self.pid)
subprocess.Popen = Popen
program = run.Program("", "while True: __import__('time').sleep(9)", "", "")
threading.Thread(target=run.run, args=(program, 99, 999.0)).start()
while not started:
    time.sleep(0.01)
time.sleep(0.5)
print(started[0], flush=True)
os._exit(0)
"""


@needs_wall
def test_a_program_ends_with_the_run_that_started_it() -> None:
    """A stop of the run ends its process at once: nobody is left who would end the program after its time."""
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


@needs_wall
def test_correct_code_passes() -> None:
    imports = "import random, math, re, json, collections, datetime, decimal, hashlib, typing, dataclasses"
    assert code(f"{imports}\nassert math.sqrt(4) == 2\nprint('ä')").ok


@needs_wall
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("assert 1 == 2, 'wrong'", "AssertionError: wrong"),
        ("x = bytearray(3 * 10**9)", "MemoryError"),
        ("import os\nwhile True: os.fork()", "Operation not permitted"),
        ("import threading\nwhile True: threading.Thread(target=print).start()", "can't start new thread"),
        ("while True: pass", "no end after 1 s of processor time"),
        ("import signal; signal.signal(signal.SIGXCPU, print)\nwhile True: pass", "no end after 1 s of processor time"),
        ("import time; time.sleep(60)", "no end after 2 s"),
        ("import os; os._exit(0)", "left before its end"),
        ("import os, signal; os.abort()", "left before its end"),
        ("raise SystemExit", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(2**20))", "Error"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
        ("class Odd(Exception): pass\nraise Odd('x' * 1000)", "Odd: xxx"),
        ("while True: print('x' * 10**6)", "MemoryError"),
    ],
)
def test_hostile_and_broken_code_is_contained(text: str, why: str) -> None:
    result = code(text, 5 if "print(" in text else 1, 2 if "sleep" in text else 60)
    assert not result.ok
    assert why in result.why
    assert len(result.why) <= 200
    assert result.late == ("sleep" in text)


@needs_wall
def test_tests_that_do_not_end_are_ended() -> None:
    assert run(Program("", "", "", "while True: pass"), 1) == Result(False, "no end after 1 s of processor time")


@needs_wall
def test_tmp_is_capped() -> None:
    text = "for n in range(1000): open(f'/tmp/{n}', 'wb').write(bytes(2**20 - 1))"
    assert "No space left" in code(text).why


@needs_wall
def test_nothing_is_left_behind() -> None:
    assert code("open('/tmp/kept', 'w').write('x')").ok
    assert not code("open('/tmp/kept')").ok


@needs_wall
def test_runs_are_alike() -> None:
    assert len({code("raise Exception(list({'a', 'b', 'c', 'd', 'e'}))").why for _ in range(4)}) == 1


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was run"))
    assert not module.is_tight()


@pytest.mark.parametrize("open_to", ["code", "tests"])
@needs_wall
def test_a_wall_that_lets_something_through_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_to: str
) -> None:
    """Here the secret stands in a folder that Python may read."""
    attempt = "open(%(secret)r)  # %(folder)s"
    barred = f"try: {attempt}\nexcept OSError: pass\nelse: raise AssertionError"
    run_once = module.run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def tried(program: Program) -> Result:
        given = {"code": "", "tests": ""} | {open_to: program.code}
        return run_once(Program("", given["code"], "", given["tests"]))

    monkeypatch.setattr(module, "run", tried)
    monkeypatch.setattr(module, "CANARY", barred)
    assert module.is_tight()
    monkeypatch.setattr(module, "_readable", lambda: [*original(), str(tmp_path)])
    assert not module.is_tight()


original, paths = module._readable, sysconfig.get_path


@needs_wall
def test_packages_and_the_project_are_hidden_within_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both may lie below a folder that Python needs: its answers are there."""
    library, answers = tmp_path / "lib", "aurora_m/sample/evals/code.jsonl"
    places = [library / "python3/dist-packages", library / "python3.12/site-packages", library / "project"]
    for place in places:
        (place / answers).parent.mkdir(parents=True)
        (place / answers).write_text("{}")
    (library / "open").write_text("")
    monkeypatch.setattr(module, "_readable", lambda: [*original(), str(library)])
    monkeypatch.setattr(module, "PACKAGE", library / "project/aurora_m")
    text = f"import os\nopen({str(library / 'open')!r})\nfor place in {[*map(str, places)]!r}:\n"
    assert code(f"{text}    assert os.listdir(place) == []\n    try: os.mkdir(place + '/new')\n"
                "    except OSError: pass\n    else: raise AssertionError") == Result(True)  # fmt: skip


@needs_wall
@pytest.mark.parametrize("installed", [True, False])
def test_a_wall_that_shows_packages_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool
) -> None:
    monkeypatch.setattr(module, "_readable", lambda: [*original(), str(tmp_path)])
    shown = tmp_path / "site-packages/aurora_m"
    shown.mkdir(parents=True)
    (shown / "answers").write_text("")
    if installed:
        monkeypatch.setattr("sysconfig.get_path", lambda kind, **more: str(shown.parent) if not more else paths(kind))
    else:
        monkeypatch.setattr(module, "PACKAGE", shown)
    assert module.is_tight()
    module._view.cache_clear()
    monkeypatch.setattr(module, "_hidden", lambda places: [])
    assert not module.is_tight()
    module._view.cache_clear()


@needs_wall
def test_load_does_not_end_a_program_sooner() -> None:
    """What a program gets is processor time: stopped for longer than that, it still passes."""
    command = f"{sys.executable} -c 'while True: pass'"
    busy = [subprocess.Popen(command, shell=True, start_new_session=True) for _ in range(4)]
    try:
        assert code("import time\nwhile time.process_time() < 0.7: pass", 1).ok
    finally:
        for process in busy:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
