"""Speed, memory and truth of dedup: `python benchmarks/dedup.py FOLDER [--megabytes 100,1000] [--near 0.8] [--json]`.

FOLDER holds JSONL files (anywhere below) whose rows have `text`. The texts are repeated with noise that leaves no two
passes alike until there are enough; then exact copies (5 % of the documents, white space changed) and near copies
(12 %, 0.5 to 3 % of their words changed) are planted from a seed. Each measurement is a process of its own, with its
kernels compiled before the clock starts; with one worker it is held on one core.

`found` counts the planted near copies that end in one component with their original, `of near` only those whose true
Jaccard reaches the threshold: 3 % of changed words leave a Jaccard of about 0.75. `unsupported` counts near duplicates
that have no document of their component at the threshold or above: it must be 0.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Runtime, Work
from aurora_m.core.table import read_shards, shards, write_docs
from aurora_m.core.tasks import cpu_seconds
from aurora_m.data.dedup import duplicates, sketches
from aurora_m.data.text import kernels

SEED = 20
MOST_CHARS = 20_000  # longer texts are cut, so that there are enough documents
CHANGED_CHARS = 0.2  # of a text's letters, in every pass but the first
EXACT, NEAR = 0.05, 0.12
WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")


def texts(folder: Path) -> list[str]:
    """All texts below a folder, in order, in pieces."""
    found = []
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.open(encoding="utf-8"):
            text = json.loads(line).get("text")
            if isinstance(text, str):
                found += [text[i : i + MOST_CHARS] for i in range(0, len(text), MOST_CHARS)]
    return found


def noisy(text: str, draw: np.random.Generator) -> str:
    """The text with some letters in place of others of its own."""
    points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).copy()
    letters = np.flatnonzero(kernels.classes()[points] >= kernels.LETTER)
    if len(letters):
        changed = letters[draw.random(len(letters)) < CHANGED_CHARS]
        points[changed] = points[draw.choice(letters, len(changed))]
    return points.tobytes().decode("utf-32-le")


def near_copy(text: str, rng: random.Random) -> str:
    """The text with 0.5 to 3 % of its words, one at least, changed."""
    words = list(WORD.finditer(text))
    chosen = rng.sample(words, min(len(words), max(1, round(rng.uniform(0.005, 0.03) * len(words)))))
    pieces, at = [], 0
    for word in sorted(chosen, key=lambda found: found.start()):
        other = "".join(rng.choices("bdfghjklmnprstv", k=6)) if len(word[0]) > 1 else rng.choice("木山川田")
        pieces += [text[at : word.start()], other]
        at = word.end()
    return "".join([*pieces, text[at:]])


def documents(base: list[str], num_bytes: int, planted: dict[str, tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Documents up to a size; notes each copy's kind and original."""
    rng, draw = random.Random(SEED), np.random.default_rng(SEED)
    waiting: list[tuple[str, str, str]] = []
    done = count = 0
    while done < num_bytes:
        for piece in base:
            text, name = (piece if count < len(base) else noisy(piece, draw)), f"d{count}"
            fate = rng.random()
            if fate < EXACT + NEAR and len(WORD.findall(text)) >= 50:
                waiting.append((name, "exact" if fate < EXACT else "near", text))
            yield {"id": name, "text": text, "source": "bench", "lang": "und", "meta": "{}"}
            done, count = done + len(text.encode()), count + 1
            if len(waiting) > 1000:  # a copy stands far from its original
                original, kind, text = waiting.pop(rng.randrange(len(waiting)))
                copy = text.replace(" ", "  ", 3) + "\n" if kind == "exact" else near_copy(text, rng)
                planted[f"c{count}"] = kind, original
                yield {"id": f"c{count}", "text": copy, "source": "bench", "lang": "und", "meta": "{}"}
                done += len(copy.encode())
            if done >= num_bytes:
                return


def build(folder: Path, base: list[str], num_bytes: int) -> int:
    """Write the docs and what was planted; returns the bytes of text."""
    planted: dict[str, tuple[str, str]] = {}
    size = write_docs(folder, documents(base, num_bytes, planted))[1]
    (folder / "planted.json").write_text(json.dumps(planted))
    return size


