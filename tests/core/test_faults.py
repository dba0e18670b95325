"""What libraries and the system raise becomes one error that people can read; what is ours stays a fault of ours."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from aurora_m.core.errors import AuroraError, DataError
from aurora_m.core.faults import SYSTEM, WORDS_CHARS, Panic, guarded, quiet_panics, readable, translated, words_of


class PanicException(BaseException):
    """As PyO3 raises it: outside of `Exception`, of a module that cannot be imported."""


class Unpicklable(Exception):
    """It can be made with two words only, which pickle does not know."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


FAULT = "this is a fault of Aurora; run again with --debug for the traceback"


@pytest.mark.parametrize("number", SYSTEM)
def test_what_the_machine_lacks_is_said_with_or_without_a_file(number: int) -> None:
    for error in (OSError(number, os.strerror(number)), RuntimeError(f"in Rust: {os.strerror(number)} (os error 0)")):
        shown = readable(error, "step fetch.fi")
        assert (shown.what, shown.at, shown.hint) == (SYSTEM[number][0], "step fetch.fi", SYSTEM[number][1])
    assert readable(OSError(number, os.strerror(number), "a.txt"), "step x").at == "a.txt"
    behind = ValueError("a library's own words")
    behind.__cause__ = OSError(number, os.strerror(number))
    assert readable(behind, "step x").what == SYSTEM[number][0]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), OSError(12, "x")]
)
def test_memory_that_is_not_there(error: Exception) -> None:
    text = "there is not enough memory" if not isinstance(error, OSError) else "x"
    assert readable(error, "step cap").what == text


def test_files_that_cannot_be_used() -> None:
    shown = readable(OSError(errno.EACCES, "Permission denied", "/a/b"), "aurora run")
    assert (shown.what, shown.at) == ("permission denied", "/a/b")
    shown = readable(OSError(errno.EPERM, "Operation not permitted"), "step x")
    assert (shown.what, shown.at) == ("operation not permitted", "step x")


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = OSError(errno.ENOENT, "No such file or directory")
    assert readable(gone, "aurora plan").what == "no such file or directory"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.setenv("PWD", "/was/here")
    (tmp_path / "gone").rmdir()
    shown = readable(gone, "aurora plan")
    assert (shown.what, shown.at) == ("the working directory is not there any more", "/was/here")


def test_a_panic_is_an_error_of_ours_and_a_fault_a_fault() -> None:
    shown = readable(PanicException("called `Result::unwrap()`\non an `Err` value"), "step shards.en")
    assert shown.what == "a library gave up on what it was given: called `Result::unwrap()` on an `Err` value"
    assert (shown.at, type(shown)) == ("step shards.en", DataError)
    shown = readable(KeyError("x"), "step cap")
    assert (shown.what, shown.at, shown.hint) == ("an unexpected error: KeyError: 'x'", "step cap", FAULT)
    own = AuroraError("what", at="where", hint="do")
    assert readable(own, "step x") is own


@pytest.mark.parametrize("error", [ValueError("two\nlines"), PanicException("two\nlines"), KeyError()])
def test_what_a_library_raises_while_it_reads(error: BaseException) -> None:
    with pytest.raises(DataError) as caught, translated("the base is damaged", "file:base", "copy it"):
        raise error
    words = "two lines" if error.args else "KeyError"
    assert (caught.value.what, caught.value.at) == (f"the base is damaged: {words}", "file:base")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), MemoryError(), KeyboardInterrupt(), SystemExit(3)])
def test_what_is_not_the_files_fault_goes_through(error: BaseException) -> None:
    with pytest.raises(type(error)), translated("the base is damaged", "file:base", "copy it"):
        raise error
    own = DataError("what", at="where", hint="do")
    with pytest.raises(DataError, match="what"), translated("x", "y", "z"):
        raise own


def panics(task: str) -> str:
    raise PanicException(task)


def cannot_be_pickled(task: str) -> str:
    raise Unpicklable(task, "b")


def own_error(task: str) -> str:
    raise DataError(task, at="line 3", hint="mend it")


def test_a_worker_can_send_whatever_was_raised() -> None:
    assert guarded("a", fn=str.upper) == "A"
    for fn, kind in ((panics, Panic), (cannot_be_pickled, RuntimeError), (own_error, DataError)):
        with pytest.raises(kind, match="a") as caught:
            guarded("a", fn=fn)
        assert type(pickle.loads(pickle.dumps(caught.value))) is kind
    assert readable(Panic("a"), "step x").what == "a library gave up on what it was given: a"


def test_half_an_address_tells_no_password() -> None:
    error = ValueError(f"{'.' * (WORDS_CHARS - 19)} https://u:hunter2@h/x")
    assert words_of(error) == f"{'.' * (WORDS_CHARS - 19)} https://h/x"


def test_what_rust_writes_to_stderr_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_panics():
        os.write(2, b"thread panicked at x.rs\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
