"""Curation speed on one core, Aurora beside its peers: `python benchmarks/curation.py --input DIR --peers DIR ...`.

`--input` is a folder of input.py. Aurora reads all of it; the peers read a slice with the same mix, and so does
Aurora once more, since a rate on a small input holds more of the start. Each system is a process of its own, pinned
to a core, all its libraries held to one thread. CPU seconds are user and system time of the process and all that it
started; figures are medians of the runs. What was planted in the input is looked for in what Aurora wrote.
Writes benchmarks/results/curation-<date>.json and .md.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

import run_aurora  # noqa: E402

PEERS = ("datatrove", "datajuicer", "dolma")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
SAME_LINES = 5  # pages of a site that make a line boilerplate, in the run that shows what was caught
SAMPLE_S = 0.2  # between looks at the memory of a run
TAIL_CHARS = 600

Result = dict[str, Any]


def main() -> None:
    """Run all systems and write the result."""
    args = options()
    args.input = args.input.resolve()
    given = json.loads((args.input / "input.json").read_text())
    result: Result = {
        **machine(),
        "command": " ".join(Path(word).name for word in sys.argv),
        "input": given,
        "systems": {},
    }
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        work = Path(name)
        small = sliced(args.input, work / "slice", int(args.slice_mb * 1e6))
        result["slice"] = size_of(small)
        if "aurora" in args.systems:
            result["systems"]["aurora"] = aurora(args, work, small)
        for system in (s for s in PEERS if s in args.systems):
            print(f"{system} ...", file=sys.stderr)
            result["systems"][system] = peer(system, args, work, small)
    result["load_end"] = os.getloadavg()
    result["ratios"] = ratios(result["systems"])
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"curation-{result['date']}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    page = "\n".join(report(result)) + "\n"
    path.with_suffix(".md").write_text(page)
    print(page, path, sep="\n")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="a folder of input.py")
    parser.add_argument("--systems", default="aurora,datatrove,datajuicer,dolma", type=lambda text: text.split(","))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slice-mb", type=float, default=6, help="size of the peers' input, in millions of bytes")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of the peers' virtual environments")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a tokenizer.json")
    parser.add_argument(
        "--large", type=Path, nargs="*", default=[], help="larger folders of input.py, for peak memory and workers"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="run Aurora on each --large also with so many workers and cores"
    )
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--keep", default="", help="keep expression of texts, instead of run_aurora.py's")
    parser.add_argument("--keep-code", default="", help="keep expression of code")
    parser.add_argument("--scratch", type=Path, help="where the stores of the runs go")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def machine() -> Result:
    """Where and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True).stdout
    now = datetime.now(UTC)
    return {
        "date": now.date().isoformat(),
        "time": now.isoformat(timespec="minutes"),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit.strip(),
        "load_start": os.getloadavg(),
    }


def sliced(given: Path, out: Path, num_bytes: int) -> Path:
    """The first lines of every file, of each as many bytes."""
    out.mkdir()
    files = data_files(given)
    for path in files:
        taken = 0
        with path.open("rb") as file, (out / path.name).open("wb") as copy:
            for line in file:
                if taken >= num_bytes // len(files):
                    break
                copy.write(line)
                taken += len(line)
    return out


def data_files(folder: Path) -> list[Path]:
    """The files of documents in an input."""
    return [path for path in sorted(folder.glob("*.jsonl")) if path.stem != "truth"]


def size_of(folder: Path) -> dict[str, int]:
    """Documents and bytes of JSONL in an input."""
    docs = num_bytes = 0
    for path in data_files(folder):
        with path.open("rb") as file:
            docs += sum(1 for _ in file)
        num_bytes += path.stat().st_size
    return {"docs": docs, "bytes": num_bytes}


