"""Planning and running: nothing twice, nothing stale, nothing half, and the reason for all that runs."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from aurora_m.core import run as run_file
from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.errors import Missing, RecipeError, StoreError
from aurora_m.core.files import read_json, write_json
from aurora_m.core.log import Log
from aurora_m.core.manifest import MANIFEST
from aurora_m.core.run import plan, run
from aurora_m.core.step import Artifact, Facts, Runtime, Step, Work, ordered
from aurora_m.core.store import Store

Child = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.usefixtures("toy")


def graph(
    *, left: int = 1, right: int = 2, scale: int = 3, version: int = 1, names: tuple[str, str] = ("left", "right")
) -> Step:
    """left -> odd -\\
    right -----------> sum -> end"""
    sources = Step("left", "toy:number", params={"value": left}), Step("right", "toy:number", params={"value": right})
    odd = Step("odd", "toy:parity", inputs={"given": sources[0]}, version=version)
    given = dict(zip(names, (odd, sources[1]), strict=True))
    total = Step("sum", "toy:total", inputs={"given": given}, params={"scale": scale})
    return Step("end", "toy:parity", inputs={"given": Step("flat", "toy:flat", inputs={"given": total})})


def make(goal: Step, store: Path, runtime: Runtime | None = None) -> Artifact:
    return run([goal], runtime or Runtime(store=store), Log(quiet=True), "toy")[0]


def events(store: Path, kind: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (store / "events.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == kind]


def made(store: Path, goal: Step, runtime: Runtime | None = None) -> list[str]:
    """Run a goal and say which steps it had to make; the plan must have foretold it."""
    before = len(events(store, "start")) if (store / "events.jsonl").exists() else 0
    rows = {row.step.name: row for row in plan([goal], Store(store))}
    make(goal, store, runtime)
    names = [str(row["step"]) for row in events(store, "start")[before:]]
    assert {name for name in rows if rows[name].state == "run"} <= set(names)
    assert not {name for name in rows if rows[name].state == "have"} & set(names)
    assert {row.state for row in plan([goal], Store(store))} == {"have"}
    return names


def why(store: Path, goal: Step) -> dict[str, str]:
    return {row.step.name: row.why for row in plan([goal], Store(store)) if row.state != "have"}


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every artifact file with its digest, inode and time: any rewriting shows."""
    stats = {name: (folder / name).stat() for name in folder_files(folder)}
    return {name: (file_digest(folder / name), stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


# --- nothing twice


def test_a_run_makes_all_and_returns_its_goals_in_order(tmp_path: Path) -> None:
    steps = ordered([graph()])
    goals = [steps[-1], steps[0]]
    end, left = run(goals, Runtime(store=tmp_path), Log(quiet=True), "toy")
    assert read_json(left.path / "number.json") == 1
    assert left.facts == {"value": 1}
    assert read_json(end.path / "number.json") == (3 * (1 + 2)) % 2
    assert Store(tmp_path).names() == [f"toy/{name}" for name in ("end", "flat", "left", "odd", "right", "sum")]
    assert Store(tmp_path).named("toy/end") == end
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    assert made(tmp_path, graph()) == ["left", "odd", "right", "sum", "flat", "end"]
    before = state(tmp_path / "artifacts")
    assert made(tmp_path, graph()) == []
    assert state(tmp_path / "artifacts") == before


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 8},
        {"threads": 3},
        {"device": "cuda"},
        {"micro_batch": 2},
        {"save_every_s": 0.0},
        {"root": Path("/x")},
    ],
)
def test_where_and_how_makes_nothing_new(tmp_path: Path, change: dict[str, object]) -> None:
    make(graph(), tmp_path)
    assert made(tmp_path, graph(), replace(Runtime(store=tmp_path), **change)) == []  # type: ignore[arg-type]


