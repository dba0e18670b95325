"""Run inside the wall: one process for the tests, one for the code that they test; the first alone has the verdict.

Standard input: a program as JSON. Standard output: {"ok", "why"}. Arguments: the address space in bytes and the
processor time in seconds of each of the two.

The second process begins before the program is read, and has nothing of the first but a pair of pipes: what it is told
is what the tests pass to its functions, and all that it can say is what these return.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

from aurora_m.evals.sandbox.candidate import serve
from aurora_m.evals.sandbox.jail import lock
from aurora_m.evals.sandbox.judge import judge, why
from aurora_m.evals.sandbox.wire import Pipe

NULL = 2  # standard error leads nowhere


def main() -> NoReturn:
    """Part, lock both doors, and judge."""
    memory_bytes, cpu_s = map(int, sys.argv[1:])
    (asks, asked), (replies, replied) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        for handle in (asked, replies):
            os.close(handle)
        os.dup2(NULL, 0)
        os.dup2(NULL, 1)
        lock(memory_bytes, cpu_s)
        serve(Pipe(asks, replied))
    for handle in (asks, replied):
        os.close(handle)
    verdict = os.dup(1)
    os.dup2(NULL, 1)
    with os.fdopen(0, "rb", closefd=False) as file:
        program = json.load(file)
    lock(memory_bytes, cpu_s)
    _judge(program, Pipe(replies, asked), child, verdict)


def _judge(program: Mapping[str, str], pipe: Pipe, child: int, verdict: int) -> NoReturn:
    def end(reason: str) -> NoReturn:
        os.write(verdict, json.dumps({"ok": not reason, "why": reason}).encode())
        os._exit(0)

    def lost() -> NoReturn:
        _, status = os.waitpid(child, 0)
        out_of_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        end("out of time" if out_of_time else "left before its end")

    try:
        judge(pipe, program, lost)
    except BaseException as error:
        end(why(error) or "an error")
    end("")


if __name__ == "__main__":
    main()
