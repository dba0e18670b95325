"""Signals: one line, 130 and the like, and no worker left that says anything, however the run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_m.core.interrupt import STOPPED
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.core.tasks import map_shards

HOUSE = Path(__file__).parents[2]
WORKERS = 2
PROGRAM = """
import sys
from pathlib import Path
from aurora_m.core import interrupt
from tests.core.test_interrupt import spread
if __name__ == "__main__":
    interrupt.install()
    with interrupt.at("step spread"):
        spread(Path(sys.argv[1]))
"""


def endless(task: int) -> int:
    """Say who does it, then run until it is ended."""
    os.write(1, f"{os.getpid()}\n".encode())
    while True:
        signal.pause()


def spread(folder: Path) -> None:
    list(map_shards(Work(folder, folder, Runtime(folder, workers=WORKERS), Log(quiet=True)), endless, [0, 1], "tasks"))


def start(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("to_all", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_the_run_and_say_nothing(tmp_path: Path, number: signal.Signals, to_all: bool) -> None:
    """A terminal sends to the whole group; what ends nothing but the run leaves no worker either."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = start(str(program), str(tmp_path))
    assert run.stdout
    assert len({run.stdout.readline() for _ in range(WORKERS)}) == WORKERS
    (os.killpg if to_all else os.kill)(run.pid, number)
    stdout, stderr = run.communicate(timeout=60)  # until each worker has ended, too: they share the pipes
    assert stdout == ""
    if number == signal.SIGKILL:
        assert (run.returncode, stderr) == (-number, "")
    else:
        line = "\nstopped in step spread; the same command goes on from here\n"
        assert (run.returncode, stderr) == (128 + number, line)


def test_a_worker_ends_when_its_parents_pipe_does() -> None:
    """Where the kernel does not see to it."""
    code = (
        "import os, threading, time; from aurora_m.core.tasks import _end_after\n"
        "reads, writes = os.pipe(); threading.Thread(target=_end_after, args=(reads,)).start()\n"
        "print('there', flush=True); os.close(writes); time.sleep(60)\n"
    )
    run = start("-c", code)
    assert run.communicate(timeout=30) == ("there\n", "")
    assert run.returncode == 1


FINISHING = """
import os, signal, time
from aurora_m.core import interrupt
interrupt.install()
with interrupt.at("step cap"), interrupt.finishing():
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.requested()
    os.kill(os.getpid(), signal.SIGTERM)  # of the same moment
    print("goes on", flush=True)
    %s
"""
NOTE = "\n  finishing this optimizer step and saving it; a second signal stops at once\n"


@pytest.mark.parametrize(
    ("then", "where"),
    [
        ("interrupt.AGAIN_S = 0.0; os.kill(os.getpid(), signal.SIGINT); signal.pause()", "step cap"),
        ("interrupt.stop('saved after step 3')", "step cap, saved after step 3"),
        ("interrupt.stop_if_requested('after all')", "step cap, after all"),
    ],
)
def test_work_that_ends_well_by_itself_is_asked_first(then: str, where: str) -> None:
    run = start("-c", FINISHING % then)
    wanted = f"{NOTE}\nstopped in {where}; the same command goes on from here\n"
    assert run.communicate(timeout=60) == ("goes on\n", wanted)
    assert run.returncode == (STOPPED if "SIGINT" in then else 128 + signal.SIGTERM)


def test_handlers_that_a_library_sets_are_put_back() -> None:
    code = (
        "import os, signal; from aurora_m.core import interrupt; interrupt.install()\n"
        "with interrupt.kept(): signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    run = start("-c", code)
    assert run.communicate(timeout=60) == ("", "\nstopped in aurora; the same command goes on from here\n")
    assert run.returncode == 128 + signal.SIGTERM


def test_an_interrupt_inside_exec_ends_like_any_other() -> None:
    """There a KeyboardInterrupt, though caught, makes the interpreter end itself by the signal."""
    code = (
        "import os, signal; from aurora_m.core import interrupt; interrupt.install()\n"
        "try: exec('os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass')\n"
        "except BaseException: print('caught')\n"
    )
    run = start("-c", code)
    assert run.communicate(timeout=60) == ("", "\nstopped in aurora; the same command goes on from here\n")
    assert run.returncode == STOPPED


def test_who_asked_to_ignore_the_signal_is_not_stopped() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from aurora_m.core import interrupt; interrupt.install()\n"
        "os.kill(os.getpid(), signal.SIGINT); print('goes on')\n"
    )
    run = start("-c", code)
    assert run.communicate(timeout=60) == ("goes on\n", "")
    assert run.returncode == 0


def test_only_the_first_of_several_processes_talks() -> None:
    code = (
        "import os, signal; from aurora_m.core import interrupt; interrupt.install()\n"
        "os.environ['RANK'] = '1'; os.kill(os.getpid(), signal.SIGINT)\nwhile True: pass\n"
    )
    run = start("-c", code)
    assert run.communicate(timeout=60) == ("", "")
    assert run.returncode == STOPPED


def test_where_nobody_reads_stderr_the_code_is_the_same() -> None:
    """In `aurora run 2>&1 | tee log` the signal ends `tee`, too."""
    code = (
        "import os, signal; from aurora_m.core import interrupt; interrupt.install()\n"
        "end, start = os.pipe(); os.close(end); os.dup2(start, 2)\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BrokenPipeError: os._exit(1)\n"
    )
    run = start("-c", code)
    assert (run.communicate(timeout=60), run.returncode) == (("", ""), STOPPED)


def test_what_goes_on_until_it_is_left_ends_well() -> None:
    code = (
        "import os, signal; from aurora_m.core import interrupt; interrupt.install(); interrupt.leave()\n"
        "exec('os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass')\n"
    )
    run = start("-c", code)
    assert (run.communicate(timeout=60), run.returncode) == (("", ""), 0)


def test_who_asked_to_ignore_the_signal_does_not_leave() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from aurora_m.core import interrupt; interrupt.leave()\n"
        "os.kill(os.getpid(), signal.SIGINT); print('goes on')\n"
    )
    run = start("-c", code)
    assert (run.communicate(timeout=60), run.returncode) == (("goes on\n", ""), 0)


def test_a_stop_while_multiprocessing_is_imported_says_its_line() -> None:
    half = "sys.modules['multiprocessing.process'] = types.ModuleType('half')"  # as it stands before it was executed
    program = f"import os, signal, sys, types\nfrom aurora_m.core import interrupt\ninterrupt.install()\n{half}\n"
    run = start("-c", f"{program}os.kill(os.getpid(), signal.SIGINT)\nsignal.pause()")
    stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (STOPPED, "")
    assert stderr == "\nstopped in aurora; the same command goes on from here\n"