def test_another_store_gives_the_same_digests(tmp_path: Path) -> None:
    assert make(graph(), tmp_path / "a").digest == make(graph(), tmp_path / "b").digest


# --- all that depends, nothing else


def test_a_changed_param_runs_what_depends_on_it(tmp_path: Path) -> None:
    make(graph(), tmp_path)
    assert why(tmp_path, graph(scale=4)) == {
        "sum": "params.scale: 3 -> 4",
        "flat": "needs sum",
        "end": "needs flat",
    }
    assert made(tmp_path, graph(scale=4)) == ["sum", "flat", "end"]
    assert why(tmp_path, graph(right=7)) == {
        "right": "params.value: 2 -> 7",
        "sum": "needs right",
        "flat": "needs sum",
        "end": "needs flat",
    }
    assert made(tmp_path, graph(right=7)) == ["right", "sum", "flat", "end"]


def test_the_same_bytes_upstream_run_nothing_below(tmp_path: Path) -> None:
    make(graph(left=1), tmp_path)
    assert made(tmp_path, graph(left=5)) == ["left", "odd"]


def test_going_back_makes_nothing_and_moves_the_names(tmp_path: Path) -> None:
    old = make(graph(left=1), tmp_path)
    new = make(graph(left=2), tmp_path)
    assert new != old
    assert made(tmp_path, graph(left=1)) == []
    assert Store(tmp_path).named("toy/end") == old


def test_a_version_bump(tmp_path: Path) -> None:
    make(graph(), tmp_path)
    assert why(tmp_path, graph(version=2))["odd"] == "version: 1 -> 2"
    assert made(tmp_path, graph(version=2)) == ["odd"]


def test_a_renamed_input(tmp_path: Path) -> None:
    make(graph(), tmp_path)
    [digest] = [read_json(home / MANIFEST)["digest"] for home in (tmp_path / "artifacts").glob("odd-*")]
    goal = graph(names=("first", "right"))
    assert why(tmp_path, goal)["sum"] == f"odd is new; inputs.given.left: removed {digest}"
    assert made(tmp_path, goal) == ["sum", "flat"]  # the facts name the parts; the number at the end is the same


def test_a_changed_input_is_named_by_its_step(tmp_path: Path) -> None:
    make(graph(), tmp_path)
    make(ordered([graph(right=4)])[2], tmp_path)
    assert why(tmp_path, graph(right=4))["sum"] == "right changed"


# --- the plan


def test_the_plan_of_an_empty_store(tmp_path: Path) -> None:
    rows = plan([graph()], Store(tmp_path / "none"))
    assert [(row.step.name, row.state, row.why) for row in rows] == [
        ("left", "run", "never run"),
        ("odd", "wait", "needs left"),
        ("right", "run", "never run"),
        ("sum", "wait", "needs odd and 1 more"),
        ("flat", "wait", "needs sum"),
        ("end", "wait", "needs flat"),
    ]
    assert not (tmp_path / "none").exists()


def test_a_step_that_lacks_a_file_waits_and_nothing_is_run(tmp_path: Path) -> None:
    missing = Missing("no file matches `x`", at="here", hint="look there")
    left, right = Step("left", "toy:number", params={"value": 1}), Step("right", "toy:number", missing_input=missing)
    end = Step("end", "toy:total", inputs={"given": {"a": left, "b": right}})
    rows = plan([end], Store(tmp_path))
    assert [(row.step.name, row.state, row.why) for row in rows] == [
        ("left", "run", "never run"),
        ("right", "wait", "no file matches `x`"),
        ("end", "wait", "needs left and 1 more"),
    ]
    with pytest.raises(Missing) as caught:
        make(end, tmp_path / "store")
    assert caught.value is missing
    assert not (tmp_path / "store").exists()
    make(left, tmp_path / "store")


