"""`aurora watch`: what the files of a store say, whole or half written, from another process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aurora_m.cli.watch import BARS, Metrics, metrics_of, running, sparkline, view, watch
from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.store import Store

ROOT = Path(__file__).parents[2]
ABOUT = {"max_old_rise": 0.05, "then": "pause", "base": {"en": 2.0}}
HEAD = {"at_s": 100.0, "done": 0, "format": 2, "step": "cap", "opt_steps": 10, "batch_tokens": 50, **ABOUT}


def entries(count: int) -> list[dict[str, Any]]:
    """Steps of two seconds each; the third has no update, and the fourth is a mark over its budget."""
    rows: list[dict[str, Any]] = [{"format": 2, "tokens": 0, "measure": {"en": 2.0, "fi": 4.0, "kl/en": 0.0}}]
    for step in range(1, count + 1):
        row = {
            "at_s": 100.0 + 2 * step,
            "tokens": 50 * step,
            "loss": 4.0 - step / 10,
            "lr": 1e-3,
            "norm": 1.25,
            "by_source": {},
        }
        rows.append(row)
    if count >= 3:
        rows[3] = {"at_s": 106.0, "tokens": 150, "lr": 1e-3, "skipped": "not finite", "rows": [20, 29]}
    if count >= 4:
        rows[4] |= {"measure": {"en": 2.2, "fi": 3.0, "kl/en": 0.25}, "old_rise": {"en": 0.1}, "over_budget": ["en"]}
    return rows


def told(store: Path, rows: list[dict[str, Any]], name: str = "tiny/cap", end: str = "") -> Path:
    path = store / "runs" / name / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return path


def events(store: Path, *rows: dict[str, Any]) -> None:
    store.mkdir(exist_ok=True)
    (store / "events.jsonl").write_text("".join(json.dumps({"at_s": 1.0, **row}) + "\n" for row in rows))


def seen(path: Path, at_s: float = 112.0) -> dict[str, Any]:
    metrics = Metrics(path)
    metrics.look()
    return view(metrics, {"step": "cap", "at_s": 99.0}, at_s)


def lines_of(metrics: Metrics) -> list[Any]:
    assert metrics.curve is not None
    return metrics.curve.to_json()


def without_times(rows: list[dict[str, Any]]) -> list[Any]:
    return [{key: value for key, value in row.items() if key != "at_s"} for row in rows]


def test_numbers_of_another_version_are_refused(tmp_path: Path) -> None:
    start = {"tokens": 0, "measure": {"en": 2.0}}
    with pytest.raises(StoreError, match="this curve has format 1, and this version of Aurora reads 2") as caught:
        seen(told(tmp_path, [HEAD, start]))
    assert caught.value.hint == "run the recipe again, or choose another `--store`"


def test_what_machines_see(tmp_path: Path) -> None:
    assert seen(told(tmp_path, [HEAD, *entries(5)])) == {
        "running": "cap", "recipe": "tiny", "step": "cap", "opt_step": 5, "opt_steps": 10, "tokens": 250,
        "total_tokens": 500, "tokens_per_s": 25.0, "left_s": 10.0, "age_s": 2.0, "loss": 3.5, "lr": 1e-3,
        "norm": 1.25, "skipped": [3], "max_old_rise": 0.05, "over_budget": ["en"], "waits": False,
        "held_out": {
            "en": {"first": 2.0, "now": 2.2, "rise_over_base": 0.1},
            "fi": {"first": 4.0, "now": 3.0},
            "kl/en": {"first": 0.0, "now": 0.25},
        },
    }  # fmt: skip


def test_a_stage_that_waits_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = told(tmp_path, [HEAD, *entries(4)])
    assert seen(path)["waits"]
    watch(Store(tmp_path), None, once=True, as_json=False)
    assert "it waits for people: the same run with --go-on goes on" in capsys.readouterr().out
    told(tmp_path, [{**HEAD, "then": "warn"}, *entries(4)])
    assert not seen(path)["waits"]


def test_a_stage_that_only_began(tmp_path: Path) -> None:
    found = seen(told(tmp_path, [HEAD, *entries(0)]))
    assert (found["opt_step"], found["tokens_per_s"], found["left_s"], found["loss"]) == (0, None, None, None)
    assert found["over_budget"] == []


def test_lines_are_read_on_as_they_come_and_half_ones_wait(tmp_path: Path) -> None:
    rows = [HEAD, *entries(5)]
    path = told(tmp_path, rows[:3], end='{"tokens": 100, "lo')
    metrics = Metrics(path)
    metrics.look()
    assert (metrics.head, lines_of(metrics)) == (rows[0], without_times(rows[1:3]))
    with path.open("r+") as file:
        file.truncate(path.stat().st_size - len('{"tokens": 100, "lo'))
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows[3:])
    for _ in range(2):
        metrics.look()
        assert (metrics.head, lines_of(metrics)) == (rows[0], without_times(rows[1:]))


def test_a_file_that_took_the_others_place_is_read_from_its_start(tmp_path: Path) -> None:
    path = told(tmp_path, [HEAD, *entries(5)])
    metrics = Metrics(path)
    metrics.look()
    other = path.with_name("other")
    other.write_text(json.dumps(HEAD) + "\n" + json.dumps(entries(0)[0]) + "\n")
    os.replace(other, path)
    metrics.look()
    assert (metrics.head, lines_of(metrics)) == (HEAD, entries(0))


def test_names_find_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert metrics_of(store, None) is None
    paths = {name: told(tmp_path, [HEAD], name) for name in ("tiny/base", "tiny/cap", "other/cap")}
    for age, name in enumerate(("other/cap", "tiny/base", "tiny/cap")):
        os.utime(paths[name], (1000 - age, 1000 - age))
    assert metrics_of(store, None) == paths["other/cap"]
    assert metrics_of(store, "tiny") == paths["tiny/base"]
    assert metrics_of(store, "tiny/cap") == paths["tiny/cap"]
    assert metrics_of(store, "none") is None
    recipe = tmp_path / "my.toml"
    recipe.write_text('name = "tiny"\n')
    assert metrics_of(store, str(recipe)) == paths["tiny/base"]
    for wrong in (tmp_path / "nowhere.toml", ROOT / "pyproject.toml"):
        with pytest.raises(RecipeError, match="this is no recipe"):
            metrics_of(store, str(wrong))


def test_the_running_step_is_the_last_that_began(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert running(store) is None
    start, done = {"event": "start", "step": "cap"}, {"event": "done", "step": "cap"}
    for rows, expected in (([start], "cap"), ([start, done], None), ([done, start, {"event": "bad_step"}], "cap")):
        events(store.root, *rows)
        now = running(store)
        assert (now and now["step"]) == expected


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([0.0, 7.0], "▁█"), (list(map(float, range(8))), BARS)],
)
def test_sparklines(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


def test_a_long_sparkline_is_of_medians() -> None:
    assert sparkline([1.0, 1.0, 99.0, 8.0, 8.0, 8.0], 2) == "▁█"


def test_nothing_has_run(tmp_path: Path) -> None:
    for what, words in ((None, "nothing has run yet"), ("tiny", "no run of `tiny`")):
        with pytest.raises(StoreError) as caught:
            watch(Store(tmp_path), what, once=True, as_json=False)
        assert (caught.value.what, caught.value.at) == (words, str(tmp_path))


def test_a_run_before_its_first_training_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events(tmp_path, {"event": "start", "step": "signals.fi"})
    watch(Store(tmp_path), None, once=True, as_json=False)
    assert "step signals.fi is running" in capsys.readouterr().out


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    return subprocess.run(
        [sys.executable, "-m", "aurora_m", "watch", *words], env=environment, capture_output=True, text=True
    )


def test_from_another_process(tmp_path: Path) -> None:
    nothing = command("--once", "--store", str(tmp_path))
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("error: nothing has run yet")
    told(tmp_path, [HEAD, *entries(5)])
    events(tmp_path, {"event": "start", "step": "cap"})
    shown = command("tiny", "--once", "--store", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["step", "5/10", "250/500", "tokens", "25", "tokens/s", "10.0s", "left"] in lines
    assert ["steps", "without", "an", "update:", "1,", "the", "last", "3"] in lines
    assert ["en", "2.000", "2.200", "+10.0%", "+10.0%"] in lines
    assert ["fi", "4.000", "3.000", "-25.0%"] in lines
    found = json.loads(command("tiny/cap", "--json", "--store", str(tmp_path)).stdout)
    assert found["held_out"]["en"]["rise_over_base"] == 0.1
