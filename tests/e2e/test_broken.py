"""Broken inputs, full disks and a second run, each through the command line as a real process.

Each must end in one clear error, lose nothing, leave nothing half, and go on once what is broken is mended.
"""

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.manifest import verify
from aurora_m.core.store import Store
from aurora_m.core.typed import Count
from aurora_m.recipe import Base, Curate, Evals, Mixture, Recipe, Release, check, dumps, load
from tests.e2e.conftest import MEASURED

ROOT = Path(__file__).parents[2]
TINY = ROOT / "recipes" / "tiny.toml"
DONE, FAILED, WRONG = 0, 1, 2
MAX_BYTES = 700 * 10**6  # of memory, whatever a source holds
LINE_BYTES = 200 * 10**6
WORDS = "the sun rose over a quiet village where people walked to the market and talked about rain harvest and books"

CLI = ("-m", "aurora_m")
SAVING = (  # a checkpoint after every optimizer step, where the command line writes one every 20 seconds
    "-c",
    "import sys; from aurora_m.cli.main import main; from aurora_m.core.step import Runtime; "
    "Runtime.__init__.__defaults__ = (*Runtime.__init__.__defaults__[:-1], 0.0); sys.exit(main())",
)


Ended = subprocess.CompletedProcess[str]


def error(ended: Ended) -> tuple[str, str, str]:
    """What, where and hint of a run's one error, the same on stderr and, as JSON, on stdout."""
    assert "Traceback" not in ended.stderr
    assert len(re.findall("^error: ", ended.stderr, re.MULTILINE)) == 1, ended.stderr
    found = re.search(r"^error: (.+)\n  at: (.+)\n\nhint: (.+)\n\Z", ended.stderr, re.MULTILINE)
    assert found, ended.stderr
    assert json.loads(ended.stdout) == dict(zip(("error", "at", "hint"), found.groups(), strict=True))
    return found[1], found[2], found[3]


def start(home: Path, to: str, before: tuple[str, ...] = (), how: tuple[str, ...] = CLI) -> "subprocess.Popen[str]":
    """Run the recipe of a home up to one step."""
    run = ("run", str(home / "recipe" / "small.toml"), "--to", to, "--store", str(home / "store"), "--json")
    env = {name: value for name, value in os.environ.items() if not name.startswith("AURORA_")}
    return subprocess.Popen(
        [*before, sys.executable, *how, *run],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "PYTHONPATH": str(ROOT)},
    )


def run(home: Path, to: str, before: tuple[str, ...] = (), how: tuple[str, ...] = CLI) -> Ended:
    process = start(home, to, before, how)
    stdout, stderr = process.communicate(timeout=300)
    return Ended(process.args, process.returncode, stdout, stderr)


def small() -> Recipe:
    """Two sources of files and one stage of four optimizer steps."""
    tiny = load(TINY)
    assert tiny.base.scratch
    source = replace(tiny.source["en"], held_out=0.1)
    recipe = replace(
        tiny,
        name="small",
        base=Base(scratch=replace(tiny.base.scratch, layers=1, vocab=Count(512), tokenizer_sources=("good",))),
        source={name: replace(source, uri=f"file:in/{name}/*") for name in ("good", "bad")},
        curate={"text": Curate("chars >= 20")},
        mixture={"base": Mixture(Count(4096), {"good": 0.5, "bad": 0.5})},
        stage=(replace(tiny.stage[0], batch_tokens=Count(1024), warmup_tokens=Count(512)),),
        evals=Evals(("en",), ("en",), {"en": 0.05}),
        release=Release("base", "CC0-1.0"),
        redteam=None,
        review=None,
        tune={},
    )
    check(recipe)
    return recipe


def documents(seed: int, count: int) -> bytes:
    rng = random.Random(seed)
    texts = (" ".join(rng.choices(WORDS.split(), k=200)) for _ in range(count))
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which all is well: a recipe, its files, and a store that has one step."""
    home = tmp_path_factory.mktemp("whole")
    for seed, name in enumerate(("good", "bad")):
        (home / "recipe" / "in" / name).mkdir(parents=True)
        (home / "recipe" / "in" / name / "x.jsonl").write_bytes(documents(seed, 40))
    (home / "recipe" / "small.toml").write_text(dumps(small()))
    assert run(home, "fetch.good").returncode == DONE
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return shutil.copytree(whole, tmp_path / "home")


def digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in folder_files(folder)}


def nothing_half(root: Path) -> set[str]:
    """The artifacts of a store; each is whole to the byte, and each name means one."""
    store = Store(root)
    homes = [*(root / "artifacts").iterdir()]
    for artifact in homes:
        verify(artifact)
    assert {store.named(name).path for name in store.names()} <= set(homes)
    return {artifact.name for artifact in homes}


# --- broken inputs


def instead(home: Path, name: str, content: bytes) -> None:
    """Put another file in the place of the source's only one."""
    (home / "recipe/in/bad/x.jsonl").unlink()
    (home / "recipe/in/bad" / name).write_bytes(content)


