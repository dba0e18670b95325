"""What each training step read: the share of each source that was declared, and the share that it learnt from."""

from dataclasses import dataclass
from typing import Any

from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact
from aurora_m.recipe import Recipe
from aurora_m.report.numbers import percent
from aurora_m.train.curve import Curve

REVIEWED = "reviewed"  # the source of tuning rows in a curve
ROWS = "rows"  # what the shares of a tuning are of


@dataclass(frozen=True)
class Reading:
    """One source of a training step. Shares are of 1."""

    source: str
    declared: float
    unit: str  # of `declared`
    wanted: float  # what `declared` makes of the step's rows
    achieved: float  # of the tokens learnt from
    tokens: float  # learnt from
    epochs: float | None  # None for replay, which stops where the tuning rows end
    fim: float


def readings(recipe: Recipe, name: str, model: Artifact, mixture: Artifact | None) -> list[Reading]:
    """The sources of a trained model, reviewed rows first; what they achieved adds up to 1.

    mixture  what a stage reads, and what a tuning replays; None where it replays nothing
    """
    tune = recipe.tune.get(name)
    plan: dict[str, Any] = read_json(mixture.path / "mixture.json") if mixture else {"sources": {}}
    targets = Curve.read(model.path).targets()
    total = sum(targets.values()) or 1.0
    found = []
    if tune:
        share, read = 1 - tune.replay, targets.get(REVIEWED, 0.0)
        found.append(Reading(REVIEWED, share, ROWS, share, read / total, read, tune.epochs, 0.0))
    for source, about in plan["sources"].items():
        read, wanted = targets.get(source, 0.0), about["token_share"]
        declared, unit, epochs = about["share"], plan["unit"], about["epochs"]
        if tune:
            wanted *= tune.replay
            declared, unit, epochs = wanted, ROWS, None
        found.append(Reading(source, declared, unit, wanted, read / total, read, epochs, about["fim"]))
    return found


def tuning_words(recipe: Recipe, name: str) -> str:
    """What a tuning reads, in a sentence; nothing for a stage."""
    tune = recipe.tune.get(name)
    if not tune:
        return ""
    times = f"{tune.epochs} epoch{'' if tune.epochs == 1 else 's'}"
    replay = (
        f"{percent(tune.replay, 1)} of its rows, as declared, are replay from the mixture “{tune.mixture}”"
        if tune.replay
        else "nothing is replayed"
    )
    return (
        f"The tuning “{name}” read the reviewed rows for {times}; {replay}. Its declared shares are by row, its "
        "achieved ones by tokens learnt from, which in a reviewed row are those of the response alone."
    )