def timed(command: Iterable[str | Path], cores: set[int], log: Path, **env: str) -> Result:
    """Run a command on these cores; its time and memory. Memory is the largest sum over its processes at one time."""
    words = [str(word) for word in command]
    given = {**os.environ, **ONE_THREAD, **OFFLINE, **env}
    peak = {"rss": 0, "anonymous": 0}
    done = threading.Event()
    with log.open("wb") as out:
        started_s = time.monotonic()
        process = subprocess.Popen(
            words, env=given, stdout=out, stderr=subprocess.STDOUT, cwd=run_aurora.HOUSE, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
    made: Result = {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(wall_s, 2),
        "peak_bytes": max(peak["rss"], usage.ru_maxrss * 1024),
        "peak_anonymous_bytes": peak["anonymous"],
    }
    if process.returncode:
        made["error"] = log.read_text(errors="replace")[-TAIL_CHARS:]
    return made


def _watch(session: int, peak: dict[str, int], done: threading.Event) -> None:
    while not done.wait(SAMPLE_S):
        rss = anonymous = 0
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if int((path / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                    continue
                status = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines() if ":" in line)
            except OSError:  # it has just ended
                continue
            rss += int(status.get("VmRSS", "0 kB").split()[0]) * 1024
            anonymous += int(status.get("RssAnon", "0 kB").split()[0]) * 1024
        peak["rss"] = max(peak["rss"], rss)
        peak["anonymous"] = max(peak["anonymous"], anonymous)


def middle(runs: list[Result], size: dict[str, int]) -> Result:
    """Medians of some runs, and rates by CPU time. A run that failed is the result."""
    for run in runs:
        if "error" in run:
            return run
    made: Result = {name: round(median(run[name] for run in runs), 2) for name in runs[0] if name != "stages"}
    made |= {"runs_cpu_s": [run["cpu_s"] for run in runs], **size}
    made["docs_s"] = round(size["docs"] / made["cpu_s"], 1)
    made["mb_s"] = round(size["bytes"] / 1e6 / made["cpu_s"], 3)
    if "stages" in runs[0]:
        names = runs[0]["stages"]
        made["stages"] = {name: round(median(run["stages"].get(name, 0) for run in runs), 2) for name in names}
    return made


def aurora(args: argparse.Namespace, work: Path, small: Path) -> Result:
    """All runs of Aurora: the slice with no compiled kernels, the slice, the whole, more of it, and more workers."""
    cache = {"XDG_CACHE_HOME": str(work / "cache")}
    made: Result = {}
    cores = {args.core}

    def runs(given: Path, times: int, workers: int = 1, boilerplate_pages: int = 0) -> list[Result]:
        home = work / f"aurora-{given.name}{'-lines' if boilerplate_pages else ''}"
        if not home.exists():
            made["settings"] = run_aurora.prepare(
                home, given, args.tokenizer, args.keep, args.keep_code, boilerplate_pages
            )
        found = []
        for _ in range(times):
            store = home / "run"
            shutil.rmtree(store, ignore_errors=True)
            shutil.copytree(home / "store", store)
            where = cores if workers == 1 else set(range(workers))
            before = compiled(work / "cache")
            run = timed(run_aurora.command(home, store, workers), where, home / "log", **cache)
            run["kernels_compiled"] = compiled(work / "cache") - before  # 0 in a warm run
            if "error" not in run:
                run["stages"] = run_aurora.stages(store)
            found.append(run)
            print(f"aurora {given.name} {workers}: {run}", file=sys.stderr)
        return found

    size, small_size = size_of(args.input), size_of(small)
    made["slice_cold"] = middle(runs(small, 1), small_size)
    made["slice"] = middle(runs(small, args.runs), small_size)
    made["whole"] = middle(runs(args.input, args.runs), size)
    if "error" not in made["whole"]:
        made |= run_aurora.outcome(work / f"aurora-{args.input.name}" / "run")
        made["lines"] = middle(runs(args.input, 1, boilerplate_pages=SAME_LINES), size)
        made["caught"] = caught(work / f"aurora-{args.input.name}-lines" / "run", args.input)
    for folder in args.large:
        large = size_of(folder)
        made[folder.name] = middle(runs(folder, 1), large)
        if args.workers > 1:
            many = middle(runs(folder, 1, args.workers), large)
            made[f"{folder.name}, {args.workers} workers"] = {**many, "beside": folder.name, "workers": args.workers}
        shutil.rmtree(work / f"aurora-{folder.name}")
    return made


def compiled(cache: Path) -> int:
    """How many kernels are kept on disk."""
    return sum(1 for _ in cache.rglob("*.nbc"))


def peer(system: str, args: argparse.Namespace, work: Path, small: Path) -> Result:
    """All runs of a peer on the slice."""
    python = args.peers.resolve() / system / "bin" / "python"
    if not python.exists():
        return {"error": f"does not install here: there is no {python.name} of it below --peers"}
    found = []
    for _ in range(args.runs):
        out = work / system
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        script, given = HERE / "peers" / f"run_{system}.py", ["--input", small, "--tokenizer", args.tokenizer.resolve()]
        run = timed([python, script, "--out", out, *given], {args.core}, work / f"{system}.log")
        if "error" in run:
            return run
        about = json.loads((out / "about.json").read_text())
        run["cpu_s"] = round(run["cpu_s"] - about.pop("not_counted_s", 0), 2)  # changing the form of the input
        found.append({**run, "stages": about.pop("stages")})
        print(f"{system}: {found[-1]}", file=sys.stderr)
    return {"slice": middle(found, size_of(small)), **about}


def caught(store: Path, given: Path) -> Result:
    """By language: what became of everything that was planted. Shares are of the planted ones."""
    import pyarrow.parquet as pq

    refs = store / "refs" / "curation"
    truth: dict[str, list[Result]] = {}
    with (given / "truth.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            truth.setdefault(row["file"], []).append(row)
    found: Result = {}
    for name in (path.stem for path in data_files(given)):
        clean = run_aurora.place(refs / f"rewrite.{name}")
        kept: dict[str, str] = {}
        for path in sorted(clean.glob("docs/*.parquet")) + sorted(clean.glob("held/*.parquet")):
            table = pq.read_table(path, columns=["id", "text"])
            kept.update(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
        table = pq.read_table(run_aurora.place(refs / "duplicates") / "duplicates" / name)
        ids = table["id"].to_pylist()
        first = {i: of or f"{name}/{i}" for i, of in zip(ids, table["dup_of"].to_pylist(), strict=True)}
        overlap = pq.read_table(run_aurora.place(refs / "overlap") / "overlap" / name)
        counts = zip(overlap["id"].to_pylist(), overlap["contaminated_items"].to_pylist(), strict=True)
        contaminated = {doc for doc, items in counts if items}
        found[name] = fates(truth.get(name, []), ids, kept, first, contaminated)
    return found


def fates(
    truth: list[Result], ids: list[str], kept: dict[str, str], first: dict[str, str], contaminated: set[str]
) -> Result:
    """What became of one language's faults; `first` names the first copy of each document."""
    made: dict[str, list[bool]] = {}

    def note(what: str, value: bool) -> None:
        made.setdefault(what, []).append(value)

    faulty = {row["id"] for row in truth if row["kind"] != "boilerplate"}
    for name in ids:
        if name not in faulty:
            note("clean kept", name in kept)
    for row in truth:
        text = unicodedata.normalize("NFC", kept.get(row["id"], ""))
        gone, values = row["id"] not in kept, [unicodedata.normalize("NFC", value) for value in row["values"]]
        if row["kind"] in ("exact", "near"):
            note(f"{row['kind']} found", first[row["id"]] == first[row["of"]])
        elif row["kind"] == "mojibake":
            note("mojibake removed", gone)
            note("mojibake removed or repaired", gone or values[0] in text)
        elif row["kind"] == "other_language":
            note("other language removed", gone)
        elif row["kind"] == "pii" and not gone:
            note(f"pii {row['of']} masked", values[0] not in text)
        elif row["kind"] == "leak":
            note("leak found", row["id"] in contaminated)
        elif row["kind"] == "boilerplate" and not gone:
            note("boilerplate lines dropped", not any(value in text for value in values))
    return {what: {"n": len(hits), "share": round(sum(hits) / len(hits), 4)} for what, hits in sorted(made.items())}


def ratios(systems: dict[str, Result]) -> Result:
    """How many times a peer's CPU time Aurora is faster for the same bytes, on its whole input and on the slice."""
    mine = systems.get("aurora", {})
    return {
        name: {part: round(mine[part]["mb_s"] / about["slice"]["mb_s"], 1) for part in ("whole", "slice")}
        for name, about in systems.items()
        if name in PEERS and "mb_s" in about.get("slice", {}) and "mb_s" in mine.get("whole", {})
    }


def report(result: Result) -> list[str]:
    """The result as a Markdown page."""
    lines = [
        f"# Curation, {result['date']}", "",
        f"{result['cpu']}, one core of {result['cores']}, Python {result['python']}, commit {result['commit']}, load "
        f"{result['load_start'][0]:.1f} at the start. Medians; MB is a million bytes of JSONL; seconds are of CPU.", "",
        "| system | input MB | docs | CPU s | docs/s | MB/s | peak MB | Aurora is faster |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    notes: list[str] = []
    for system, about in result["systems"].items():
        for part, run in ((part, run) for part, run in about.items() if isinstance(run, dict)):
            if "mb_s" in run:
                times = result["ratios"].get(system, {})
                title = f"{system}, {part.replace('_', ', ')}"
                faster = f"{times['whole']} (slice: {times['slice']})" if times else ""
                cells = (f"{run['bytes'] / 1e6:.1f}", run["docs"], run["cpu_s"], run["docs_s"], run["mb_s"])
                row = (title, *cells, f"{run['peak_bytes'] / 1e6:.0f}", faster)
                lines.append(f"| {' | '.join(map(str, row))} |")
                stages = ", ".join(f"{name} {seconds}" for name, seconds in run.get("stages", {}).items())
                notes.append(f"- {title}: wall {run['wall_s']} s; CPU s by stage: {stages}")
            elif "error" in run:
                lines.append(f"| {system}, {part} | failed | | | | | | |")
                notes.append(f"- {system}, {part}: {run['error']}")
        notes += [f"- {system}: {note}" for note in about.get("notes", [])]
        notes += [f"- {system}: {about['error']}"] if "error" in about else []
    mine = result["systems"].get("aurora", {})
    for run in mine.values():
        if "beside" in run and "wall_s" in run:
            times = mine[run["beside"]]["wall_s"] / run["wall_s"]
            notes.append(
                f"- aurora: on {run['beside']} {run['workers']} workers take {times:.2f} times less time than one"
            )
    lines += ["", *notes]
    found = result["systems"].get("aurora", {}).get("caught")
    if found:
        what = (
            f"What was planted, in the run `lines`, which also drops lines that stand on {SAME_LINES} pages of a site:"
        )
        lines += ["", what]
        rows = sorted({what for about in found.values() for what in about})
        lines += ["", "| what was planted | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
        for what in rows:
            shares = [f"{a[what]['share']:.1%} of {a[what]['n']}" if what in a else "" for a in found.values()]
            lines.append(f"| {what} | " + " | ".join(shares) + " |")
    return lines


if __name__ == "__main__":
    main()