def test_the_plan_knows_artifacts_and_how_long_they_took(tmp_path: Path) -> None:
    end = make(graph(), tmp_path)
    row = plan([graph()], Store(tmp_path))[-1]
    assert row.artifact == end
    assert row.last_s == read_json(end.path / MANIFEST)["seconds"]
    assert plan([graph(scale=9)], Store(tmp_path))[-1].last_s == row.last_s


def test_why_is_against_the_nearest_run(tmp_path: Path) -> None:
    def step(**params: int) -> Step:
        return Step("many", "toy:many", params=params)

    make(step(a=1, b=1, c=1, d=1, e=1), tmp_path)
    make(step(a=2, b=2, c=2, d=2, e=2), tmp_path)
    assert why(tmp_path, step(a=1, b=1, c=1, d=1, e=9)) == {"many": "params.e: 1 -> 9"}
    assert why(tmp_path, step(a=2, b=2, c=2, d=8, e=9)) == {"many": "params.d: 2 -> 8; params.e: 2 -> 9"}
    words = why(tmp_path, step(a=5, b=6, c=7, d=8, e=9))["many"]
    assert words.endswith("params.b: 2 -> 6; params.c: 2 -> 7; and 2 more")


def test_a_list_param_is_no_change_against_itself(tmp_path: Path) -> None:
    make(Step("many", "toy:many", params={"a": [1, 2], "b": 1}), tmp_path)
    assert why(tmp_path, Step("many", "toy:many", params={"a": (1, 2), "b": 2})) == {  # type: ignore[dict-item]
        "many": "params.b: 1 -> 2"
    }


def test_two_steps_of_one_name(tmp_path: Path) -> None:
    both = [Step("left", "toy:number", params={"value": 1}), Step("left", "toy:number", params={"value": 2})]
    with pytest.raises(ValueError, match="two steps are named `left`"):
        plan(both, Store(tmp_path))
    with pytest.raises(ValueError, match="two steps are named `left`"):
        run(both, Runtime(store=tmp_path), Log(quiet=True), "toy")


# --- what is written down


