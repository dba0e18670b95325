"""What the command line prints: plans, artifacts and differences, for people and for machines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aurora_m.cli.show import CELL, artifact_lines, artifact_row, differing, plan_lines, plan_rows
from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.files import write_json, write_jsonl
from aurora_m.core.run import PlanEntry
from aurora_m.core.step import Artifact, Facts, Step
from aurora_m.core.store import Store
from aurora_m.core.table import write_table
from aurora_m.core.units import format_size
from aurora_m.foresight.devices import Machines
from aurora_m.foresight.estimate import Estimate
from aurora_m.recipe import dumps, load

TINY = Path(__file__).parents[2] / "recipes" / "tiny.toml"
COMMAND = "aurora run my.toml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def commit(store: Store, name: str, facts: Facts, inputs: dict[str, str] | None = None, **params: Any) -> Artifact:
    """An artifact of the files that stand in its partial folder, with the name `my/<name>`."""
    key = key_of(name, inputs, **params)
    out_of(store, name, inputs, **params)
    made = store.commit(key, facts, {"finished": "2024-05-01", "seconds": 3.25})
    store.point(f"my/{name}", made)
    return made


def key_of(name: str, inputs: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    return {"name": name, "fn": f"toy:{name}", "version": 1, "params": params, "inputs": inputs or {}}


def out_of(store: Store, name: str, inputs: dict[str, str] | None = None, **params: Any) -> Path:
    out = store.partial(key_of(name, inputs, **params)) / "out"
    out.mkdir(parents=True, exist_ok=True)
    return out


def have(tmp_path: Path, name: str, last_s: float, **facts: Any) -> PlanEntry:
    return PlanEntry(Step(name, "toy:x"), "have", "", Artifact(tmp_path, "0" * 64, facts), last_s)


def todo(name: str, why: str = "never run", last_s: float | None = None, **params: Any) -> PlanEntry:
    return PlanEntry(
        Step(name, "toy:x", params=params), "wait" if why.startswith("needs") else "run", why, None, last_s
    )


# --- plans


def test_a_plan_for_people(tmp_path: Path) -> None:
    rows = [
        have(tmp_path, "fetch.en", 0.04, docs=94, bytes=5),
        have(tmp_path, "decide.a-long-name", 75.0, docs_in=9000, docs_kept=8123),
        todo("mixture.base", "params.tokens: 1 -> 2", tokens=377_000_000_000),
        todo("base", "needs mixture.base", 4000.0),
    ]
    assert plan_lines(rows, COMMAND) == [
        " have  fetch.en            94 docs           0.0s",
        " have  decide.a-long-name  8,123 docs kept  1m15s",
        " run   mixture.base        377B tokens          -  params.tokens: 1 -> 2",
        " wait  base                                 1h06m  needs mixture.base",
        " 1 to run now, 1 wait, 2 done",
        " next: aurora run my.toml",
    ]


def test_the_time_that_is_left_is_told_if_every_step_has_run_before(tmp_path: Path) -> None:
    rows = [have(tmp_path, "a", 100.0), todo("b", last_s=0.0), todo("c", "needs b", 61.0)]
    assert plan_lines(rows, COMMAND)[-2] == " 1 to run now, 1 wait, 1 done, about 1m01s as last time"


def test_a_plan_with_nothing_to_do(tmp_path: Path) -> None:
    lines = plan_lines([have(tmp_path, "a", 1.0), have(tmp_path, "b", 2.0)], COMMAND)
    assert lines[-1] == " nothing to do: all 2 steps are there"
    assert not any("next" in line for line in lines)


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        ({"tokens": 999_999, "docs": 3}, "999,999 tokens"),
        ({"tokens": 1_000_000}, "1M tokens"),
        ({"tokens": 1_234_567}, "1.23M tokens"),
        ({"tokens": 435_000_000_000}, "435B tokens"),
        ({"docs_in": 9, "docs_kept": 0}, "0 docs kept"),
        ({"items": 712}, "712 items"),
        ({"architecture": "llama", "parameters": 1_081_344}, "1.08M parameters"),
        ({"passed": 120}, "120 rows passed"),
        ({"rows": 1757, "row_tokens": 256}, "1,757 rows"),
        ({"docs": {"en": 3}}, "2.5 KiB"),
        ({}, "2.5 KiB"),
    ],
)
def test_sizes(tmp_path: Path, facts: Facts, size: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(bytes(2560))
    assert plan_lines([have(tmp_path, "x", 1.0, **facts)], COMMAND)[0] == f" have  x  {size}  1.0s"


def test_a_plan_for_machines(tmp_path: Path) -> None:
    rows = [have(tmp_path, "a", 1.5), todo("b")]
    assert plan_rows(rows) == [
        {"step": "a", "state": "have", "why": "", "last_s": 1.5, "digest": "0" * 64},
        {"step": "b", "state": "run", "why": "never run", "last_s": None, "digest": None},
    ]
    json.dumps(plan_rows(rows), allow_nan=False)


def test_what_training_costs(tmp_path: Path) -> None:
    shape = {"parameters": 15_500_000_000, "trained": 15_500_000_000, "memory_bytes": 3 * 2**30, "memory": {}}
    known = Estimate(
        **shape, fits=True, opt_steps=90_000, tokens=377_000_000_000, flop=35 * 10**21,
        attention_flop=21 * 10**20, seconds=3e6,
    )  # fmt: skip
    costs = {
        "cap": known,
        "longer": Estimate(**{**vars(known), "fits": False, "seconds": 6e5}),
        "safe": Estimate(**shape, fits=True),
        "far": "unknown until the base is there",
    }
    rows, work = [todo("cap")], "3.5e+22 FLOP (attention: 6% more)  377B tokens  90,000 optimizer steps"
    assert plan_lines(rows, COMMAND, costs, Machines("mi250x", 128, 0.25))[1:-2] == [
        " training, estimated on 128 x mi250x at 95.8 TFLOP/s each (25% of the peak)",
        f"  cap     15.5B parameters  3 GiB a device                34d17h  {work}",
        f"  longer  15.5B parameters  3 GiB a device: does not fit  6d22h   {work}",
        "  safe    15.5B parameters  3 GiB a device                as long as its rows are many",
        "  far     unknown until the base is there",
        "  together 41d16h",
    ]
    (row,) = plan_rows(rows, {"cap": known})
    assert isinstance(row, dict)
    assert row["estimate"] == known.to_json()
    (row,) = plan_rows(rows, {"cap": "unknown"})
    assert isinstance(row, dict)
    assert row["estimate"] == "unknown"


# --- artifacts


def test_an_artifact_for_people(store: Store) -> None:
    out = out_of(store, "docs", lang="en")
    write_table(out / "docs" / "0.parquet", pa.table({"id": ["a", "b", "c"], "text": ["x", "y\n\n  z", "w" * 999]}))
    write_jsonl(out / "rows.jsonl", [{"n": number} for number in range(5)])
    (out / "plain.bin").write_bytes(bytes(2048))
    made = commit(store, "docs", {"docs": 3, "by": {"en": {"mean": 0.5}}, "none": {}}, lang="en")
    lines = artifact_lines(store, made, False, 2)
    size = (made.path / "docs" / "0.parquet").stat().st_size
    assert lines == [
        str(made.path),
        "made by toy:docs in 3.2s, 2024-05-01",
        f"digest {made.digest}",
        "facts",
        "  docs  3",
        "  by",
        "    en",
        "      mean  0.5",
        "  none  {}",
        "params",
        "  lang  en",
        "files",
        f"  docs/0.parquet  {format_size(size)}",
        "  plain.bin  2 KiB",
        "  rows.jsonl  45 B",
        "rows of docs/0.parquet",
        "  {'id': 'a', 'text': 'x'}",
        "  {'id': 'b', 'text': 'y\\n\\n z'}",
        "rows of rows.jsonl",
        "  {'n': 0}",
        "  {'n': 1}",
    ]
    last = artifact_lines(store, made, False, 3)[-5]
    assert last.startswith("  {'id': 'c', 'text': 'www")
    assert len(last) == CELL + 2
    assert last.endswith("…")
    assert artifact_lines(store, made, False, 0) == lines[:15]


def test_a_table_without_rows(store: Store) -> None:
    write_table(out_of(store, "docs") / "0.parquet", pa.table({"id": pa.array([], pa.string())}))
    assert artifact_lines(store, commit(store, "docs", {}), False, 3)[-1] == "rows of 0.parquet"


def test_lineage_names_each_ancestor_once_the_nearest_first(store: Store) -> None:
    one = commit(store, "one", {"n": 1})
    left = commit(store, "left", {"n": 2}, {"given": one.digest})
    right = commit(store, "right", {"n": 3}, {"given": one.digest})
    end = commit(store, "end", {}, {"a.left": left.digest, "a.right": right.digest, "lost": "f" * 64})
    lines = artifact_lines(store, end, True, 3)
    assert lines[lines.index("made from") + 1 :] == [
        f"    {left.path.name}",
        f"    {right.path.name}",
        f"      {one.path.name}",
    ]
    row: Any = artifact_row(store, end, True)
    assert (row["path"], row["digest"], row["facts"]) == (str(end.path), end.digest, {})
    assert [manifest["key"]["name"] for manifest in row["made_from"]] == ["left", "right", "one"]
    alone: Any = artifact_row(store, end, False)
    assert "made_from" not in alone


# --- differences


def test_two_recipes(store: Store, tmp_path: Path) -> None:
    tiny, other = load(TINY), tmp_path / "other.toml"
    tune = replace(tiny.tune["safe"], epochs=99)
    other.write_text(dumps(replace(tiny, seed=987, tune={"safe": tune})))
    assert differing(str(TINY), str(other), store) == [
        f"seed: {tiny.seed} -> 987",
        f"tune.safe.epochs: {tiny.tune['safe'].epochs} -> 99",
    ]
    assert differing(str(TINY), str(TINY), store) == []


def test_two_artifacts(store: Store) -> None:
    commit(store, "a", {"docs": 3}, lang="en")
    commit(store, "b", {"docs": 4}, lang="fi")
    assert differing("my/a", "my/b", store) == [
        "facts.docs: 3 -> 4",
        "key.fn: toy:a -> toy:b",
        "key.name: a -> b",
        "key.params.lang: en -> fi",
    ]
    assert differing("my/a", "my/a", store) == []


def test_a_recipe_and_an_artifact_cannot_be_compared(store: Store) -> None:
    with pytest.raises(RecipeError) as caught:
        differing("my.toml", "my/a", store)
    assert (caught.value.at, caught.value.hint) == ("my.toml and my/a", "name two recipes or two artifacts")


def test_an_unknown_artifact(store: Store) -> None:
    commit(store, "a", {})
    with pytest.raises(StoreError, match="no artifact is named `my/b`"):
        differing("my/a", "my/b", store)


def test_the_scores_of_two_models(store: Store) -> None:
    for name, right in (("old", 30), ("new", 10)):
        about = {"group": "", "weight": 1.0, "lang": "fi"}
        rows: list[Any] = [
            {"id": f"{n:02}", "task": "choice_fi", "metric": "accuracy", "value": float(n < right), **about}
            for n in range(40)
        ]
        rows += [
            {"id": f"{n:02}", "task": "bpb", "metric": "bpb", "value": 50.0 if name == "old" else 55.0, **about}
            for n in range(40)
        ]
        write_jsonl(out_of(store, name) / "scores.jsonl", rows)
        write_json(out_of(store, name) / "about.json", name)
        commit(store, name, {})
    bits, points = (line.split() for line in differing("my/old", "my/new", store))
    assert bits == ["bpb", "fi", "bpb", "50.000", "55.000", "+10.0%", "[+10.0%,", "+10.0%]", "n=40", "lost"]
    assert points[:6] == ["choice_fi", "fi", "accuracy", "0.750", "0.250", "-0.500"]
    assert points[-2:] == ["n=40", "lost"]


@pytest.mark.parametrize(
    ("forgetting", "other", "verdict"),
    [(True, "my/new", "equivalent"), (False, "my/new", "lost"), (True, "another/new", "lost")],
)
def test_scores_are_compared_with_the_margins_of_their_recipe(
    store: Store, forgetting: bool, other: str, verdict: str
) -> None:
    for name, bits in (("old", 50.0), ("new", 51.0)):
        about: dict[str, Any] = {"group": "", "weight": 1.0, "lang": "fi", "task": "bpb", "metric": "bpb"}
        write_jsonl(out_of(store, name) / "scores.jsonl", [{"id": f"{n}", "value": bits, **about} for n in range(40)])
        store.point(f"another/{name}", commit(store, name, {"name": name}))
    if forgetting:
        commit(store, "forgetting", {}, margins={"fi": 0.05})
    (line,) = differing("my/old", other, store)
    assert line.split()[-1] == verdict
