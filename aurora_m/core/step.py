"""Step, Artifact, Runtime and Work: the four shapes that the whole system is made of.

A step is named by what goes into it: its function, that function's version, its literal parameters and the
content digests of its inputs. Where and how it runs lives in `Runtime` and can never change its name.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from aurora_m.core.canon import JSON, digest
from aurora_m.core.errors import Missing
from aurora_m.core.facts import from_json, to_json

if TYPE_CHECKING:
    from aurora_m.core.log import Log

Facts: TypeAlias = dict[str, JSON]
Inputs: TypeAlias = "Mapping[str, Step | Mapping[str, Step]]"
F = TypeVar("F")

PACKAGE = "aurora_m"


@dataclass(frozen=True)
class Artifact:
    """A finished step's folder: immutable files and the facts its function returned."""

    path: Path
    digest: str  # of the files' bytes and the facts
    facts: Facts  # as the store has them

    def read(self, kind: type[F]) -> F:
        """The facts as the class that the step's function returned. StoreError if they have another shape."""
        return from_json(kind, self.facts, str(self.path))


@dataclass(frozen=True)
class Runtime:
    """Where and how a run happens. Never part of a step's key."""

    store: Path
    root: Path = Path()  # the recipe's folder: `file:` sources are found from here
    workers: int = 1  # processes for shard tasks
    engine: str = "local"  # or ray: where shard tasks run
    threads: int = 0  # of torch; 0: one a core
    device: str = "auto"  # cpu, cuda, or auto: cuda where there is one
    micro_batch: int = 0  # rows a forward pass; 0: the whole batch
    replicas: int = 1  # of the weights, each divided over its share of the training processes
    tensor: int = 1  # processes that divide each matrix, and read the same rows
    precision: str = "auto"  # fp32, bf16, fp8, or auto: bf16 on a GPU
    recompute: str = "none"  # blocks: their activations are made again on the way back
    compile: bool = False  # blocks, for a GPU
    team: object = None  # the processes that torchrun started: train.world.RankCoordinator
    save_every_s: float = 5.0  # between training checkpoints, at least
    tensorboard: Path | None = None  # the folder for TensorBoard's files
    go_on: bool = False  # past a mark over its forgetting budget where a stage would wait for people


@dataclass(frozen=True)
class Work:
    """What a step function is given besides its inputs and parameters."""

    out: Path  # the empty folder to fill; becomes the artifact
    scratch: Path  # survives a kill, gone when the step is done: checkpoints live here
    runtime: Runtime
    log: "Log"


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph: `fn(work, **inputs, **params) -> Facts`, not yet run.

    `fn` is written `room.file:function` and imported when it runs, so that planning needs no torch.
    An input is a step, or a mapping of steps that reaches the function as a dict of artifacts.
    Facts must follow from inputs and params alone: they are hashed with the files. Times go to the log.
    """

    name: str
    fn: str
    inputs: Inputs = field(default_factory=lambda: MappingProxyType({}))
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # JSON, and frozen dataclasses
    version: int = 1  # the author raises it when the bytes change on purpose
    missing_input: Missing | None = None  # what it would read that is not there: it can be planned, not run
    suits: Callable[[Path], None] | None = None  # an error of the recipe's if what was made does not suit later steps

    def parents(self) -> Iterator[tuple[str, "Step"]]:
        """Each input step with its dotted name."""
        for name, given in self.inputs.items():
            if isinstance(given, Step):
                yield name, given
            else:
                yield from ((f"{name}.{part}", step) for part, step in given.items())

    def key(self, digests: Mapping[str, str]) -> dict[str, JSON]:
        """All that decides this step's bytes; `digests` maps each dotted input name to its artifact's digest."""
        return {
            "name": self.name,
            "fn": self.fn,
            "version": self.version,
            "params": to_json(self.params),
            "inputs": dict(digests),
        }

    def check_made(self, artifact: Artifact) -> None:
        """What else must hold of what was made, before anything is made of it."""
        if self.suits:
            self.suits(artifact.path)

    def load(self) -> Callable[..., Any]:
        """Import the step's function; it returns facts: a frozen dataclass."""
        module, _, name = self.fn.partition(":")
        function: Callable[..., Any] = getattr(import_module(f"{PACKAGE}.{module}"), name)
        return function

    def check(self) -> None:
        """TypeError unless the function takes exactly this step's inputs and params."""
        inspect.signature(self.load()).bind(None, **dict(self.inputs), **dict(self.params))


def fingerprint(key: Mapping[str, JSON]) -> str:
    """The name of a step's result: 64 hex digits."""
    return digest(dict(key))


def ordered(goals: list[Step]) -> list[Step]:
    """All steps that the goals need, parents first, each once. ValueError if two steps share a name."""
    steps: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if steps.get(step.name, step) is not step:
            raise ValueError(f"two steps are named `{step.name}`")
        if step.name not in steps:
            for _, parent in step.parents():
                visit(parent)
            steps[step.name] = step

    for goal in goals:
        visit(goal)
    return list(steps.values())