def cut_gzip(home: Path) -> None:
    content = gzip.compress(documents(5, 40))
    instead(home, "x.jsonl.gz", content[: len(content) // 2])


def cut_parquet(home: Path) -> None:
    path = home / "recipe/in/bad/x.parquet"
    pq.write_table(pa.table({"text": [json.loads(line)["text"] for line in documents(6, 40).splitlines()]}), path)
    instead(home, "x.parquet", path.read_bytes()[: path.stat().st_size // 2])


def long_line(home: Path) -> None:
    with (home / "recipe/in/bad/x.jsonl").open("wb") as file:
        file.write(b'{"text": "')
        file.seek(LINE_BYTES)  # a hole: it takes no disk and reads as zeros
        file.write(b'"}\n')


def content(text: bytes) -> Callable[[Path], None]:
    return lambda home: instead(home, "x.jsonl", text)


def recipe_with(old: str, new: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        path = home / "recipe" / "small.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


@dataclass(frozen=True)
class Broken:
    """One thing that is broken, and what is said of it."""

    spoil: Callable[[Path], None]
    what: str  # a pattern
    at: str
    hint: str
    code: int = FAILED
    to: str = "fetch.bad"


FILE = "in/bad/x.jsonl"
ONE = b'{"text": "one"}\n'
BROKEN = {
    "cut gzip": Broken(
        cut_gzip, "the file is cut off or is not gzip", "in/bad/x.jsonl.gz", r"copy or download it again \(.+\)"
    ),
    "cut parquet": Broken(cut_parquet, "the file is no whole parquet file", "in/bad/x.parquet", "Parquet magic .+"),
    "not utf-8": Broken(
        content(ONE + b'{"text": "caf\xe9"}\n'),
        "byte 13 is not valid utf-8",
        f"{FILE}, line 2",
        "convert the file to utf-8",
    ),
    "no such column": Broken(
        content(ONE * 2 + b'{"body": "x", "url": "u"}\n'),
        "there is no field `text`",
        f"{FILE}, line 3",
        "the fields there are `body`, `url`",
    ),
    "wrong type": Broken(
        content(b'{"text": 5}\n'),
        "the field `text` is a number, not a text",
        f"{FILE}, line 1",
        "make every `text` a string",
    ),
    "not JSON": Broken(
        content(ONE + b"<html>\n"), "this is not valid JSON", f"{FILE}, line 2", "unexpected character, .+"
    ),
    "empty file": Broken(content(b""), "the file holds no document", FILE, "delete it or leave it out of the source"),
    "no file": Broken(
        lambda home: (home / "recipe/in/bad/x.jsonl").unlink(),
        r"no file matches `in/bad/\*`",
        "HOME/recipe",
        "paths are relative to the folder of the recipe",
    ),
    "unknown language": Broken(
        recipe_with('lang = "en"', 'lang = "english"'),
        "there is no language `english`",
        "source.good.lang",
        "use its ISO 639-1 code",
        code=WRONG,
    ),
    "weights": Broken(
        recipe_with("bad = 0.5", "bad = 0.4"),
        "the weights add up to 0.9, not to 1",
        "mixture.base.weights",
        "change the weights so that they add up to 1",
        code=WRONG,
    ),
    "too small for its epochs": Broken(
        content(documents(7, 4)),
        r"source `bad` would be read \d+\.\d times, more than 4",
        "mixture.base",
        "lower its weight or the budget, add text to the source, or raise `max_epochs`",
        code=WRONG,
        to="mixture.base",
    ),
}


def check_broken(case: Broken, whole: Path, home: Path, before: tuple[str, ...] = ()) -> None:
    """The error, what it leaves, and the same command once all is well again."""
    finished = nothing_half(home / "store")
    case.spoil(home)
    inputs = digests(home / "recipe")
    ended = run(home, case.to, before)
    what, at, hint = error(ended)
    assert (ended.returncode, at) == (case.code, case.at.replace("HOME", str(home)))
    assert re.fullmatch(case.what, what)
    assert re.fullmatch(case.hint, hint)
    assert digests(home / "recipe") == inputs
    assert nothing_half(home / "store") >= finished
    assert f"small/{case.to}" not in Store(home / "store").names()

    shutil.rmtree(home / "recipe")
    shutil.copytree(whole / "recipe", home / "recipe")
    ended = run(home, case.to)
    assert ended.returncode == DONE, ended.stderr
    assert [*json.loads(ended.stdout)] == [case.to]
    assert nothing_half(home / "store") > finished
    assert f"small/{case.to}" in Store(home / "store").names()


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_and_costs_nothing(name: str, whole: Path, home: Path) -> None:
    check_broken(BROKEN[name], whole, home)


def test_a_line_that_is_far_too_long_takes_no_memory(whole: Path, home: Path, tmp_path: Path) -> None:
    case = Broken(long_line, "the line is over 128 MiB long", f"{FILE}, line 1", "split the document")
    check_broken(case, whole, home, (*MEASURED, str(tmp_path / "peak")))
    assert 50 * 10**6 < int((tmp_path / "peak").read_text()) < MAX_BYTES


# --- two at once


def test_a_second_run_on_one_store_is_refused_and_harms_nothing(home: Path) -> None:
    blank = gzip.compress((b" " * (2**20 - 1) + b"\n") * 64)
    instead(home, "x.jsonl.gz", blank * 16 + gzip.compress(ONE))  # 1 GB: some seconds to read
    first = start(home, "fetch.bad")
    assert first.stderr
    begun = next(line for line in iter(first.stderr.readline, "") if line.startswith("["))  # or a busy machine is told
    assert begun == "[1/1] fetch.bad\n"
    second = run(home, "fetch.bad")
    assert (second.returncode, *error(second)) == (
        FAILED,
        f"another run (process {first.pid}) is using the store",
        str(home / "store"),
        "wait until it is done, or choose another folder with `--store`",
    )
    assert first.poll() is None
    stdout, stderr = first.communicate(timeout=120)
    assert first.returncode == DONE, stderr
    nothing_half(home / "store")
    again = run(home, "fetch.bad")
    assert (again.returncode, again.stdout, again.stderr) == (DONE, stdout, "nothing to do: all 1 steps are there\n")


# --- a full disk


@dataclass(frozen=True)
class Disk:
    """A small disk in a mount namespace of its own, which lives as long as a process in it."""

    place: Path
    pid: int

    @property
    def inside(self) -> tuple[str, ...]:
        """What goes before a command that is to see the disk."""
        return ("nsenter", "-t", str(self.pid), "-m", "--")

    @property
    def seen(self) -> Path:
        """The disk from outside."""
        return Path(f"/proc/{self.pid}/root") / self.place.relative_to("/")

    def resize(self, num_bytes: int) -> None:
        remount = ("mount", "-o", f"remount,size={num_bytes}", str(self.place))
        subprocess.run([*self.inside, *remount], check=True)


@pytest.fixture
def disk(home: Path) -> Iterator[Disk]:
    """A disk of 1 MB that holds the home's store. Skips where none can be mounted."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter here")
    mount = 'mount -t tmpfs -o size=1m none "$1/store" && cp -a "$1/copy/." "$1/store" && echo mounted && exec cat'
    shutil.copytree(home / "store", home / "copy")
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    mounted = holder.stdout.readline() == "mounted\n"
    try:
        if not mounted:
            pytest.skip("no right to mount a small disk here")
        yield Disk(home / "store", holder.pid)
    finally:
        holder.communicate(timeout=60)  # its stdin ends, then it, then the disk


def full(ended: Ended, disk: Disk) -> None:
    """That a run ended for want of room, and in no other way."""
    what, at, hint = error(ended)
    assert (ended.returncode, what) == (FAILED, "the disk is full")
    assert Path(at) == disk.place or disk.place in Path(at).parents
    assert hint.startswith("free some space (`aurora gc` deletes what no name reaches, ")


def test_a_disk_that_fills_in_a_data_step(home: Path, disk: Disk) -> None:
    rng = random.Random(9)
    rows = (json.dumps({"text": rng.randbytes(500).hex()}) for _ in range(4000))  # 2 MB at best
    instead(home, "x.jsonl", "\n".join(rows).encode())
    inputs, finished = digests(home / "recipe"), nothing_half(disk.seen)
    assert finished
    for _ in range(2):
        full(run(home, "fetch.bad", disk.inside), disk)
        assert nothing_half(disk.seen) == finished
    disk.resize(64 * 2**20)
    ended = run(home, "fetch.bad", disk.inside)
    assert ended.returncode == DONE, ended.stderr
    assert digests(home / "recipe") == inputs
    assert len(nothing_half(disk.seen) - finished) == 1


def test_a_disk_that_fills_in_training(home: Path, disk: Disk) -> None:
    disk.resize(64 * 2**20)
    ended = run(home, "init", disk.inside)
    assert ended.returncode == DONE, ended.stderr
    finished = nothing_half(disk.seen)
    weights = Store(disk.seen).named("small/init").path / "model.safetensors"
    disk.resize(shutil.disk_usage(disk.seen).used + weights.stat().st_size // 2)
    for how in (CLI, SAVING):  # the weights at the end, a checkpoint on the way
        full(run(home, "base", disk.inside, how), disk)
        assert nothing_half(disk.seen) >= finished
    disk.resize(64 * 2**20)
    ended = run(home, "base", disk.inside)
    assert ended.returncode == DONE, ended.stderr
    assert nothing_half(disk.seen) > finished
    assert list((disk.seen / "partial").iterdir()) == []
    assert Store(disk.seen).named("small/base").facts["opt_steps"] == 4
