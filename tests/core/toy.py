"""Toy step functions, which tests and their child processes install as `aurora_m.toy`.

As a script, `python toy.py STORE CODE` runs CODE with this module in place: a child that may be killed.
"""

import json
import os
import signal
import sys
import textwrap
from pathlib import Path

from aurora_m.core.canon import JSON
from aurora_m.core.files import read_json, write_json
from aurora_m.core.log import Log
from aurora_m.core.run import run
from aurora_m.core.step import Artifact, Facts, Runtime, Step, Work

SLICES = 3


def die() -> None:
    """End this process as `kill -9` does: nothing is caught, nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def number(work: Work, *, value: int) -> Facts:
    """A source: one file with one number."""
    write_json(work.out / "number.json", value)
    return {"value": value}


def parity(work: Work, *, given: Artifact) -> Facts:
    """A step whose bytes often stay the same when its input changes."""
    write_json(work.out / "number.json", read_json(given.path / "number.json") % 2)
    return {}


def total(work: Work, *, given: dict[str, Artifact], scale: int = 1) -> Facts:
    """The sum over several inputs."""
    value = scale * sum(read_json(artifact.path / "number.json") for artifact in given.values())
    write_json(work.out / "deep" / "number.json", value)
    return {"of": [*sorted(given)]}


def flat(work: Work, *, given: Artifact) -> Facts:
    """The sum alone, without the facts of how it came to be."""
    write_json(work.out / "number.json", read_json(given.path / "deep" / "number.json"))
    return {}


def many(work: Work, **params: JSON) -> Facts:
    """A step with any params."""
    write_json(work.out / "params.json", dict(params))
    return {}


def sliced(work: Work, *, given: Artifact) -> Facts:
    """Long work: slices are kept in scratch; `TOY_DIE=1` kills the process when one slice is done."""
    if any(work.out.iterdir()):
        raise AssertionError("out is not empty")
    value = read_json(given.path / "number.json")
    for index in range(SLICES):
        kept = work.scratch / f"{index}.json"
        work.log.event("slice", index=index, resumed=kept.exists())
        if not kept.exists():
            write_json(kept, value + index)
        (work.out / f"{index}.json").write_bytes(kept.read_bytes())
        if index == 1 and os.environ.get("TOY_DIE") == "1":
            die()
    return {"slices": SLICES}


def listing(work: Work, *, given: Artifact) -> Facts:
    """All numbers of a sliced step in one file."""
    write_json(work.out / "all.json", [read_json(given.path / f"{index}.json") for index in range(SLICES)])
    return {}


def fails(work: Work, *, given: Artifact) -> Facts:
    """A step that breaks half way."""
    (work.out / "half.json").write_text("{")
    raise RuntimeError("broken")


def big(work: Work, *, num_bytes: int) -> Facts:
    """One file of zeros, written by 64 KiB."""
    with (work.out / "zeros").open("wb", buffering=0) as file:
        for _ in range(num_bytes // 2**16):
            file.write(bytes(2**16))
    return {"bytes": num_bytes}


def holds(work: Work) -> Facts:
    """Say that it runs, then wait for the end of stdin."""
    print("running", flush=True)
    sys.stdin.read()
    return {}


def chain(value: int = 1) -> Step:
    """Three steps below each other: a number, sliced work on it, its use."""
    source = Step("source", "toy:number", params={"value": value})
    work = Step("work", "toy:sliced", inputs={"given": source})
    return Step("last", "toy:listing", inputs={"given": work})


def make(goal: Step, store: Path, log: Log | None = None) -> Artifact:
    """Run one goal with the names `toy/...`."""
    return run([goal], Runtime(store=store), log or Log(quiet=True), "toy")[0]


if __name__ == "__main__":
    sys.modules["aurora_m.toy"] = sys.modules["__main__"]
    exec(textwrap.dedent(sys.argv[2]), {**globals(), "STORE": Path(sys.argv[1]), "json": json})
