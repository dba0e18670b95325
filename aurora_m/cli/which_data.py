"""Which documents an optimizer step reads: from the mixture and the shards alone, whether it is trained or not."""

from collections.abc import Iterable, Mapping
from typing import Any

from aurora_m.core.errors import RecipeError
from aurora_m.core.run import plan
from aurora_m.core.step import Artifact, Step
from aurora_m.core.store import Store
from aurora_m.recipe import Recipe, known
from aurora_m.tokens.rows import taken
from aurora_m.tokens.stream import Stream, stage_stream
from aurora_m.train.curve import Curve

Steps = Mapping[str, Step]
Made = Mapping[str, Artifact | None]


def which_data(recipe: Recipe, steps: Steps, store: Store, name: str, opt_step: int) -> dict[str, Any]:
    """The rows of optimizer step `opt_step`, counted from 1, of a stage: see `rows_of`.

    errors  RecipeError if there is no such stage or step, or what the stage reads is not made yet
    """
    if name in recipe.tune:
        hint = f"`aurora show {recipe.name}/reviewed` lists them; name a stage"
        raise RecipeError(f"`{name}` is a tuning: it reads reviewed rows", at="which-data", hint=hint)
    stages = {stage.name: stage for stage in recipe.stage}
    known(name, stages, "which-data", "stage")
    made = {row.step.name: row.artifact for row in plan([steps[name]], store)}
    stream = _stream(recipe, steps[name], made, "mixture", "shards", name)
    rows_a_step = stages[name].batch_tokens // stages[name].row_tokens
    opt_steps = len(stream) // rows_a_step
    if not 1 <= opt_step <= opt_steps:
        hint = f"write a number from 1 to {opt_steps}"
        raise RecipeError(f"`{name}` has no optimizer step {opt_step}", at="--step", hint=hint)
    indices = range((opt_step - 1) * rows_a_step, opt_step * rows_a_step)
    found = {index: (stream, index) for index in indices}
    if stages[name].over_budget == "raise":
        found |= _raised(recipe, steps[name], made, indices, rows_a_step)
    rows = [{"row": index, **about} for index, about in zip(found, rows_of(found.values()), strict=True)]
    return {"stage": name, "step": opt_step, "rows": rows}


def rows_of(found: Iterable[tuple[Stream, int]]) -> list[dict[str, Any]]:
    """The rows of streams, each with its source, epoch and documents.

    A document's `first` and `last` are the tokens of it that the row holds, its end token counted, before infilling:
    `first` to `last` - 1, from 0.
    """
    rows = []
    for stream, index in found:
        place = stream.where(index)
        docs = [{"id": part.doc, "first": part.first, "last": part.last} for part in stream.parts(index)]
        rows.append({"source": place.source, "epoch": place.epoch, "docs": docs})
    return rows


def _raised(recipe: Recipe, step: Step, made: Made, indices: range, rows_a_step: int) -> dict[int, tuple[Stream, int]]:
    """The rows that a forgetting budget put in the place of others, as the finished stage's curve tells."""
    raises = Curve.read(_artifact(step, made, step.name).path).raises(rows_a_step)
    more = _stream(recipe, step, made, "more_mixture", "more_shards", f"{step.name}.more")
    before = {index: taken(raises, index) for index in range(indices.start, indices.stop + 1)}
    return {index: (more, before[index]) for index in indices if before[index + 1] > before[index]}


def _stream(recipe: Recipe, step: Step, made: Made, mixture: str, shards: str, name: str) -> Stream:
    """The rows that a stage reads from two of its inputs."""
    inputs: Mapping[str, Any] = step.inputs
    read = {source: _artifact(shard, made, step.name) for source, shard in inputs[shards].items()}
    both = [_artifact(inputs[part], made, step.name) for part in (mixture, "tokenizer")]
    return stage_stream(both[0], read, both[1], recipe.seed, name)


def _artifact(step: Step, made: Made, name: str) -> Artifact:
    found = made[step.name]
    if found is None:
        hint = f"`aurora run` the recipe `--to {step.name}`"
        raise RecipeError(f"`{step.name}` is not made yet", at=f"which-data {name}", hint=hint)
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people: a line for each document."""
    said = [f"{found['stage']}, optimizer step {found['step']}: {len(found['rows'])} rows"]
    for row in found["rows"]:
        said.append(f"row {row['row']}  {row['source']}, epoch {row['epoch'] + 1}")
        said += [f"  {doc['id']}  tokens {doc['first']} to {doc['last'] - 1}" for doc in row["docs"]]
    return said
