"""What the command line prints: plans, artifacts and differences as lines and as JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from aurora_m.core.canon import JSON, differences
from aurora_m.core.ends import Ends, ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.manifest import read_manifest, verify
from aurora_m.core.run import PlanEntry
from aurora_m.core.step import Artifact
from aurora_m.core.store import Store
from aurora_m.core.units import format_count, format_duration, format_size
from aurora_m.foresight.devices import Machines
from aurora_m.foresight.estimate import Estimate
from aurora_m.model.base import base_ends

CELL = 160  # characters of a value on one line

Costs = Mapping[str, Estimate | str]
NO_COSTS: Costs = {}
MACHINE = Machines()


def ends_in_plan(rows: list[PlanEntry], root: Path) -> Ends | None:
    """How documents begin and end under a base that comes from elsewhere, if it is there; `root` is the recipe's."""
    for row in rows:
        if row.step.name == "base" and "model" in row.step.params:
            params = row.step.params
            local = base_ends(str(params["model"]), root, str(params.get("end_token", "")))
            return ends_of(row.artifact.path) if row.artifact else local
    return None


def plan_rows(rows: list[PlanEntry], costs: Costs = NO_COSTS, ends: Ends | None = None) -> list[JSON]:
    """A plan for machines; a training step that is not done has an `estimate`, and the base the `ends` of documents."""
    lines: list[JSON] = []
    for row in rows:
        about: dict[str, JSON] = {
            "step": row.step.name,
            "state": row.state,
            "why": row.why,
            "last_s": row.last_s,
            "digest": row.artifact.digest if row.artifact else None,
        }
        if ends and row.step.name == "base":
            about["ends"] = to_json(ends)
        cost = costs.get(row.step.name)
        lines.append({**about, "estimate": cost if isinstance(cost, str) else cost.to_json()} if cost else about)
    return lines


def plan_lines(
    rows: list[PlanEntry],
    command: str,
    costs: Costs = NO_COSTS,
    machines: Machines = MACHINE,
    ends: Ends | None = None,
) -> list[str]:
    """A plan for people: state, step, size, time, and why; what documents begin and end with under the base; what
    training costs; the sums; the command that is next.
    """
    cells = [(row.state, row.step.name, _size(row), _time(row), row.why) for row in rows]
    state, name, size, time = (max(len(cell[column]) for cell in cells) for column in range(4))
    lines = [
        f" {cell[0]:<{state}}  {cell[1]:<{name}}  {cell[2]:<{size}}  {cell[3]:>{time}}  {cell[4]}".rstrip()
        for cell in cells
    ]
    lines += [f" {ends}"] if ends else []
    count = Counter(row.state for row in rows)
    if count["have"] == len(rows):
        return [*lines, f" nothing to do: all {len(rows)} steps are there"]
    last = [row.last_s for row in rows if row.state != "have"]
    guess = "" if None in last else f", about {format_duration(sum(s or 0.0 for s in last))} as last time"
    sums = f" {count['run']} to run now, {count['wait']} wait, {count['have']} done{guess}"
    return [*lines, *_cost_lines(costs, machines), sums, f" next: {command}"]


def _cost_lines(costs: Costs, machines: Machines) -> list[str]:
    """What training costs, a line a step; nothing where nothing is trained."""
    if not costs:
        return []
    speed = f"{machines.flop_s / 1e12:.3g} TFLOP/s each ({machines.share:.0%} of the peak)"
    lines = [f" training, estimated on {machines.devices} x {machines.kind} at {speed}"]
    cells = [_cost_cells(name, cost) for name, cost in costs.items()]
    columns = range(max(map(len, cells)))
    wide = [max((len(cell[column]) for cell in cells if len(cell) > column + 1), default=0) for column in columns]
    lines += ["  " + "  ".join(text.ljust(w) for text, w in zip(cell, wide, strict=False)).rstrip() for cell in cells]
    known = [cost.seconds for cost in costs.values() if not isinstance(cost, str) and cost.seconds is not None]
    return [*lines, f"  together {format_duration(sum(known))}"] if len(known) > 1 else lines


def _cost_cells(name: str, cost: Estimate | str) -> list[str]:
    if isinstance(cost, str):
        return [name, cost]
    size = f"{format_size(cost.memory_bytes)} a device" + ("" if cost.fits else ": does not fit")
    if cost.flop is None or cost.attention_flop is None or cost.seconds is None:
        return [name, f"{format_count(cost.parameters)} parameters", size, "as long as its rows are many"]
    return [
        name,
        f"{format_count(cost.parameters)} parameters",
        size,
        format_duration(cost.seconds),
        f"{cost.flop:.3g} FLOP (attention: {cost.attention_flop / cost.flop:.0%} more)",
        f"{format_count(cost.tokens or 0)} tokens",
        f"{cost.opt_steps or 0:,} optimizer steps",
    ]


def _size(row: PlanEntry) -> str:
    """What a step made, or what it will read."""
    params = row.step.params
    if row.artifact is None:
        return f"{format_count(int(str(params['tokens'])))} tokens" if "tokens" in params else ""
    facts = row.artifact.facts
    for key in ("tokens", "docs_kept", "docs", "items", "parameters", "passed", "rows"):
        if isinstance(facts.get(key), int):
            unit = "docs kept" if key == "docs_kept" else "rows passed" if key == "passed" else key
            return f"{format_count(int(str(facts[key])))} {unit}"
    return format_size(sum(p.stat().st_size for p in row.artifact.path.rglob("*") if p.is_file()))


