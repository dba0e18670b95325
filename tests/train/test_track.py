"""What a running stage tells: whole lines, the curve from where it goes on, TensorBoard's numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import training

from aurora_m.core.log import METRICS, Log
from aurora_m.core.step import Runtime, Work
from aurora_m.train.curve import Curve, from_json
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import Schedule
from aurora_m.train.track import Track, tracking

HEAD = {"format": 2, "step": "cap", "opt_steps": 4, "batch_tokens": 10, "max_old_rise": 0.1, "base": {"en": 2.0}}
START: dict[str, Any] = {"format": 2, "tokens": 0, "measure": {"en": 2.0}}
PLAN = Plan(training(5, 2), 1, 4, Schedule("constant", 0.1, 0.1, 0, 40))
ABOUT = {key: HEAD[key] for key in ("max_old_rise", "base")}


def entry(step: int, **more: Any) -> dict[str, Any]:
    by_source = {"a": [6.0, 2.0], "b": [0.0, 0.0]}
    return {"tokens": 10 * step, "loss": 3.0 - step / 10, "lr": 0.1, "norm": 1.5, "by_source": by_source, **more}


def curve_of(*rows: dict[str, Any]) -> Curve:
    return Curve.from_json([START, *rows], "")


def tell(track: Track, *rows: dict[str, Any]) -> None:
    """Show steps that come one after another, from the first on."""
    curve = curve_of()
    for number, row in enumerate(rows, 1):
        curve.add(from_json(row))
        if number == len(rows):
            track.step(curve)


def place(folder: Path, **runtime: Any) -> Work:
    log = Log(folder / "events.jsonl", quiet=True, runs=folder / "runs/tiny")
    return Work(folder, folder, Runtime(folder, **runtime), log)


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "runs/tiny/cap" / METRICS).read_text().splitlines()]


def without_times(rows: list[Any]) -> list[Any]:
    return [{key: value for key, value in row.items() if key not in ("at_s", "waited_s")} for row in rows]


def test_a_head_and_then_the_curve(tmp_path: Path) -> None:
    with tracking(place(tmp_path), "cap", PLAN, ABOUT) as track:
        track.begin(curve_of())
        assert without_times(lines(tmp_path)) == [{**HEAD, "done": 0}, START]
        for step in (1, 2):
            tell(track, *map(entry, range(1, step + 1)))
        found = lines(tmp_path)  # whole while it runs
        assert without_times(found[2:]) == [entry(1), entry(2)]
        assert found[0]["at_s"] <= found[2]["at_s"] <= found[3]["at_s"]


def test_a_stage_that_goes_on_tells_the_curve_up_to_there_once(tmp_path: Path) -> None:
    work = place(tmp_path)
    with tracking(work, "cap", PLAN, ABOUT) as track:
        track.begin(curve_of())
        for step in (1, 2, 3):
            tell(track, *map(entry, range(1, step + 1)))
        track.begin(curve_of(entry(1)))  # rewound
        tell(track, entry(1), {"tokens": 20, "lr": 0.1, "skipped": "passed over", "rows": [10, 19]})
    with tracking(work, "cap", PLAN, ABOUT) as track:
        track.begin(curve_of(entry(1), entry(2)))
        tell(track, *map(entry, (1, 2, 3)))
    assert without_times(lines(tmp_path)) == [{**HEAD, "done": 2}, START, entry(1), entry(2), entry(3)]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(event["event"], event["opt_step"], event["rows"]) for event in events] == [("bad_step", 2, [10, 19])]


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    work = Work(tmp_path, tmp_path, Runtime(tmp_path), Log(quiet=True))
    with tracking(work, "cap", PLAN, {}) as track:
        track.begin(curve_of())
        tell(track, entry(1))
    assert not list(tmp_path.iterdir())


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = tmp_path / "board"
    with tracking(place(tmp_path, tensorboard=board), "cap", PLAN, ABOUT) as track:
        track.begin(curve_of())
        bad = {"tokens": 20, "lr": 0.1, "skipped": "not finite", "rows": [10, 19]}
        tell(track, entry(1))
        tell(track, entry(1), bad)
        tell(track, entry(1), bad, entry(3, measure={"en": 2.5, "kl/en": 0.25}, anchor={"l2": 0.5}))
        track.begin(curve_of(entry(1)))
        tell(track, entry(1), entry(2))
    found = accumulator.EventAccumulator(str(board / "tiny/cap")).Reload()
    shown = {tag: [(e.step, round(e.value, 4)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert shown["training/loss"] == [(1, 2.9), (2, 2.8)]  # what was rewound is hidden
    assert shown["held out/en"] == [(0, 2.0)]
    assert shown["loss of/a"] == [(1, 3.0), (2, 3.0)]
    assert "loss of/b" not in shown
