"""The verbs of the command line: each calls what it is about, and prints."""

import argparse
import difflib
import importlib.util
import json
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_m.cli import distributed, slurm
from aurora_m.core import interrupt
from aurora_m.core.errors import RecipeError
from aurora_m.foresight import devices

if TYPE_CHECKING:
    from aurora_m.core.step import Runtime, Step
    from aurora_m.recipe import Recipe

ENGINES = ("local", "ray")
DEVICES = ("auto", "cpu", "cuda")


def new_recipe(args: argparse.Namespace) -> None:
    """Write a copy of the tiny recipe, named after its file."""
    path: Path = args.path
    text = (Path(__file__).parents[1] / "recipes" / "tiny.toml").read_text()
    name = json.dumps(re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "mine")
    try:
        with path.open("x") as file:
            file.write(text[text.index("name =") :].replace('"tiny"', name, 1))
    except FileExistsError as error:
        hint = "choose another name; nothing was overwritten"
        raise RecipeError("there is a file already", at=str(path), hint=hint) from error
    print(json.dumps({"recipe": str(path)}) if args.json else f"wrote {path}; next: {_command(args, 'plan', path)}")


def show_plan(args: argparse.Namespace) -> None:
    """Print every step with its state and the reason, and what training will cost."""
    from aurora_m.cli.show import ends_in_plan, plan_lines, plan_rows
    from aurora_m.core.run import plan
    from aurora_m.core.store import Store
    from aurora_m.foresight.advice import advice
    from aurora_m.foresight.estimate import estimates
    from aurora_m.graph.build import data_first

    recipe, goals = _graph(args)
    rows = plan(data_first(goals), Store(Path(args.store)))
    machines = devices.machines_of(args, distributed.runtime_fields(args))
    root = args.recipe.resolve().parent
    costs, ends = estimates(rows, machines, root), ends_in_plan(rows, root)
    for line in advice(recipe, costs):
        print(f"note: {line}", file=sys.stderr)
    if args.json:
        print(json.dumps(plan_rows(rows, costs, ends), ensure_ascii=False))
    else:
        to = ("--to", args.to) if args.to else ()
        print("\n".join(plan_lines(rows, _command(args, "run", args.recipe, *to), costs, machines, ends)))


def run_recipe(args: argparse.Namespace) -> None:
    """Make the goals and say where they are."""
    from aurora_m.core.log import Log
    from aurora_m.core.run import check_files, plan, run
    from aurora_m.core.store import Store
    from aurora_m.foresight.advice import advice
    from aurora_m.foresight.estimate import estimates
    from aurora_m.graph.build import data_first

    distributed.follow(partial(_runtime, args), args.device)
    recipe, goals = _graph(args)
    if args.launch:
        check_files(goals)
        path = slurm.write_batch_file(args, recipe.name)
        line = f"wrote {path}; next: sbatch {shlex.quote(str(path))}"
        print(json.dumps({"batch_file": str(path)}) if args.json else line)
        return
    with distributed.leading(_runtime(args), recipe) as runtime:
        log = Log()
        for line in advice(recipe, estimates(plan(goals, Store(runtime.store)), devices.Machines(), runtime.root)):
            log.say(f"note: {line}")
        artifacts = run(data_first(goals), runtime, log, recipe.name)[-len(goals) :]
    made: dict[str, Any] = {
        goal.name: {"path": str(a.path), "digest": a.digest, "facts": a.facts}
        for goal, a in zip(goals, artifacts, strict=True)
    }
    if args.json:
        print(json.dumps(made, ensure_ascii=False))
        return
    for name, about in made.items():
        print(f"{recipe.name}/{name}  {about['path']}")
    if "report" in made:
        print(f"next: {_command(args, 'show', f'{recipe.name}/report', '--open')}")
        print(f"      {_command(args, 'chat', f'{recipe.name}/release')}")


def show_artifact(args: argparse.Namespace) -> None:
    """Print an artifact's facts, rows and lineage."""
    import webbrowser

    from aurora_m.cli.show import artifact_lines, artifact_row
    from aurora_m.core.store import Store

    store = Store(Path(args.store))
    if args.name is None:
        names = store.names()
        if args.json or names:
            print(json.dumps(names) if args.json else "\n".join(names))
        else:
            print(f"there is nothing in {store.root} yet", file=sys.stderr)
        return
    artifact = store.named(args.name)
    if args.json:
        print(json.dumps(artifact_row(store, artifact, args.up), ensure_ascii=False))
    else:
        print("\n".join(artifact_lines(store, artifact, args.up, args.rows)))
    if args.open:
        from aurora_m.cli.opened import pages

        for page in pages(store, artifact):
            webbrowser.open(page.resolve().as_uri())


def show_diff(args: argparse.Namespace) -> None:
    """Print what differs between two recipes, artifacts or models."""
    from aurora_m.cli.show import differing
    from aurora_m.core.store import Store

    lines = differing(args.a, args.b, Store(Path(args.store)))
    print(json.dumps(lines, ensure_ascii=False) if args.json else "\n".join(lines) or "no difference")


def chat_with(args: argparse.Namespace) -> None:
    """Answer one prompt, or each line of stdin."""
    from aurora_m.cli.chat import Chat

    chat = Chat.open(args.name, _runtime(args), args.max_new_tokens, args.temperature)
    if args.prompt is not None:
        answer = chat.answer(args.prompt)
        print(json.dumps({"prompt": args.prompt, "answer": answer}, ensure_ascii=False) if args.json else answer)
        return
    talk = sys.stdin.isatty()
    while True:
        if talk:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            answer = chat.answer(line.strip())
            print(
                json.dumps({"prompt": line.strip(), "answer": answer}, ensure_ascii=False) if args.json else answer,
                flush=True,
            )