def test_manifest_and_events(tmp_path: Path) -> None:
    end = make(graph(), tmp_path)
    manifest = read_json(end.path / MANIFEST)
    assert list(manifest) == [
        "format", "key", "digest", "facts", "finished", "seconds", "cpu_seconds", "energy_wh_estimate",
        "peak_memory_bytes", "hardware", "commit", "python", "packages", "files", "checksum",
    ]  # fmt: skip
    assert manifest["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["packages"]["pyarrow"]
    assert str(tmp_path) not in json.dumps(manifest)
    assert [row["step"] for row in events(tmp_path, "start")] == [row["step"] for row in events(tmp_path, "done")]
    assert events(tmp_path, "done")[-1]["digest"] == end.digest


@pytest.mark.parametrize("busy", [False, True])
def test_progress_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(run_file, "load", lambda: 7.26 if busy else 0.5)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    goal = Step("odd", "toy:parity", inputs={"given": Step("one", "toy:number", params={"value": 1})})
    run([goal], Runtime(store=tmp_path), Log(), "toy")
    out, err = capsys.readouterr()
    assert out == ""
    said = [line.split(" done in ")[0] for line in err.splitlines()]
    if busy:
        assert said.pop(0) == "  this machine is busy: a load of 7.3 on 2 processors; all will take longer"
    assert said == ["[1/2] one", "      one", "[2/2] odd", "      odd"]


def test_a_step_that_says_nothing_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(work: Work, *, value: int) -> Facts:
        time.sleep(0.5)
        return toy_number(work, value=value)

    toy = sys.modules["aurora_m.toy"]
    toy_number = toy.number
    monkeypatch.setattr(toy, "number", slow)
    monkeypatch.setattr("aurora_m.core.log.PLAIN_EVERY_S", 0.1)
    run([Step("one", "toy:number", params={"value": 1})], Runtime(store=tmp_path), Log(), "toy")
    assert "\n  one goes on, 0." in capsys.readouterr().err


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(run_file, "__file__", str(tmp_path / "aurora_m" / "core" / "run.py"))
    (tmp_path / ".git").mkdir()
    run_file._where_made.cache_clear()
    artifact = make(Step("one", "toy:number", params={"value": 1}), tmp_path)
    assert read_json(artifact.path / MANIFEST)["commit"] is None
    run_file._where_made.cache_clear()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_of_this_code_and_not_of_a_folder_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "venv" / "aurora_m" / "core" / "run.py"
    package.parent.mkdir(parents=True)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q", str(tmp_path)], check=True)
    subprocess.run([*git, "-C", str(tmp_path), "commit", "-q", "--no-verify", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    monkeypatch.setattr(run_file, "__file__", str(package))
    assert run_file._commit() is None
    monkeypatch.setattr(run_file, "__file__", str(tmp_path / "aurora_m" / "core" / "run.py"))
    short = run_file._commit()
    assert short
    assert head.stdout.startswith(short)


# --- nothing half


def test_a_failing_step_leaves_no_artifact(tmp_path: Path) -> None:
    goal = Step("bad", "toy:fails", inputs={"given": Step("one", "toy:number", params={"value": 1})})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            make(goal, tmp_path)
        assert [row.state for row in plan([goal], Store(tmp_path))] == ["have", "run"]
        assert Store(tmp_path).names() == ["toy/one"]
        assert list((tmp_path / "artifacts").glob("bad-*")) == []
    assert len(events(tmp_path, "done")) == 1


@pytest.mark.parametrize("fact", [float("nan"), {1, 2}])
def test_facts_that_are_not_json_leave_no_artifact(tmp_path: Path, toy: ModuleType, fact: object) -> None:
    vars(toy)["odd_facts"] = lambda work: {"x": fact}
    with pytest.raises((ValueError, TypeError), match="JSON"):
        make(Step("bad", "toy:odd_facts"), tmp_path)
    assert Store(tmp_path).manifests("bad") == []


def killed(process: "subprocess.Popen[str]") -> None:
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr


def test_a_kill_inside_a_step_loses_out_and_keeps_scratch(child: Child, toy: ModuleType, tmp_path: Path) -> None:
    killed(child(tmp_path / "store", "make(chain(), STORE)", env={"TOY_DIE": "1"}))
    store = Store(tmp_path / "store")
    [partial] = (store.root / "partial").iterdir()
    assert folder_files(partial) == ["out/0.json", "out/1.json", "scratch/0.json", "scratch/1.json"]
    assert why(store.root, toy.chain()) == {"work": "was stopped half way", "last": "needs work"}
    assert store.names() == ["toy/source"]

    before = len(events(store.root, "slice"))
    again = toy.make(toy.chain(), store.root)  # the step itself asserts that out is empty
    assert [row["resumed"] for row in events(store.root, "slice")[before:]] == [True, True, False]
    assert again.digest == toy.make(toy.chain(), tmp_path / "fresh").digest
    assert list((store.root / "partial").iterdir()) == []


@pytest.mark.parametrize(
    ("point", "patch", "left"),
    [
        ("before the manifest has its name", "os.replace", ["run", "wait", "wait"]),
        ("between manifest and rename", "os.rename", ["run", "wait", "wait"]),
        ("before the partial folder is gone", "shutil.rmtree", ["have", "run", "wait"]),
    ],
)
def test_a_kill_at_the_end_of_a_step(
    child: Child, toy: ModuleType, tmp_path: Path, point: str, patch: str, left: list[str]
) -> None:
    code = f"""
        import os, shutil
        real = {patch}
        def deadly(path, *more, **options):
            if {patch!r} == "os.rename" and not (path / "manifest.json").exists():
                raise SystemExit("there is no manifest yet")
            if {patch!r} == "os.rename" or str(path).endswith("manifest.json.tmp") or path.parent.name == "partial":
                die()
            return real(path, *more, **options)
        {patch} = deadly
        make(chain(), STORE)
    """
    killed(child(tmp_path / "store", code))
    assert [row.state for row in plan([toy.chain()], Store(tmp_path / "store"))] == left, point
    assert Store(tmp_path / "store").names() == []
    assert toy.make(toy.chain(), tmp_path / "store").digest == toy.make(toy.chain(), tmp_path / "fresh").digest


EVERY_POINT = """
    import os, shutil, sys
    from aurora_m.core.manifest import verify
    from aurora_m.core.run import plan
    from aurora_m.core.store import Store
    os.fsync = lambda handle: None  # a kill, unlike a power cut, loses nothing that was written
    whole = make(chain(), STORE / "whole").digest
    for nth in range(1000):
        store = Store(STORE / str(nth))
        child = os.fork()
        if child == 0:
            left = nth
            def dying(real):
                def call(*given, **options):
                    global left
                    left -= 1
                    if left < 0:
                        die()
                    return real(*given, **options)
                return call
            for name in ("open", "write", "mkdir", "rename", "replace", "fsync", "unlink", "rmdir"):
                setattr(os, name, dying(getattr(os, name)))
            shutil.rmtree = dying(shutil.rmtree)
            make(chain(), store.root)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        for home in (store.root / "artifacts").glob("*"):
            verify(home)
        for name in store.names():
            store.named(name)
        plan([chain()], store)
        assert make(chain(), store.root).digest == whole, nth
        store.gc()
        assert make(chain(), store.root).digest == whole, nth
        assert store.names() == ["toy/last", "toy/source", "toy/work"], nth
        if status == 0:
            print(nth)
            break
        assert os.WIFSIGNALED(status), nth
"""


def test_a_kill_at_every_call_that_touches_the_disk(child: Child, tmp_path: Path) -> None:
    process = child(tmp_path, EVERY_POINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert int(stdout) > 40  # so many points were tried


def test_nothing_is_added_to_a_store_of_another_format(tmp_path: Path) -> None:
    """A `gc` could not tell any more what its names reach."""
    old = make(graph(), tmp_path).path / MANIFEST
    write_json(old, {**{key: value for key, value in read_json(old).items() if key != "checksum"}, "format": 2})
    before = state(tmp_path / "artifacts")
    with pytest.raises(StoreError, match="this store was made by another version of Aurora"):
        make(Step("other", "toy:number", params={"value": 1}), tmp_path)
    assert state(tmp_path / "artifacts") == before


def test_what_does_not_suit_ends_the_run_and_the_plan_before_what_is_made_of_it(tmp_path: Path) -> None:
    def suits(path: Path) -> None:
        raise RecipeError("too short", at="rows", hint="make them shorter")

    end = graph()
    left = next(step for step in ordered([end]) if step.name == "left")
    odd = next(step for step in ordered([end]) if step.name == "odd")
    vars(odd)["inputs"] = {"given": replace(left, suits=suits)}
    with pytest.raises(RecipeError, match="too short"):
        make(end, tmp_path)
    assert [row["step"] for row in events(tmp_path, "start")] == ["left"]
    with pytest.raises(RecipeError, match="too short"):
        plan([end], Store(tmp_path))


def test_times_are_those_of_like_steps_only(tmp_path: Path) -> None:
    make(graph(), tmp_path)
    rows = {row.step.name: row for row in plan([graph(left=5, scale=4)], Store(tmp_path))}
    assert [name for name, row in rows.items() if row.last_s is None] == ["left", "sum"]  # of other sizes
    other = Step("odd", "toy:flat", inputs={"given": Step("right", "toy:number", params={"value": 2, "seed": 3})})
    last = {row.step.name: row.last_s for row in plan([other], Store(tmp_path))}
    assert last["odd"] is None  # another function of this name
    assert last["right"] is not None  # another seed
