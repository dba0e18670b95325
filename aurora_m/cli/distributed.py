"""A run in several processes, as torchrun starts them: its options, who leads and who follows."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aurora_m.core.errors import AuroraError, RecipeError

if TYPE_CHECKING:
    from aurora_m.core.step import Runtime
    from aurora_m.recipe import Recipe

PRECISIONS = ("auto", "fp32", "bf16", "fp8")
RECOMPUTES = ("none", "blocks")


def options() -> argparse.ArgumentParser:
    """The options that say how training steps compute, and over how many processes."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--replicas", type=int, default=1, help="copies of the weights, each divided over processes")
    made.add_argument("--tensor-parallel", type=int, default=1, help="processes that divide each matrix")
    made.add_argument("--precision", default="auto", help="fp32, bf16, fp8, or auto: bf16 on a GPU (default auto)")
    made.add_argument("--checkpoint-activations", default="none", help="none, or blocks: less memory, more time")
    made.add_argument("--compile", action="store_true", help="compile the blocks of a model, on a GPU")
    return made


def runtime_fields(args: argparse.Namespace) -> dict[str, Any]:
    """What these options put into `Runtime`. RecipeError if one is wrong."""
    if "replicas" not in args:
        return {}
    for name in ("replicas", "tensor_parallel"):
        if getattr(args, name) < 1:
            at = f"--{name.replace('_', '-')}"
            raise RecipeError(f"`{getattr(args, name)}` is too small", at=at, hint="write a positive number")
    for name, known in (("precision", PRECISIONS), ("checkpoint_activations", RECOMPUTES)):
        if getattr(args, name) not in known:
            at = f"--{name.replace('_', '-')}"
            raise RecipeError(f"there is no `{getattr(args, name)}`", at=at, hint=f"choose {', '.join(known)}")
    return {
        "replicas": args.replicas,
        "tensor": args.tensor_parallel,
        "precision": args.precision,
        "recompute": args.checkpoint_activations,
        "compile": args.compile,
    }


def follow(runtime: "Callable[[], Runtime]", device: str) -> None:
    """In any process but the first of a run: take part in training steps, and leave the program; else return."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0":
        return
    from aurora_m.train.world import RankCoordinator

    try:
        raise SystemExit(RankCoordinator.join(device).follow(runtime()))
    except (RuntimeError, AuroraError):  # the first process is gone, and said why
        raise SystemExit(1) from None


@contextmanager
def leading(runtime: "Runtime", recipe: "Recipe") -> "Iterator[Runtime]":
    """In the first process of a run: the runtime with its team. RecipeError if its steps cannot be divided over it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield runtime
        return
    from aurora_m.train.world import RankCoordinator, layout

    team = RankCoordinator.join(runtime.device)
    with team.leading():
        runtime = replace(runtime, team=team)
        world = layout(runtime)
        for name, step in (*((stage.name, stage) for stage in recipe.stage), *recipe.tune.items()):
            world.check(step.batch_tokens // step.row_tokens, name)
            if step.anchor and step.anchor.batch_tokens:
                world.check(step.anchor.batch_tokens // step.row_tokens, f"{name}.anchor")
        yield runtime