def _time(row: PlanEntry) -> str:
    return format_duration(row.last_s) if row.last_s is not None else "-"


def artifact_row(store: Store, artifact: Artifact, up: bool) -> JSON:
    """An artifact for machines: its manifest, and with `up` those of all that it was made from."""
    manifest: dict[str, JSON] = {"path": str(artifact.path), **read_manifest(artifact.path)}
    if up:
        manifest["made_from"] = [read_manifest(home) for _, home in _lineage(store, artifact)]
    return manifest


def artifact_lines(store: Store, artifact: Artifact, up: bool, num_rows: int) -> list[str]:
    """An artifact for people: where it is, facts, parameters, files, some rows, and with `up` its lineage."""
    manifest = read_manifest(artifact.path)
    key = manifest["key"]
    lines = [
        str(artifact.path),
        f"made by {key['fn']} in {format_duration(manifest['seconds'])}, {manifest['finished']}",
        f"digest {manifest['digest']}",
    ]
    for title, values in (("facts", artifact.facts), ("params", key["params"]), ("inputs", key["inputs"])):
        if values:
            lines += [title, *_tree(values)]
    files = manifest["files"]
    lines += ["files", *(f"  {name}  {format_size(about['bytes'])}" for name, about in files.items())]
    for name in files:
        lines += _sample(artifact.path / name, name, num_rows)
    if up:
        lines += ["made from", *(f"{'  ' * depth}  {home.name}" for depth, home in _lineage(store, artifact))]
    return lines


def _tree(value: Any, depth: int = 1) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{'  ' * depth}{_cell(value)}"
        return
    for name, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{'  ' * depth}{name}"
            yield from _tree(item, depth + 1)
        else:
            yield f"{'  ' * depth}{name}  {_cell(item)}"


def _cell(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _sample(path: Path, name: str, num_rows: int) -> list[str]:
    """The first rows of a table or of JSON lines."""
    if num_rows < 1 or path.suffix not in (".parquet", ".jsonl"):
        return []
    rows: list[Any]
    if path.suffix == ".parquet":
        batches = pq.ParquetFile(path).iter_batches(num_rows)
        rows = next((batch.to_pylist() for batch in batches), [])
    else:
        rows = read_jsonl(path)[:num_rows]
    return [f"rows of {name}", *(f"  {_cell(row)}" for row in rows)]


def _lineage(store: Store, artifact: Artifact) -> Iterator[tuple[int, Path]]:
    """All artifacts that one was made from, nearest first, each once, with its distance."""
    homes = {read_manifest(home)["digest"]: home for home in store.homes()}
    seen: set[str] = set()
    front = [(1, digest) for digest in read_manifest(artifact.path)["key"]["inputs"].values()]
    while front:
        depth, digest = front.pop(0)
        if digest in seen or digest not in homes:
            continue
        seen.add(digest)
        yield depth, homes[digest]
        inputs = read_manifest(homes[digest])["key"]["inputs"]
        front += [(depth + 1, parent) for parent in inputs.values()]


def differing(a: str, b: str, store: Store) -> list[str]:
    """What differs between two recipes (`.toml`), two artifacts, or, paired, two models' scores."""
    if a.endswith(".toml") != b.endswith(".toml"):
        raise RecipeError(
            "a recipe cannot be compared with an artifact", at=f"{a} and {b}", hint="name two recipes or two artifacts"
        )
    if a.endswith(".toml"):
        from aurora_m.core.typed import plain
        from aurora_m.recipe import load

        return differences(plain(load(Path(a))), plain(load(Path(b))))
    first, second = store.named(a), store.named(b)
    for artifact in (first, second):
        verify(artifact.path)
    if (first.path / "scores.jsonl").exists() and (second.path / "scores.jsonl").exists():
        return _score_lines(first, second, _margins(a, b, store))
    keys = [read_manifest(artifact.path)["key"] for artifact in (first, second)]
    return differences({"key": keys[0], "facts": first.facts}, {"key": keys[1], "facts": second.facts})


def _margins(a: str, b: str, store: Store) -> dict[str, float]:
    """The margins of the recipe that both names are of, as its forgetting report took them; none without one."""
    recipe = a.split("/")[0]
    name = f"{recipe}/forgetting"
    if b.split("/")[0] != recipe or name not in store.names():
        return {}
    return dict(read_manifest(store.named(name).path)["key"]["params"]["margins"])


def _score_lines(first: Artifact, second: Artifact, margins: Mapping[str, float]) -> list[str]:
    from aurora_m.report.forgetting import changes_against

    rows = [read_jsonl(artifact.path / "scores.jsonl") for artifact in (first, second)]
    lines = []
    for c in changes_against(rows[0], rows[1], margins):
        form = "{:+.1%}" if c.relative else "{:+.3f}"
        ends = f" [{form.format(c.low)}, {form.format(c.high)}]" if c.n > 1 else ""  # one item has no interval
        unit = f"{form.format(c.change)}{ends}"
        lines.append(
            f"{c.task:<12} {c.lang:<5} {c.metric:<16} {c.before:8.3f} {c.after:8.3f}  {unit}  n={c.n}  {c.verdict}"
        )
    return lines
