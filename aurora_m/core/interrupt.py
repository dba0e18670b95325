"""Ctrl-C, TERM and HUP: at any moment one line that says how to go on, and the signal's exit code, 130, 143 or 129."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

STOPPED = 128 + signal.SIGINT
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = "\x1b[?25h"  # a live bar hides it
AGAIN_S = 1.0  # sooner it is the same stop: a terminal signals the whole group, and torchrun passes signals on

_place = "aurora"  # what is being done now
_finishing = False  # the first signal only asks
_request: tuple[int, float] | None = None  # the signal, and when it was


def install() -> None:
    """Stop the process on these signals, unless whoever started it wants one ignored, as a shell does for `&`.

    The handler ends the process itself. A KeyboardInterrupt could be swallowed where an import or a destructor is
    interrupted; and one that passes through `exec` of a text, as in `dataclass` or `namedtuple`, makes the interpreter
    kill itself by SIGINT at its end, however well it was caught. Finished work is safe: a store survives `kill -9`.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


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
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def finishing() -> Iterator[None]:
    """Work that ends well by itself: the first signal asks it to, a second one ends it."""
    global _finishing
    _finishing = True
    try:
        yield
    finally:
        _finishing = False


def requested() -> bool:
    """Whether work that is `finishing` is to end now, by `stop`."""
    return _request is not None


def stop(what: str) -> NoReturn:
    """End the process as the signal would have, when what it asked for is done."""
    _say(f"{_place}, {what}")
    _end(_request[0] if _request else signal.SIGTERM)


def stop_if_requested(what: str) -> None:
    """End the process if a signal asked for it when there was nothing to finish any more."""
    if _request:
        stop(what)


def _stop(number: int, _frame: object) -> None:
    global _request
    if _finishing and _request is None:
        _request = number, time.monotonic()
        _write("\n  finishing this optimizer step and saving it; a second signal stops at once\n")
        return
    if _finishing and _request and time.monotonic() - _request[1] < AGAIN_S:
        return
    try:
        _say(_place)
    finally:  # also where nobody reads what is written, as in `aurora run 2>&1 | tee log`: the signal ends `tee`, too
        _end(number)


def _say(place: str) -> None:
    ignore()
    cursor = SHOW_CURSOR if os.isatty(2) else ""
    _write(f"{cursor}\nstopped in {place}; the same command goes on from here\n")


def _leads() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _write(text: str) -> None:
    if _leads():  # of the processes that torchrun started, one talks
        os.write(2, text.encode())


def _end(number: int) -> NoReturn:
    """Kill the workers and end; where multiprocessing is being imported, which raises here, there are none."""
    try:
        if "multiprocessing.process" in sys.modules:
            for child in sys.modules["multiprocessing.process"].active_children():
                child.kill()
    finally:
        os._exit(128 + number)


@contextmanager
def kept() -> Iterator[None]:
    """Put the handlers back that a library sets as it starts."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


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
