"""The command line: parse, call, print. stdout is data, stderr is talk."""

import argparse
import difflib
import importlib.util
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_m import __version__
from aurora_m.cli import distributed, slurm
from aurora_m.core.errors import AuroraError, RecipeError
from aurora_m.foresight import devices

if TYPE_CHECKING:
    from aurora_m.core.step import Runtime, Step
    from aurora_m.recipe import Recipe

DONE, FAILED, STOPPED = 0, 1, 130
ERROR_CHARS = 400  # of what a library says
ENGINES = ("local", "ray")
DEVICES = ("auto", "cpu", "cuda")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed, 2 the recipe or command is wrong, 3 waiting for people."""
    args = parser().parse_args(argv)
    args.words = sys.argv[1:] if argv is None else argv
    verb: Callable[[argparse.Namespace], None] = args.verb
    try:
        verb(args)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(f"\nstopped in {_place(stop, args)}; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # whoever read our output has gone: nothing may be written at the end either
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return FAILED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        told = _told(error, args)
        if args.json:
            print(json.dumps({"error": told.what, "at": told.at, "hint": told.hint}, ensure_ascii=False))
        print(told, file=sys.stderr)
        return told.exit_code
    return DONE


def _told(error: Exception, args: argparse.Namespace) -> AuroraError:
    """Any error as one that people can read: our own as it is, a file that cannot be used, or a fault of ours."""
    if isinstance(error, AuroraError):
        return error
    if isinstance(error, OSError) and error.filename and error.strerror:
        hint = "check that the path is right and that you may read and write it"
        return AuroraError(error.strerror.lower(), at=str(error.filename), hint=hint)
    what = " ".join(f"an unexpected error: {type(error).__name__}: {error}".split())
    hint = "this is a fault of Aurora; run again with --debug for the traceback"
    return AuroraError(what[:ERROR_CHARS], at=_place(error, args), hint=hint)


def _place(error: BaseException, args: argparse.Namespace) -> str:
    """The step that an error comes from, as `core.run` notes it; outside of one, the verb."""
    notes = getattr(error, "__notes__", [])
    return str(notes[-1]) if notes else f"aurora {args.name_of_verb}"


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    shared.add_argument(
        "--store",
        type=Path,
        default=_store(),
        help="the folder of artifacts (AURORA_STORE; default ./store)",
    )
    shared.add_argument("--debug", action="store_true", help="show tracebacks")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--workers",
        type=int,
        default=os.environ.get("AURORA_WORKERS", "1"),
        help="processes for data work (AURORA_WORKERS)",
    )
    where.add_argument(
        "--engine",
        default=os.environ.get("AURORA_ENGINE", "local"),
        help="where data work runs: local or ray (AURORA_ENGINE)",
    )
    where.add_argument(
        "--threads",
        type=int,
        default=os.environ.get("AURORA_THREADS", "0"),
        help="threads of torch; 0: one a core (AURORA_THREADS)",
    )
    where.add_argument(
        "--device",
        default=os.environ.get("AURORA_DEVICE", "auto"),
        help="auto, cpu or cuda (AURORA_DEVICE)",
    )
    where.add_argument(
        "--micro-batch",
        type=int,
        default=os.environ.get("AURORA_MICRO_BATCH", "0"),
        help="rows a forward pass; 0: the whole batch (AURORA_MICRO_BATCH)",
    )
    top = argparse.ArgumentParser(
        prog="aurora", description="Continual pre-training, from raw text to a released model, in one recipe."
    )
    top.add_argument("--version", action="version", version=f"aurora {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def add(
        name: str, verb: Callable[[argparse.Namespace], None], about: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name, parents=[shared, *parents], help=about, description=about[0].upper() + about[1:] + "."
        )
        made.set_defaults(verb=verb, name_of_verb=name)
        return made

    new = add("new", new_recipe, "write a recipe to start from")
    new.add_argument("path", type=Path, help="the file to write, for example my.toml")
    for name, verb, about, *more in (
        (
            "plan",
            show_plan,
            "say what would run, why, and what training costs",
            devices.options(),
            distributed.options(),
        ),
        (
            "run",
            run_recipe,
            "make everything that is not there yet",
            slurm.options(),
            _training(),
            distributed.options(),
        ),
    ):
        made = add(name, verb, about, where, *more)
        made.add_argument("recipe", type=Path)
        made.add_argument("--to", metavar="STEP", help="stop at this step")
    show = add("show", show_artifact, "show an artifact, or list the names")
    show.add_argument("name", nargs="?", help="a name such as tiny/cap")
    show.add_argument("--up", action="store_true", help="with all that it was made from")
    show.add_argument("--rows", type=int, default=3, help="rows of data to print (default 3)")
    show.add_argument("--open", action="store_true", help="open its page in the browser")
    diff = add("diff", show_diff, "compare two recipes, two artifacts, or the scores of two models")
    diff.add_argument("a")
    diff.add_argument("b")
    chat = add("chat", chat_with, "talk to a model", where)
    chat.add_argument("name", help="a name such as tiny/release, or a model's folder")
    chat.add_argument("--prompt", help="one question; without it, one a line from stdin")
    chat.add_argument("--max-new-tokens", type=int, default=96)
    chat.add_argument("--temperature", type=float, default=0.0)
    watch = add("watch", watch_run, "show live how a run goes, from another shell")
    watch.add_argument("name", nargs="?", help="a recipe, or a name such as tiny or tiny/cap; without it, the last run")
    watch.add_argument("--once", action="store_true", help="show it once")
    which = add("which-data", tell_which_data, "tell which documents an optimizer step of a stage reads")
    which.add_argument("recipe", type=Path)
    which.add_argument("stage", help="its name, such as cap")
    which.add_argument("--step", type=int, required=True, metavar="N", help="optimizer step, from 1")
    add("gc", collect_garbage, "delete what no name reaches")
    return top


def _training() -> argparse.ArgumentParser:
    """The options of training steps that change nothing of what is made."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--tensorboard", type=Path, metavar="DIR", help="write TensorBoard's files there")
    made.add_argument("--go-on", action="store_true", help="go on where a stage over its forgetting budget waits")
    return made


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
    from aurora_m.cli.show import plan_lines, plan_rows
    from aurora_m.core.run import plan
    from aurora_m.core.store import Store
    from aurora_m.foresight.estimate import estimates

    _, goals = _graph(args)
    rows = plan(goals, Store(Path(args.store)))
    machines = devices.machines_of(args, distributed.asked(args))
    costs = estimates(rows, machines, args.recipe.resolve().parent)
    if args.json:
        print(json.dumps(plan_rows(rows, costs), ensure_ascii=False))
    else:
        to = ("--to", args.to) if args.to else ()
        print("\n".join(plan_lines(rows, _command(args, "run", args.recipe, *to), costs, machines)))


