"""Ctrl-C: at any moment one line that says how to go on, and exit code 130."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = 130
SHOW_CURSOR = "\x1b[?25h"  # a live bar hides it

_place = "aurora"  # what is being done now


def install() -> None:
    """Stop the process on SIGINT, unless whoever started it wants the signal ignored, as a shell does for `&`.

    The handler ends the process itself. A KeyboardInterrupt could be swallowed where an import or a destructor is
    interrupted; and one that passes through `exec` of a text, as in `dataclass` or `namedtuple`, makes the interpreter
    kill itself by SIGINT at its end, however well it was caught. Finished work is safe: a store survives `kill -9`.
    """
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def leave() -> None:
    """From here on SIGINT is the way to leave what goes on until then: all is well, and nothing is said."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _left)


def _left(_signal: int, _frame: object) -> None:
    ignore()
    try:
        if os.isatty(1):
            os.write(1, f"{SHOW_CURSOR}\n".encode())
    finally:
        os._exit(0)


def ignore() -> None:
    """From here on the process ends as it is about to; a late signal would only hide its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(_signal: int, _frame: object) -> None:
    ignore()
    try:
        if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, one talks
            cursor = SHOW_CURSOR if os.isatty(2) else ""
            os.write(2, f"{cursor}\nstopped in {_place}; the same command goes on from here\n".encode())
    finally:  # also where nobody reads what is written, as in `aurora run 2>&1 | tee log`: the signal ends `tee`, too
        _end()


def _end() -> None:
    """Kill the workers and end; where multiprocessing is being imported, which raises here, there are none."""
    try:
        if "multiprocessing.process" in sys.modules:
            for child in sys.modules["multiprocessing.process"].active_children():
                child.kill()
    finally:
        os._exit(STOPPED)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Name what is being done, for the line that a stop prints."""
    global _place
    before, _place = _place, place
    try:
        yield
    finally:
        _place = before


@contextmanager
def blocked() -> Iterator[None]:
    """Start processes that never see SIGINT, as it reaches a whole group at once; here it waits until afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
