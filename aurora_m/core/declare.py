"""Declarations: what goes into a step function, said with types and without importing it.

A room's `steps.py` declares each of its step functions once, with its version. A declaration is called as the function
would be, with steps where the function gets artifacts, so the type checker finds wiring that is wrong.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeAlias, get_args

from aurora_m.core.errors import Missing
from aurora_m.core.step import Step

P = ParamSpec("P")

Steps: TypeAlias = Mapping[str, Step]
Pin: TypeAlias = str | Missing  # what pins a file's bytes, or the file that is not there


@dataclass(frozen=True)
class Declaration(Generic[P]):
    """Makes steps of one function."""

    fn: str
    version: int  # the author raises it when the bytes change on purpose
    signature: Callable[P, None]  # its parameters are the function's; those that are steps are inputs

    def __call__(self, name: str, /, *args: P.args, **given: P.kwargs) -> Step:
        """The step of this name. What is None is left out; with a pin that is Missing it can be planned, not run.

        TypeError if a parameter is not one, or one that is needed is missing.
        """
        inspect.signature(self.signature).bind(*args, **given)
        named: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        missing = next((value for value in named.values() if isinstance(value, Missing)), None)
        taken = self.inputs()
        inputs = {key: value for key, value in named.items() if key in taken}
        params = {key: "" if isinstance(value, Missing) else value for key, value in named.items() if key not in taken}
        return Step(name, self.fn, inputs, params, self.version, missing)

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What the function takes besides `work`, by name."""
        return inspect.signature(self.signature).parameters

    def inputs(self) -> set[str]:
        """The names of those parameters that are steps."""
        kinds = {name: p.annotation for name, p in self.parameters().items()}
        return {name for name, kind in kinds.items() if not {Step, Steps}.isdisjoint((kind, *get_args(kind)))}


def step(fn: str, version: int = 1) -> Callable[[Callable[P, None]], Declaration[P]]:
    """Declare the step function `room.file:function`: the decorated signature says what goes in."""
    return lambda signature: Declaration(fn, version, signature)
