"""What libraries and the system raise, panics too, as errors that people can read."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pickle import dumps, loads
from typing import TypeVar

from aurora_m.core.address import without_secrets
from aurora_m.core.errors import AuroraError, DataError

WORDS_CHARS = 200  # of what a library says, inside an error of ours
FAULT_CHARS = 400
_ROOM = "free some space there, or write to another disk; the run goes on from what is finished"
_FILES = "raise the limit, as with `ulimit -n 4096`, or use fewer --workers"
# What the machine runs out of or breaks: never the fault of the file that is being read.
SYSTEM: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EROFS: ("the disk is read-only", "write to another disk"),
    errno.EIO: ("the disk cannot be read or written (EIO)", "look at the disk, and put the files on another one"),
    errno.ESTALE: ("a file was replaced on its server while it was open", "run again"),
    errno.ENFILE: ("too many files are open in the whole system", _FILES),
    errno.EMFILE: ("too many files are open", _FILES),  # after the one whose words hold these
}
_MEMORY = ("allocate memory", "out of memory", "bad_alloc")  # so torch, Arrow and C++ say it

Task = TypeVar("Task")
Result = TypeVar("Result")


class Panic(Exception):
    """A panic in a worker: the library's own exception cannot be pickled."""


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up: its exception stands outside of `Exception`."""
    return isinstance(error, Panic) or type(error).__name__ == "PanicException"


def words_of(error: BaseException, most: int = WORDS_CHARS) -> str:
    """What an error says, in one line, without secrets, of which a cut would leave halves; its kind if it is mute."""
    return " ".join(without_secrets(str(error)).split())[:most] or type(error).__name__


@contextmanager
def translated(what: str, at: str, hint: str) -> Iterator[None]:
    """Let a library read what somebody brought: whatever it raises becomes one DataError, a panic too.

    What the machine lacks, room or memory, is not the file's fault and goes through.
    """
    try:
        yield
    except AuroraError:
        raise
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)) or of_system(error):
            raise
        raise DataError(f"{what}: {words_of(error)}", at=at, hint=hint) from error


@contextmanager
def quiet_panics() -> Iterator[None]:
    """Hold back what Rust writes to the process's stderr when it panics: the error says it. Only for short calls."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def guarded(task: Task, *, fn: Callable[[Task], Result]) -> Result:
    """Call a function of a shard task; what it raises can be pickled, or it would end its worker without a word."""
    try:
        return fn(task)
    except BaseException as error:
        if is_panic(error):
            raise Panic(words_of(error)) from None
        if isinstance(error, Exception) and not _pickles(error):
            raise RuntimeError(f"{type(error).__name__}: {words_of(error)}") from None
        raise


def _pickles(error: Exception) -> bool:
    try:
        return type(loads(dumps(error))) is type(error)  # noqa: S301  # our own, from this very process
    except Exception:
        return False


def readable(error: BaseException, at: str) -> AuroraError:
    """Any error as one that people can read: our own as it is, the machine's, a file's, or a fault of ours."""
    if isinstance(error, AuroraError):
        return error
    if found := of_system(error):
        return AuroraError(found[0], at=_file_of(error) or at, hint=found[1])
    if isinstance(error, OSError) and error.strerror:
        return _of_file(error, at)
    if is_panic(error):
        hint = "look at the files that are read there: one of them is damaged"
        return DataError(f"a library gave up on what it was given: {words_of(error)}", at=at, hint=hint)
    what = f"an unexpected error: {type(error).__name__}: {words_of(error, FAULT_CHARS)}"[:FAULT_CHARS]
    return AuroraError(what, at=at, hint="this is a fault of Aurora; run again with --debug for the traceback")


def of_system(error: BaseException) -> tuple[str, str] | None:
    """What the machine ran out of, if an error or one behind it says so."""
    behind: BaseException | None = error
    while behind is not None:
        text = str(behind)
        number = getattr(behind, "errno", None)
        for known, words in SYSTEM.items():
            if number == known or (number is None and os.strerror(known) in text):
                return words
        if isinstance(behind, MemoryError) or any(words in text for words in _MEMORY):
            hint = "use a smaller --micro-batch, fewer --workers, or a machine with more memory"
            return "there is not enough memory", hint
        behind = behind.__cause__ or behind.__context__
    return None


def _file_of(error: BaseException) -> str:
    return str(getattr(error, "filename", None) or "")


def _of_file(error: OSError, at: str) -> AuroraError:
    """A file that cannot be used; or the working directory, which is in no error of the system's."""
    assert error.strerror
    if not error.filename and error.errno == errno.ENOENT and _homeless():
        hint = "change into a folder that is there"
        return AuroraError("the working directory is not there any more", at=os.environ.get("PWD", at), hint=hint)
    hint = "check that the path is right and that you may read and write it"
    return AuroraError(error.strerror.lower(), at=_file_of(error) or at, hint=hint)


def _homeless() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False
