"""What speaks against a plan that can be run: rates far above a size's usual one, old languages without replay."""

from collections.abc import Iterator, Mapping

from aurora_m.core.units import format_count
from aurora_m.foresight.estimate import Estimate
from aurora_m.recipe import Recipe, Stage, Training

# Peak rates of Brown et al. 2020 (arXiv 2005.14165), table 2.1: a power law from 125M weights, 6e-4, to 175B, 6e-5.
SIZE, RATE, POWER = 125e6, 6e-4, -0.318
FAR = 10.0  # times the usual rate; runs that are known went up to five times
ADAPTERS = 10.0  # times a model's rate is theirs: Biderman et al. 2024 (arXiv 2405.09673), section 4


def advice(recipe: Recipe, costs: Mapping[str, Estimate | str]) -> Iterator[str]:
    """A line for each thing that speaks against a training step that is not done.

    costs  of those steps, by name; see foresight/estimate.py
    """
    trainings: dict[str, Training] = {**{stage.name: stage for stage in recipe.stage}, **recipe.tune}
    for name, training in trainings.items():
        if cost := costs.get(name):
            if isinstance(cost, Estimate):
                yield from _of_rate(name, training, cost.parameters)
            if isinstance(training, Stage):
                yield from _of_replay(name, training, recipe)


def usual_rate(parameters: int) -> float:
    """The peak learning rate that a model of so many weights is usually trained with."""
    return float(RATE * (parameters / SIZE) ** POWER)


def _of_rate(name: str, training: Training, parameters: int) -> Iterator[str]:
    usual = usual_rate(parameters) * (ADAPTERS if training.lora else 1.0)
    if training.peak_lr > FAR * usual:
        what = "adapters of " if training.lora else ""
        yield (
            f"{name}: peak_lr = {training.peak_lr:g} is {training.peak_lr / usual:.0f} times the usual {usual:.1g} of "
            f"{what}models of {format_count(parameters)} weights (arXiv 2005.14165, table 2.1): most diverge"
        )


def _of_replay(name: str, stage: Stage, recipe: Recipe) -> Iterator[str]:
    read = {recipe.source[s].lang for s in recipe.mixture[stage.mixture].reads() if s in recipe.source}
    read |= {recipe.shards[s].lang for s in recipe.mixture[stage.mixture].reads() if s in recipe.shards}
    missing = [lang for lang in recipe.evals.old if lang not in read]
    held = stage.start == "scratch" or "mul" in read or (stage.anchor and stage.anchor.kl)
    if missing and not held:
        yield (
            f"{name}: mixture.{stage.mixture} has no text in {', '.join(f'`{lang}`' for lang in missing)}, which "
            "`evals.old` says must not be lost: some 5 % of `replay` keep most of it (arXiv 2403.08763)"
        )