def run_recipe(args: argparse.Namespace) -> None:
    """Make the goals and say where they are."""
    from aurora_m.core.log import Log
    from aurora_m.core.run import check_files, run

    distributed.follow(partial(_runtime, args), args.device)
    recipe, goals = _graph(args)
    if args.launch:
        check_files(goals)
        path = slurm.write_batch_file(args, recipe.name)
        told = f"wrote {path}; next: sbatch {shlex.quote(str(path))}"
        print(json.dumps({"batch_file": str(path)}) if args.json else told)
        return
    with distributed.leading(_runtime(args), recipe) as runtime:
        artifacts = run(goals, runtime, Log(), recipe.name)
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
        for page in sorted(artifact.path.glob("*.html")):
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

    watch(Store(Path(args.store)), args.name, args.once, args.json)


def tell_which_data(args: argparse.Namespace) -> None:
    """Print the documents of an optimizer step."""
    from aurora_m.cli.which_data import lines, which_data
    from aurora_m.core.store import Store
    from aurora_m.graph.build import build
    from aurora_m.recipe import load

    recipe = load(args.recipe)
    steps = build(recipe, args.recipe.resolve().parent)
    found = which_data(recipe, steps, Store(Path(args.store)), args.stage, args.step)
    print(json.dumps(found, ensure_ascii=False) if args.json else "\n".join(lines(found)))


def collect_garbage(args: argparse.Namespace) -> None:
    """Delete unreachable artifacts and say what was freed."""
    from aurora_m.core.store import Store
    from aurora_m.core.units import format_size

    store = Store(Path(args.store))
    with store.lock():
        folders, freed = store.gc()
    print(
        json.dumps({"folders": folders, "bytes": freed})
        if args.json
        else f"deleted {folders} folders, {format_size(freed)}"
    )


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


def _store() -> str:
    return os.environ.get("AURORA_STORE", "store")


def _command(args: argparse.Namespace, *words: str | Path) -> str:
    """A command to type next, on the same store."""
    store = [] if str(args.store) == _store() else ["--store", str(args.store)]
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
    return Runtime(Path(args.store), root, *size, tensorboard=board, go_on=go_on, **distributed.asked(args))
