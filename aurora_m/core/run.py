"""Plan and run a graph of steps: what is there, what has to run, and why."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from aurora_m.core import interrupt
from aurora_m.core.canon import JSON, differences
from aurora_m.core.facts import to_json
from aurora_m.core.files import no_link
from aurora_m.core.log import Log, peak_memory_bytes
from aurora_m.core.machine import hardware, load
from aurora_m.core.manifest import read_manifest, verify
from aurora_m.core.step import Artifact, Facts, Runtime, Step, Work, ordered
from aurora_m.core.store import Store, disk_errors, remove
from aurora_m.core.tasks import cpu_seconds, shutdown_workers
from aurora_m.core.units import format_duration

CPU_WATTS = 12.0  # a core under load, our assumption for the energy estimate: a server CPU's 180 W over 15 cores


@dataclass(frozen=True)
class PlanEntry:
    """One line of a plan."""

    step: Step
    state: Literal["have", "run", "wait"]
    why: str
    artifact: Artifact | None = None
    last_s: float | None = None  # what the step took when it last ran


def plan(goals: list[Step], store: Store) -> list[PlanEntry]:
    """Say of every step, parents first, whether it is there, runs next, or waits for another, and why."""
    rows: dict[str, PlanEntry] = {}
    for step in ordered(goals):
        rows[step.name] = _row(step, rows, store)
    return list(rows.values())


def _row(step: Step, rows: Mapping[str, PlanEntry], store: Store) -> PlanEntry:
    missing = [parent.name for _, parent in step.parents() if rows[parent.name].state != "have"]
    manifests = store.manifests(step.name)
    last_s = next((m["seconds"] for m in manifests if _alike(m["key"], step)), None)
    if step.missing_input:
        return PlanEntry(step, "wait", step.missing_input.what, last_s=last_s)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return PlanEntry(step, "wait", f"needs {missing[0]}{more}", last_s=last_s)
    key = step.key({name: _digest(rows[parent.name]) for name, parent in step.parents()})
    artifact = store.find(key)
    if artifact:
        step.check_made(artifact)
        return PlanEntry(step, "have", "", artifact, last_s)
    if store.partial(key).exists():
        return PlanEntry(step, "run", "was stopped half way", last_s=last_s)
    return PlanEntry(step, "run", _why(key, [m["key"] for m in manifests], step), last_s=last_s)


def _alike(key: Mapping[str, Any], step: Step) -> bool:
    """Whether a step that ran is of this kind and these sizes, and so takes as long; others may share its name."""
    return bool(key["fn"] == step.fn and _sizes(key["params"]) == _sizes(to_json(step.params)))


def _sizes(params: Any) -> Any:
    """The whole numbers of some parameters, where they stand; a seed is no size."""
    if isinstance(params, dict):
        return {key: found for key, value in params.items() if key != "seed" and (found := _sizes(value)) is not None}
    return params if isinstance(params, int) and not isinstance(params, bool) else None


def _digest(row: PlanEntry) -> str:
    assert row.artifact is not None
    return row.artifact.digest


def _why(key: dict[str, JSON], old_keys: list[dict[str, JSON]], step: Step) -> str:
    """Name the change against the nearest finished run of this step."""
    if not old_keys:
        return "never run"
    changes = min((differences(old, key) for old in old_keys), key=len)
    parents = {f"inputs.{name}": parent.name for name, parent in step.parents()}
    words = []
    for change in changes:
        at, _, what = change.partition(": ")
        verb = "is new" if what.startswith("added") else "changed"
        words.append(f"{parents[at]} {verb}" if at in parents else change)
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def run(goals: list[Step], runtime: Runtime, log: Log, names: str) -> list[Artifact]:
    """Make the goals, reusing all that is there; every finished step gets the name `names/<step>`.

    A killed run loses the step it was in, or, in training, what came after the last checkpoint. What a step raises
    has a note that names the step. What a step reads and this run did not make is checked first, byte by byte and
    once, and so are the goals: StoreError if it is not as it was made. Missing, before anything is made, if a file is
    not there that a step would read.
    """
    store = Store(runtime.store)
    steps = ordered(goals)
    check_files(steps)
    done: dict[str, Artifact] = {}
    checked: set[str] = set()  # and what was made here, whose bytes were just digested
    made = 0
    with disk_errors(store.root), store.lock():
        store.check_formats()
        log.events, log.runs = _whole_lines(store.events), store.runs / names
        for number, step in enumerate(steps, 1):
            key = step.key({name: done[parent.name].digest for name, parent in step.parents()})
            artifact = store.find(key)
            if artifact is None:
                if not made:
                    _say_if_busy(log)
                _check([parent for _, parent in step.parents()], done, checked, log)
                artifact = _make(step, key, done, store, runtime, log, f"[{number}/{len(steps)}]")
                checked.add(step.name)
                made += 1
                interrupt.stop_if_requested(f"after step {step.name}")
            store.point(f"{names}/{step.name}", artifact)
            step.check_made(artifact)
            done[step.name] = artifact
        _check(goals, done, checked, log)
    shutdown_workers()
    if not made:
        log.say(f"nothing to do: all {len(steps)} steps are there")
    return [done[goal.name] for goal in goals]


def _check(steps: list[Step], done: Mapping[str, Artifact], checked: set[str], log: Log) -> None:
    """Verify the artifacts of steps, each once in a run."""
    for step in steps:
        if step.name not in checked:
            check_bytes(done[step.name].path, log)
            checked.add(step.name)


def check_bytes(home: Path, log: Log) -> int:
    """Read every byte of an artifact again, with progress; returns how many. StoreError if one is not as written."""
    total: int = sum(file["bytes"] for file in read_manifest(home)["files"].values())
    with log.bar(f"check {home.name}", total, "bytes") as bar:
        counted = 0

        def seen(num_bytes: int) -> None:
            nonlocal counted
            counted += num_bytes
            bar.update(counted)

        verify(home, seen)
    return total


def _say_if_busy(log: Log) -> None:
    """One line where other work wants the processors already: nobody should wonder at times."""
    wanted, there = load(), os.cpu_count() or 1
    if wanted > there:
        log.say(f"  this machine is busy: a load of {wanted:.1f} on {there} processors; all will take longer")


def check_files(goals: list[Step]) -> None:
    """Missing if a file is not there that a step would read."""
    for step in ordered(goals):
        if step.missing_input:
            raise step.missing_input


def _whole_lines(events: Path) -> Path:
    """End the half line that a killed run or a full disk may have left, so that the next event is whole."""
    with open(events, "a+b", opener=no_link) as file:
        end = file.tell()
        file.seek(max(0, end - 1))
        if file.read(1) not in (b"", b"\n"):
            file.write(b"\n")
    return events


def _make(
    step: Step, key: dict[str, JSON], done: Mapping[str, Artifact], store: Store, runtime: Runtime, log: Log, where: str
) -> Artifact:
    """Run a step in an empty folder, beside what a stopped one left in its scratch, and commit what it wrote."""
    partial = store.partial(key)
    work = Work(partial / "out", partial / "scratch", runtime, log)
    remove(work.out)
    work.out.mkdir(parents=True)
    work.scratch.mkdir(exist_ok=True)
    with interrupt.at(f"step {step.name}"):
        log.say(f"{where} {step.name}")
        log.event("start", step=step.name)
        with log.pulse(step.name):
            facts, about = _call(step, work, done)
        artifact = store.commit(key, facts, about)
    log.event("done", step=step.name, seconds=about["seconds"], digest=artifact.digest)
    log.say(f"{' ' * len(where)} {step.name} done in {format_duration(about['seconds'])}")
    return artifact


def _call(step: Step, work: Work, done: Mapping[str, Artifact]) -> tuple[Facts, dict[str, Any]]:
    """Call the step's function; returns its facts, and what it took and where."""
    inputs = {
        name: done[given.name] if isinstance(given, Step) else {part: done[s.name] for part, s in given.items()}
        for name, given in step.inputs.items()
    }
    started_s, cpu_s = time.monotonic(), cpu_seconds()
    try:
        facts = step.load()(work, **inputs, **step.params)
    except BaseException as error:
        error.add_note(f"step {step.name}")
        shutdown_workers()
        raise
    seconds = time.monotonic() - started_s
    cpu_s = cpu_seconds() - cpu_s
    return to_json(facts), {
        "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_s, 3),
        "energy_wh_estimate": round(cpu_s * CPU_WATTS / 3600, 4),
        "peak_memory_bytes": peak_memory_bytes(),
        "hardware": hardware(),
        **_where_made(),
    }


@cache
def _where_made() -> dict[str, JSON]:
    """The code and packages that make artifacts here."""
    packages = ("aurora-m", "torch", "transformers", "tokenizers", "numpy", "pyarrow", "polars")
    versions: dict[str, JSON] = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"commit": _commit(), "python": platform.python_version(), "packages": versions}


def _commit() -> str | None:
    """The commit of this checkout; None where the package is installed without one, or there is no git."""
    root, git = Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():  # a folder further up may be somebody else's repository
        return None
    command = [git, "describe", "--always", "--dirty"]
    described = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return described.stdout.strip() or None
