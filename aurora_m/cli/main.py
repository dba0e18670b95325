"""The command line: parse, call, print. stdout is data, stderr is talk."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from aurora_m import __version__
from aurora_m.cli import distributed, slurm, verbs
from aurora_m.core import interrupt
from aurora_m.core.errors import AuroraError
from aurora_m.core.faults import readable
from aurora_m.core.visible import visible_output
from aurora_m.foresight import devices

DONE, FAILED = 0, 1

Verb = Callable[[argparse.Namespace], None]


@visible_output()
def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed, 2 the recipe or command is wrong, 3 waiting for people."""
    args = parser().parse_args(argv)
    args.words = sys.argv[1:] if argv is None else argv
    verb: Verb = args.verb
    try:
        with interrupt.at(f"aurora {args.name_of_verb}"):
            verb(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone: nothing may be written at the end either
        _close(sys.stdout, sys.stderr)
        return FAILED
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if args.debug:
            traceback.print_exc()
        shown = readable(error, _place(error, args))
        _print(shown, args.json)
        return shown.exit_code
    return DONE


def _print(shown: AuroraError, as_json: bool) -> None:
    """Say an error on stderr, and for programs on stdout, which may be what failed."""
    try:
        if as_json:
            print(json.dumps({"error": shown.what, "at": shown.at, "hint": shown.hint}, ensure_ascii=False))
        sys.stdout.flush()
    except OSError:
        _close(sys.stdout)
    print(shown, file=sys.stderr)


def _close(*streams: TextIO) -> None:
    """Write nothing more: what waits in a stream would fail at the end of the process."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _place(error: BaseException, args: argparse.Namespace) -> str:
    """The step that an error comes from, as `core.run` notes it; outside of one, the verb."""
    notes = getattr(error, "__notes__", [])
    return str(notes[-1]) if notes else f"aurora {args.name_of_verb}"


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    top = argparse.ArgumentParser(
        prog="aurora", description="Continual pre-training, from raw text to a released model, in one recipe."
    )
    top.add_argument("--version", action="version", version=f"aurora {__version__}")
    added = top.add_subparsers(metavar="VERB", required=True)
    shared = _shared()

    def add(name: str, verb: Verb, about: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sentence = about[0].upper() + about[1:] + "."
        made = added.add_parser(name, parents=[shared, *parents], help=about, description=sentence)
        made.set_defaults(verb=verb, name_of_verb=name)
        return made

    _recipe_verbs(add)
    _artifact_verbs(add)
    return top


Add = Callable[..., argparse.ArgumentParser]


def _recipe_verbs(add: Add) -> None:
    """What is done with a recipe."""
    new = add("new", verbs.new_recipe, "write a recipe to start from")
    new.add_argument("path", type=Path, help="the file to write, for example my.toml")
    costs = "say what would run, why, and what training costs"
    plan = add("plan", verbs.show_plan, costs, _runtime(), devices.options(), distributed.options())
    launch = (slurm.options(), _training(), distributed.options())
    run = add("run", verbs.run_recipe, "make everything that is not there yet", _runtime(), *launch)
    for made in (plan, run):
        made.add_argument("recipe", type=Path)
        made.add_argument("--to", metavar="STEP", help="stop at this step")
    which = add("which-data", verbs.tell_which_data, "tell which documents an optimizer step of a stage reads")
    which.add_argument("recipe", type=Path)
    which.add_argument("stage", help="its name, such as cap")
    which.add_argument("--step", type=int, required=True, metavar="N", help="optimizer step, from 1")


def _artifact_verbs(add: Add) -> None:
    """What is done with what a run made."""
    show = add("show", verbs.show_artifact, "show an artifact, or list the names")
    show.add_argument("name", nargs="?", help="a name such as tiny/cap")
    show.add_argument("--up", action="store_true", help="with all that it was made from")
    show.add_argument("--rows", type=int, default=3, help="rows of data to print (default 3)")
    show.add_argument("--open", action="store_true", help="open its page in the browser")
    diff = add("diff", verbs.show_diff, "compare two recipes, two artifacts, or the scores of two models")
    diff.add_argument("a")
    diff.add_argument("b")
    chat = add("chat", verbs.chat_with, "talk to a model", _runtime())
    chat.add_argument("name", help="a name such as tiny/release, or a model's folder")
    chat.add_argument("--prompt", help="one question; without it, one a line from stdin")
    chat.add_argument("--max-new-tokens", type=int, default=96)
    chat.add_argument("--temperature", type=float, default=0.0)
    watch = add("watch", verbs.watch_run, "show live how a run goes, from another shell")
    watch.add_argument("name", nargs="?", help="a recipe, or a name such as tiny or tiny/cap; without it, the last run")
    watch.add_argument("--once", action="store_true", help="show it once")
    verify = add("verify", verbs.verify_store, "read every byte of what is stored, and say what is damaged")
    verify.add_argument("name", nargs="?", help="a name such as tiny/cap; without it, all artifacts")
    add("gc", verbs.collect_garbage, "delete what no name reaches")


def _shared() -> argparse.ArgumentParser:
    """The options of every verb."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    store = "the folder of artifacts (AURORA_STORE; default ./store)"
    made.add_argument("--store", type=Path, default=verbs.default_store(), help=store)
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _runtime() -> argparse.ArgumentParser:
    """The options that say where and how the work is done; each has a variable for its default."""
    made = argparse.ArgumentParser(add_help=False)
    for name, kind, default, about in (
        ("workers", int, "1", "processes for data work"),
        ("engine", str, "local", "where data work runs: local or ray"),
        ("threads", int, "0", "threads of torch; 0: one a core"),
        ("device", str, "auto", "auto, cpu or cuda"),
        ("micro-batch", int, "0", "rows a forward pass; 0: the whole batch"),
    ):
        variable = f"AURORA_{name.upper().replace('-', '_')}"
        value = os.environ.get(variable, default)
        made.add_argument(f"--{name}", type=kind, default=value, help=f"{about} ({variable})")
    return made


def _training() -> argparse.ArgumentParser:
    """The options of training steps that change nothing of what is made."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--tensorboard", type=Path, metavar="DIR", help="write TensorBoard's files there")
    made.add_argument("--go-on", action="store_true", help="go on where a stage over its forgetting budget waits")
    return made
