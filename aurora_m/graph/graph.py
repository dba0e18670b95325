"""What the builders share: the recipe, its folder, and the steps so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aurora_m.core.declare import Pin
from aurora_m.core.errors import Missing, RecipeError
from aurora_m.core.step import Step
from aurora_m.core.uri import local_files, pin_files
from aurora_m.recipe import Recipe

NamedSteps = dict[str, Step]


@dataclass(frozen=True)
class Graph:
    """The steps of a recipe so far, by name. `root` is the recipe's folder, where its `file:` sources are."""

    recipe: Recipe
    root: Path
    steps: NamedSteps = field(default_factory=dict)

    def add(self, step: Step) -> Step:
        """Add one step. RecipeError if a stage, merge or tuning took the name of another step."""
        if step.name in self.steps:
            hint = "choose another name for the stage, merge or tuning"
            raise RecipeError(f"two steps are named `{step.name}`", at=f"`{step.name}`", hint=hint)
        self.steps[step.name] = step
        return step

    def pin_local(self, uri: str) -> Pin:
        """The pin of local files."""
        return pinned(lambda: pin_files(local_files(uri, self.root)))


def pinned(pin: Callable[[], str]) -> Pin:
    """What a pin is, or the file that is not there to be pinned: then its step can be planned, and cannot run."""
    try:
        return pin()
    except Missing as missing:
        return missing
