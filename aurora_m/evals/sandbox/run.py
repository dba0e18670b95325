"""Run Python code that nobody has read, and tests of it: no network, no files of this machine, little memory.

The wall is bubblewrap: namespaces of its own, an empty file system with Python in it, and 64 MiB at /tmp. Within it
`trial.py` runs the tests in one process and the code in another, each under limits and a seccomp filter, which hold for
root too. Where the wall does not hold, nothing is run. docs/sandbox.md says what a pass proves.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]  # with sample items and their answers
MEMORY_BYTES = 2**30
TMP_BYTES = 64 * 2**20
INSTALLED = ("site-packages", "dist-packages")  # folders of packages, wherever they are
CPU_S = 10  # of processor time for one program, which load does not change; the shipped solutions take about 0.1 s
WAIT_S = 60.0  # on a busy machine the time on the wall is longer; the code may also sleep
VERDICT_BYTES = 4096

HINT = "install bubblewrap (apt-get install bubblewrap), and let the user who runs Aurora start `bwrap`"

# `secret` is a file of this machine that no wall may let through, and in `packages` lie the answers
CANARY = """
import fcntl, os, random, socket
def barred(act, *args):
    try: act(*args)
    except OSError: return
    raise AssertionError(f"{act} was let through")
barred(os.fork)
barred(socket.socket)
barred(open, %(secret)r)
barred(os.listdir, %(folder)r)
for place in %(packages)r:
    assert not os.path.isdir(place) or not os.listdir(place), f"{place} was let through"
barred(open, %(folder)r + "/new", "w")
barred(os.kill, 1, 0)
for command in (fcntl.F_SETOWN, fcntl.F_SETSIG):
    barred(fcntl.fcntl, os.pipe()[0], command, 1)
barred(fcntl.ioctl, os.pipe()[0], 0x5452, b"\\1\\0\\0\\0")
assert os.geteuid() != 0
"""


@dataclass(frozen=True)
class Program:
    """Code that goes on from a prompt, and what says whether it is right."""

    prompt: str
    code: str
    solution: str  # also goes on from the prompt, and is right
    tests: str  # Python that raises unless the code is right


@dataclass(frozen=True)
class Result:
    """Whether a program's tests came to their end, or why not; `late`: they were still running after `WAIT_S`."""

    ok: bool
    why: str = ""
    late: bool = False


@dataclass(frozen=True)
class Wall:
    """What programs run behind, and in which Python: both decide what passes."""

    name: str
    python: str


def run(program: Program, cpu_s: int = CPU_S, wait_s: float = WAIT_S) -> Result:
    """Run one program within the wall."""
    given = json.dumps(asdict(program)).encode()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*_bubblewrap(), str(MEMORY_BYTES), str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=_ENV,
            cwd="/",
            start_new_session=True,
        )
        try:
            process.communicate(given, wait_s)
        except subprocess.TimeoutExpired:
            return Result(False, f"no end after {wait_s:g} s", late=True)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read(VERDICT_BYTES)
    if not said:
        out_of_time = process.returncode in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)
        return Result(False, _OUT_OF_TIME.format(cpu_s) if out_of_time else "the sandbox did not start")
    found = json.loads(said)
    return Result(found["ok"], _OUT_OF_TIME.format(cpu_s) if found["why"] == "out of time" else found["why"])


_OUT_OF_TIME = "no end after {} s of processor time"


@cache
def wall() -> Wall | None:
    """The wall of this machine, tried with a program that attempts to get out; None where it does not hold."""
    return Wall("bubblewrap", f"{sys.version_info.major}.{sys.version_info.minor}") if is_tight() else None


def is_tight() -> bool:
    """Whether the sandbox starts here, and keeps in code and tests that attempt to get out."""
    if sys.platform != "linux" or not shutil.which("bwrap"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder, "secret")
        secret.write_text("not for the sandbox")
        packages = [str(PACKAGE), *(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))]
        attempt = CANARY % {"secret": str(secret), "folder": folder, "packages": packages}
        return run(Program("", attempt, "", attempt)).ok


_ENV = {"PYTHONHASHSEED": "0", "PYTHONPATH": "/jail"}  # sets in the same order every time


def _readable() -> list[str]:
    """What Python needs in order to start: itself, its library (not a virtual environment's), and the system's."""
    shared = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    base = {"installed_base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    library = [sysconfig.get_path(kind, vars=base) for kind in ("stdlib", "platstdlib")]
    system = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/lib", "/lib64"]
    places = [*system, os.path.realpath(sys.executable), *library, str(shared)]
    return [place for place in dict.fromkeys(places) if os.path.exists(place)]


def _hidden(places: Iterable[str]) -> Iterator[str]:
    """What of places stays empty: packages that somebody installed, and all that lies beside Aurora's own."""
    project = os.path.realpath(PACKAGE.parent)
    for place in places:
        for folder, names, _ in os.walk(place):
            for name in [*names]:
                path = os.path.join(folder, name)
                beside = name == os.path.basename(project) and os.path.realpath(path) == project
                if (name in INSTALLED or beside) and not os.path.islink(path):
                    names.remove(name)
                    yield path


@cache
def _view(places: tuple[str, ...]) -> list[str]:
    """The arguments that show places, read-only."""
    shown = [part for place in places for part in ("--ro-bind", place, place)]
    return shown + [part for place in _hidden(places) for part in ("--tmpfs", place, "--remount-ro", place)]


def _bubblewrap() -> list[str]:
    inside = __package__.replace(".", "/")
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-all", "--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent"),
        *("--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
        *_view(tuple(_readable())),
        *("--ro-bind", str(HERE), f"/jail/{inside}", "--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108
        *(os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-X", "utf8", "-m", f"{__package__}.trial"),
    ]