def run(docs: Path, out: Path, workers: int, near: float) -> None:
    """Measure one run in this process and print it as JSON."""
    if workers == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        pa.set_cpu_count(1)
    stages: dict[str, float] = {}
    inner = duplicates.map_shards

    def timed(work: Work, fn: Any, tasks: Any, what: str, unit: str = "shards") -> Iterator[Any]:
        started = time.perf_counter()
        yield from inner(work, fn, tasks, what, unit)
        stages[what] = round(time.perf_counter() - started, 2)

    def dedup_of(folder: Path, name: str, count: int) -> None:
        for part in ("out", "scratch"):
            (out / name / part).mkdir(parents=True)
        work = Work(out / name / "out", out / name / "scratch", Runtime(out, workers=count), Log(quiet=True))
        duplicates.duplicates(work, docs={"bench": Artifact(folder, "", {})}, near=near, order=["bench"])

    warm = "one two three four five six seven eight nine ten "
    write_docs(out / "warm", ({**dict.fromkeys(("source", "lang", "meta"), ""), "id": str(i), "text": warm * 3 + str(i)}
                              for i in range(9)))  # fmt: skip
    dedup_of(out / "warm", "first", 1)
    for module in (sketches, duplicates):
        module.map_shards = timed  # type: ignore[attr-defined]
    started, cpu = time.perf_counter(), cpu_seconds()
    dedup_of(docs, "run", workers)
    result = {"seconds": round(time.perf_counter() - started, 2), "cpu_s": round(cpu_seconds() - cpu, 2)}
    # not getrusage of itself: that is at least what the parent had when it started this process
    own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert own is not None
    peak = max(int(own[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
    print(json.dumps({**result, "peak_bytes": peak, "stages": stages}))


def truth(docs: Path, out: Path, near: float) -> dict[str, int]:
    """How many planted copies were found, and how many near duplicates nothing supports."""
    planted = json.loads((docs / "planted.json").read_text())
    rows = pq.read_table(out / "run/out/duplicates/bench")
    ids, roots = rows["id"].to_pylist(), rows["dup_of"].to_pylist()
    component = {name: root.removeprefix("bench/") if root else name for name, root in zip(ids, roots, strict=True)}
    at = {name: i for i, name in enumerate(ids)}
    sketched = sketches.Sketches(out / "run/scratch/sketches", np.cumsum([0, *(t.num_rows for t in read_shards(docs))]))
    counts = dict.fromkeys(("docs", "exact", "exact_found", "near", "near_found", "of_near", "of_near_found"), 0)
    counts.update(docs=len(ids), marked=len(roots) - roots.count(None), unsupported=0)
    with sketches.Shingles(sketched) as shingles:
        for copy, (kind, original) in planted.items():
            found = component[copy] == component[original]
            kinds = [kind]
            if kind == "near" and shingles.similar(at[copy], at[original], near):
                kinds.append("of_near")
            for name in kinds:
                counts[name] += 1
                counts[f"{name}_found"] += found
        members: dict[str, list[int]] = {}
        for name, root in component.items():
            members.setdefault(root, []).append(at[name])
        kinds = rows["dup_kind"].to_pylist()
        for group in members.values():
            for text in (text for text in group if kinds[text] == "near"):
                others = (other for other in group if other != text)
                counts["unsupported"] += not any(shingles.similar(text, other, near) for other in others)
    return counts


def measure(docs: Path, num_bytes: int, workers: int, near: float) -> dict[str, Any]:
    """One run in a fresh process, and its truth."""
    with tempfile.TemporaryDirectory(dir=docs.parent) as folder:
        words = [sys.executable, __file__, str(docs), "--run", folder, "--workers", str(workers), "--near", str(near)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, env=env).stdout)
        rate = round(num_bytes / 1e6 / found["seconds"], 1)
        first = {"megabytes": round(num_bytes / 1e6, 1), "workers": workers, "threshold": near, "mb_per_s": rate}
        first["mb_per_cpu_s"] = round(num_bytes / 1e6 / found["cpu_s"], 1)
        return {**first, **found, **truth(docs, Path(folder), near)}


def table(rows: list[dict[str, Any]]) -> str:
    """For people."""
    names = ("megabytes", "workers", "threshold", "mb_per_s", "mb_per_cpu_s", "peak_mb")
    names += ("exact", "near", "of_near", "marked", "unsupported", "stages")
    lines = [names]
    for row in rows:
        shares = {name: f"{row[name + '_found']}/{row[name]}" for name in ("exact", "near", "of_near")}
        whole = {**row, **shares, "peak_mb": row["peak_bytes"] // 10**6}
        lines.append(tuple(str(whole[name]) for name in names))
    return "\n".join("".join(f"{cell:>13}" for cell in line) for line in lines)


def main() -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(description="measure dedup")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", default="100,1000")
    parser.add_argument("--near", type=float, default=0.8)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        return run(given.folder, given.run, int(given.workers), given.near)
    base, rows = texts(given.folder), []
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in given.megabytes.split(","):
            docs = Path(folder, megabytes)
            size = build(docs, base, int(megabytes) * 10**6)
            print(f"{size / 1e6:.0f} MB in {len(shards(docs))} shards", file=sys.stderr)
            for workers in given.workers.split(","):
                rows.append(measure(docs, size, int(workers), given.near))
                print(table(rows[-1:]), file=sys.stderr)
    print(json.dumps(rows, indent=1) if given.json else table(rows))


if __name__ == "__main__":
    main()
