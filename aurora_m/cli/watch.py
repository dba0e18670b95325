"""`aurora watch`: what a run does now, live in the terminal. It reads files of the store only, from any shell."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from aurora_m.core.errors import RecipeError, StoreError
from aurora_m.core.log import METRICS
from aurora_m.core.store import Store
from aurora_m.core.typed import parse_toml
from aurora_m.core.units import format_count, format_duration
from aurora_m.core.visible import all_visible, raw
from aurora_m.train.curve import Curve, from_json

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48  # of a line of bars
RECENT = 50  # steps that the rate is taken from
TAIL_BYTES = 2**18  # of the events, in which the last step stands
LOOK_S = 1.0  # between looks


@dataclass
class Metrics:
    """The numbers of one training step, read on as they are written."""

    path: Path
    head: dict[str, Any] = field(default_factory=dict)  # what is planned
    curve: Curve | None = None
    times_s: list[tuple[int, float]] = field(default_factory=list)  # of steps that are new: tokens, when
    inode: int = 0
    offset: int = 0

    def look(self) -> None:
        """Read what is new; all, where the step began again. A line that is only half there waits.

        StoreError if another version of Aurora writes them.
        """
        with self.path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self.inode:
                self.head, self.curve, self.times_s, self.inode, self.offset = {}, None, [], inode, 0
            file.seek(self.offset)
            whole, _, _ = file.read().rpartition(b"\n")
        if whole:
            self.offset += len(whole) + 1
            self._add([json.loads(line) for line in whole.splitlines()])

    def _add(self, rows: list[dict[str, Any]]) -> None:
        if not self.head:
            self.head = rows.pop(0)
        if rows and self.curve is None:
            self.curve = Curve.from_json([rows.pop(0)], str(self.path))
        for row in rows:
            assert self.curve is not None, "the start stands before the steps"
            self.curve.add(from_json(row))
            if "at_s" in row:
                self.times_s.append((row["tokens"], row["at_s"]))


def metrics_of(store: Store, what: str | None) -> Path | None:
    """The numbers to watch: of a step such as `tiny/cap`, or of the newest of a recipe, or of all; None if none is."""
    recipe, _, step = (_name(what) if what else "").partition("/")
    found = list(store.runs.glob(f"{recipe or '*'}/{step or '*'}/{METRICS}"))
    return max(found, key=lambda path: (path.stat().st_mtime, path), default=None)


def _name(what: str) -> str:
    """The name of a recipe's file, or what is a name already."""
    if not what.endswith(".toml"):
        return what
    try:
        return str(parse_toml(Path(what).read_text("utf-8"), what)["name"])
    except (OSError, KeyError, UnicodeDecodeError, RecipeError) as error:
        hint = "give a recipe, or a name such as tiny or tiny/cap"
        raise RecipeError("this is no recipe", at=what, hint=hint) from error


def running(store: Store) -> dict[str, Any] | None:
    """The step that was begun last and is not done, as the events say: its name, and when it began."""
    if not store.events.exists():
        return None
    with store.events.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        if line.endswith(b"}") and b'"event": "start"' in line:
            return {key: value for key, value in json.loads(line).items() if key in ("step", "at_s")}
        if b'"event": "done"' in line:
            return None
    return None


def view(metrics: Metrics | None, now: dict[str, Any] | None, at_s: float) -> dict[str, Any]:
    """What is shown, for machines. Times are seconds; `left_s` is a guess from the last steps."""
    about: dict[str, Any] = {"running": now["step"] if now else None}
    if metrics is None or metrics.curve is None:
        return about
    head, curve, batch_tokens = metrics.head, metrics.curve, metrics.head["batch_tokens"]
    last = curve.learnt[-1] if curve.learnt else None
    rate, total = _rate(metrics.times_s[-RECENT:]), head["opt_steps"] * batch_tokens
    left_s = (total - curve.tokens) / rate if rate else None
    over = curve.eval_points()[-1][1].over_budget
    news_s = max(metrics.times_s[-1][1] if metrics.times_s else 0.0, head["at_s"])
    return {
        **about,
        "recipe": metrics.path.parts[-3],
        "step": head["step"],
        "opt_step": curve.done,
        "opt_steps": head["opt_steps"],
        "tokens": curve.tokens,
        "total_tokens": total,
        "tokens_per_s": rate and round(rate, 1),
        "left_s": None if left_s is None else round(left_s, 1),
        "age_s": round(at_s - news_s, 1),
        "loss": last and last.loss,
        "lr": last and last.lr,
        "norm": last and last.norm,
        "skipped": curve.skipped,
        "held_out": _held_out(head, curve),
        "max_old_rise": head.get("max_old_rise"),
        "over_budget": [*over],
        "waits": bool(curve.last and curve.last.over_budget) and head.get("then") == "pause",
    }


