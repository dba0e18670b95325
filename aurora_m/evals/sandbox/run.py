"""Run Python code that nobody has read: no network, no files of this machine, little memory, no processes.

Two walls, the first that holds here is used, and where neither holds nothing is run:
- bubblewrap: namespaces of its own, an empty file system with Python in it and 64 MiB at /tmp;
- landlock: the kernel lets the process read Python and write nowhere.
Within either, `jail.py` sets limits and a seccomp filter, which hold for root too. The walls guard this machine; they
do not stop code that is out to fake the result of its own tests.
"""

import math
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

JAIL = Path(__file__).with_name("jail.py")
MEMORY_BYTES = 2**30
TMP_BYTES = 64 * 2**20
PROBE_TIMEOUT_S = 30.0
WHY_CHARS = 200

# `secret` is a file of this machine that no wall may let through
CANARY = """
import os, random, socket
def barred(act, *args):
    try: act(*args)
    except OSError: return
    raise AssertionError(f"{act} was let through")
barred(os.fork)
barred(socket.socket)
barred(open, %(secret)r)
barred(os.listdir, %(folder)r)
barred(open, %(folder)r + "/new", "w")
barred(os.kill, 1, 0)
assert os.geteuid() != 0
"""


@dataclass(frozen=True)
class Result:
    """How a program ended: at its end without an exception, or why not."""

    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Sandbox:
    """A wall that was tried and held."""

    name: Literal["bubblewrap", "landlock"]

    def run(self, code: str, timeout_s: float) -> Result:
        """Run one program; its output past 1 MiB is an error of the program."""
        data, token = code.encode("utf-8", "surrogatepass"), secrets.token_hex(32).encode()
        limits = [str(MEMORY_BYTES), str(math.ceil(timeout_s) + 1)]
        command = _bubblewrap(limits) if self.name == "bubblewrap" else _landlock(limits)
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=_ENV, cwd="/", start_new_session=True
            )
            try:
                process.communicate(b"%d\n" % len(data) + data + token, timeout_s)
            except subprocess.TimeoutExpired:
                return Result(False, f"no end after {timeout_s:g} s")
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            printed = output.read()
        if process.returncode == 0 and printed.endswith(b"\n" + token):
            return Result(True)
        return Result(False, _last_line(printed) or "left before its end")


def probe() -> Sandbox | None:
    """The first wall that holds on this machine, tried with a program that attempts to get out; else None."""
    for sandbox in (Sandbox("bubblewrap"), Sandbox("landlock")):
        if is_tight(sandbox):
            return sandbox
    return None


def is_tight(sandbox: Sandbox) -> bool:
    """Whether the sandbox starts here and keeps a program in that attempts to get out."""
    if sys.platform != "linux" or (sandbox.name == "bubblewrap" and not shutil.which("bwrap")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder, "secret")
        secret.write_text("not for the sandbox")
        return sandbox.run(CANARY % {"secret": str(secret), "folder": folder}, PROBE_TIMEOUT_S).ok


_ENV = {"PYTHONHASHSEED": "0"}  # sets in the same order every time


def _python(jail: str) -> list[str]:
    return [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-X", "utf8", jail]


def _readable() -> list[str]:
    """What Python needs in order to start: itself, its library, and the system's libraries."""
    library = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    paths = [os.path.realpath(sys.executable), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    places = ["/usr", "/lib", "/lib64", *paths, str(library)]
    return [place for place in dict.fromkeys(places) if os.path.exists(place)]


def _bubblewrap(limits: list[str]) -> list[str]:
    binds = [part for place in _readable() for part in ("--ro-bind", place, place)]
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-all", "--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent"),
        *("--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
        *binds,
        *("--ro-bind", str(JAIL), "/jail.py", "--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108
        *_python("/jail.py"),
        *limits,
    ]


def _landlock(limits: list[str]) -> list[str]:
    return [*_python(str(JAIL)), *limits, *_readable()]


def _last_line(printed: bytes) -> str:
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1][:WHY_CHARS] if lines else ""