def watch_run(args: argparse.Namespace) -> None:
    """Show a run live, or once."""
    from aurora_m.cli.watch import watch
    from aurora_m.core.store import Store

    if not (args.once or args.json):
        interrupt.leave()
    watch(Store(Path(args.store)), args.name, args.once, args.json)


def tell_which_data(args: argparse.Namespace) -> None:
    """Print the documents of an optimizer step."""
    from aurora_m.cli.which_data import lines, which_data
    from aurora_m.core.store import Store
    from aurora_m.graph.build import build
    from aurora_m.recipe import load

    recipe = load(args.recipe)
    steps = build(recipe, args.recipe.resolve().parent)
    about = which_data(recipe, steps, Store(Path(args.store)), args.stage, args.step)
    print(json.dumps(about, ensure_ascii=False) if args.json else "\n".join(lines(about)))


def verify_store(args: argparse.Namespace) -> None:
    """Read all bytes of one artifact, or of all, again. StoreError, when all is read, names what is damaged."""
    from aurora_m.core.errors import StoreError
    from aurora_m.core.log import Log
    from aurora_m.core.run import check_bytes
    from aurora_m.core.store import Store
    from aurora_m.core.units import format_size

    store, log, num_bytes = Store(Path(args.store)), Log(), 0
    homes = store.homes() if args.name is None else [store.named(args.name).path]
    wrong: list[StoreError] = []
    with log.bar("verify", len(homes), "artifacts") as bar:
        for done, home in enumerate(homes):
            bar.update(done)
            try:
                num_bytes += check_bytes(home, log)
            except StoreError as error:
                wrong.append(error)
    wrong += store.damaged_names() if args.name is None else []
    if wrong:
        what = f"{len(wrong)} artifacts or names are damaged, of {len(homes)} artifacts"
        hints = "; ".join(dict.fromkeys(error.hint for error in wrong))
        raise StoreError(what, at=", ".join(error.at for error in wrong), hint=hints)
    about = {"artifacts": len(homes), "bytes": num_bytes}
    right = f"{len(homes)} artifacts, {format_size(num_bytes)}: every byte is as it was made"
    print(json.dumps(about) if args.json else right)


def collect_garbage(args: argparse.Namespace) -> None:
    """Delete unreachable artifacts and say what was freed."""
    from aurora_m.core.store import Store
    from aurora_m.core.units import format_size

    store = Store(Path(args.store))
    with store.lock():
        folders, freed = store.gc()
    strangers = [str(path) for path in store.strangers()]
    if args.json:
        print(json.dumps({"folders": folders, "bytes": freed, "strangers": strangers}, ensure_ascii=False))
        return
    print(f"deleted {folders} folders, {format_size(freed)}")
    for path in strangers:
        print(f"left alone, as it is no artifact: {path}")


def _graph(args: argparse.Namespace) -> "tuple[Recipe, list[Step]]":
    """The recipe and its goals."""
    from aurora_m.graph.build import GOALS, build
    from aurora_m.recipe import load

    recipe = load(args.recipe)
    steps = build(recipe, args.recipe.resolve().parent)
    goals = GOALS if args.to is None else (args.to,)
    for name in goals:
        if name not in steps:
            near = ", ".join(f"`{step}`" for step in difflib.get_close_matches(name, steps, 3))
            hint = f"did you mean {near}?" if near else f"`{_command(args, 'plan', args.recipe)}` lists the steps"
            raise RecipeError(f"there is no step `{name}`", at="--to", hint=hint)
    return recipe, [steps[name] for name in goals]


def default_store() -> str:
    """The folder of artifacts where `--store` names none."""
    return os.environ.get("AURORA_STORE", "store")


def _command(args: argparse.Namespace, *words: str | Path) -> str:
    """A command to type next, on the same store."""
    store = [] if str(args.store) == default_store() else ["--store", str(args.store)]
    return shlex.join(["aurora", *map(str, words), *store])


def _runtime(args: argparse.Namespace) -> "Runtime":
    from aurora_m.core.step import Runtime

    root = args.recipe.resolve().parent if "recipe" in args else Path.cwd()
    for name in ("workers", "threads", "micro_batch"):
        if getattr(args, name) < (1 if name == "workers" else 0):
            raise RecipeError(
                f"`{getattr(args, name)}` is too small",
                at=f"--{name.replace('_', '-')}",
                hint="write a positive number",
            )
    if args.device not in DEVICES:
        raise RecipeError(f"there is no device `{args.device}`", at="--device", hint=f"choose {', '.join(DEVICES)}")
    if args.engine not in ENGINES:
        raise RecipeError(f"there is no engine `{args.engine}`", at="--engine", hint=f"choose {', '.join(ENGINES)}")
    board = getattr(args, "tensorboard", None)
    if board and not importlib.util.find_spec("tensorboard"):
        hint = "install the extra: pip install 'aurora-m[tensorboard]'"
        raise RecipeError("tensorboard is not installed", at="--tensorboard", hint=hint)
    go_on = getattr(args, "go_on", False)
    size = (args.workers, args.engine, args.threads, args.device, args.micro_batch)
    return Runtime(Path(args.store), root, *size, tensorboard=board, go_on=go_on, **distributed.runtime_fields(args))