def _rate(times_s: Sequence[tuple[int, float]]) -> float | None:
    if len(times_s) < 2 or times_s[-1][1] <= times_s[0][1]:
        return None
    return float((times_s[-1][0] - times_s[0][0]) / (times_s[-1][1] - times_s[0][1]))


def _held_out(head: dict[str, Any], curve: Curve) -> dict[str, Any]:
    """Each thing measured: at step 0, now, and its rise over the base where there is one."""
    points = [point.measure for _, point in curve.eval_points() if point.measure]
    found = {}
    for key, value in (points[-1] if points else {}).items():
        base = head.get("base", {}).get(key)
        rise = {"rise_over_base": round(value / base - 1, 6)} if base else {}
        found[key] = {"first": points[0].get(key), "now": value, **rise}
    return found


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as bars, each the median of what lies in it; an empty text without values."""
    count = min(width, len(values))
    parts = [values[at * len(values) // count : (at + 1) * len(values) // count] for at in range(count)]
    middles = [median(part) for part in parts]
    low, span = min(middles, default=0.0), max(middles, default=0.0) - min(middles, default=0.0)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in middles)


def drawing(metrics: Metrics | None, about: dict[str, Any], store: Store) -> "RenderableType":
    """What is shown, for people."""
    from rich.console import Group
    from rich.text import Text

    about = all_visible(about)
    if "step" not in about:
        what = f"step {about['running']} is running" if about["running"] else f"nothing has run in {store.root} yet"
        return Text(f"{what}; no training step tells numbers so far")
    assert metrics is not None
    assert metrics.curve is not None
    now = f", now in step {about['running']}" if about["running"] not in (None, about["step"]) else ""
    rate = f"{format_count(about['tokens_per_s'])} tokens/s" if about["tokens_per_s"] else "no rate yet"
    left = "done" if about["opt_step"] == about["opt_steps"] else "no time left known"
    if about["left_s"]:
        left = f"{format_duration(about['left_s'])} left"
    of = f"{format_count(about['tokens'])}/{format_count(about['total_tokens'])} tokens"
    lines = [
        f"{about['recipe']}/{about['step']}{now}   last news {format_duration(max(0.0, about['age_s']))} ago",
        f"step {about['opt_step']}/{about['opt_steps']}   {of}   {rate}   {left}",
        "",
    ]
    for key, form in (("loss", "{:.3f}"), ("norm", "{:.3g}"), ("lr", "{:.2e}")):
        values = [float(getattr(entry, key)) for entry in metrics.curve.learnt]
        lines.append(f"{key:<5} {sparkline(values):<{WIDTH}} {form.format(values[-1]) if values else '-'}")
    if about["waits"]:
        lines.append("over its budget, it waits for people: the same run with --go-on goes on")
    if about["skipped"]:
        last = ", ".join(map(str, about["skipped"][-8:]))
        lines.append(f"steps without an update: {len(about['skipped'])}, the last {last}")
    return Group(Text("\n".join(lines) + "\n"), _languages(about))


def _languages(about: dict[str, Any]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    budget = about["max_old_rise"]
    table = Table(box=None, pad_edge=False)
    more = [f"over base (at most {100 * budget:g}%)"] if budget else []
    for column in ("held out", "step 0", "now", "change", *more):
        table.add_column(column, justify="left" if column == "held out" else "right")
    for key, found in about["held_out"].items():
        first, now = found["first"], found["now"]
        change = f"{now / first - 1:+.1%}" if first else ""
        rise = f"{found['rise_over_base']:+.1%}" if "rise_over_base" in found else ""
        cells = [key, "" if first is None else f"{first:.3f}", f"{now:.3f}", change]
        table.add_row(
            *map(Text, cells), *([rise] if budget else []), style="red" if key in about["over_budget"] else None
        )
    return table


def watch(store: Store, what: str | None, once: bool, as_json: bool) -> None:
    """Show a run until Ctrl-C; with `once`, or where stdout is no terminal, show it once.

    errors  StoreError if it is to be shown once and nothing has run
    """
    from rich.console import Console
    from rich.live import Live

    console, metrics = Console(file=raw(sys.stdout)), None

    def look() -> tuple[Metrics | None, dict[str, Any]]:
        nonlocal metrics
        path = metrics_of(store, what)
        if path is None:
            metrics = None
        else:
            metrics = metrics if metrics is not None and metrics.path == path else Metrics(path)
            metrics.look()
        return metrics, view(metrics, running(store), time.time())

    if once or as_json or not console.is_terminal:
        found, about = look()
        if found is None and about["running"] is None:
            hint = "start one with `aurora run`; training steps tell their numbers while they run"
            raise StoreError(f"no run of `{what}`" if what else "nothing has run yet", at=str(store.root), hint=hint)
        if as_json:
            print(json.dumps(about, ensure_ascii=False))
        else:
            console.print(drawing(found, about, store))
        return
    with Live(console=console, screen=False, auto_refresh=False) as live:
        while True:
            live.update(drawing(*look(), store), refresh=True)
            time.sleep(LOOK_S)
