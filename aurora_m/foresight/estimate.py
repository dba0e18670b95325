"""What training will cost, before it is run: steps, tokens, floating-point operations, memory and time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aurora_m.core.canon import JSON
from aurora_m.core.errors import RecipeError
from aurora_m.core.run import PlanEntry
from aurora_m.core.step import Step
from aurora_m.foresight.devices import KINDS, Machines
from aurora_m.model.base import json_of
from aurora_m.model.shape import Shape, declared, shape_of
from aurora_m.model.steps import extend
from aurora_m.recipe import Training

FLOAT = 4  # bytes: weights, gradients and optimizer states are float32
LOGITS = {"cpu": 2**24}  # bytes of a chunk of logits, as in train/loss.py
LOGITS_OTHER = 2**29
ENDS = 3  # gradients of tied embeddings at the end of a backward pass: the head's, that of what was read, their sum
CONFIG = "config.json"


@dataclass(frozen=True)
class Estimate:
    """The cost of one training step. What depends on rows that are made later is None."""

    parameters: int
    trained: int  # of them
    memory_bytes: int  # a device
    memory: Mapping[str, int]  # by what holds it
    fits: bool
    opt_steps: int | None = None
    rows: int | None = None
    tokens: int | None = None
    flop: int | None = None  # 6 a parameter and token; 4 for a weight that does not learn
    attention_flop: int | None = None  # besides: 12 * layers * width * row_tokens a token
    seconds: float | None = None  # of `flop`

    def to_json(self) -> JSON:
        """For machines."""
        return {**vars(self), "memory": dict(self.memory)}


def estimates(rows: list[PlanEntry], machines: Machines, root: Path) -> dict[str, Estimate | str]:
    """The cost of every training step of a plan that is not done, by name; a text says why one is not known.

    root    the recipe's folder, where a `file:` base lies
    errors  RecipeError if there are no such machines
    """
    machines.check()
    by_name = {row.step.name: row for row in rows}
    found: dict[str, Estimate | str] = {}
    for row in rows:
        if "training" in row.step.params and row.state != "have":
            start = row.step.inputs["start"]
            assert isinstance(start, Step)
            shape = shape_at(start, by_name, root)
            found[row.step.name] = shape if isinstance(shape, str) else estimate(row.step, shape, machines)
    return found


def shape_at(step: Step, rows: Mapping[str, PlanEntry], root: Path) -> Shape | str:
    """The shape of the model that a step makes, or why it is not known yet."""
    artifact, params = rows[step.name].artifact, dict(step.params)
    if artifact:
        return _of_file(artifact.path / CONFIG)
    if "start" in step.inputs:
        start = step.inputs["start"]
        assert isinstance(start, Step)
        before = shape_at(start, rows, root)
        return before if isinstance(before, str) else grown(before, _training(step))
    if "models" in step.inputs:  # merged, of one shape
        merged = step.inputs["models"]
        assert not isinstance(merged, Step)
        return shape_at(next(iter(merged.values())), rows, root)
    if "model" in step.inputs:  # a base with more tokens
        base, more = step.inputs["model"], step.inputs["tokenizer"]
        assert isinstance(base, Step)
        assert isinstance(more, Step)
        before = shape_at(base, rows, root)
        added = int(str(more.params["tokens"]))
        return before if isinstance(before, str) else replace(before, vocab=before.vocab + added)
    if "arch" in params:
        tokenizer = step.inputs["tokenizer"]
        assert isinstance(tokenizer, Step)
        return declared({**params, "vocab": tokenizer.params["vocab"]})
    if params.get("shape"):
        return declared(dict(_table(params["shape"])))
    kind, _, name = str(params["model"]).partition(":")
    if kind == "file" and (root / name / CONFIG).exists():
        return _of_file(root / name / CONFIG)
    return "unknown until the base is there; a table [base.shape] would say it"


def grown(shape: Shape, training: Training) -> Shape:
    """The shape after a step that inserts blocks."""
    return Shape(**{**vars(shape), "layers": shape.layers + training.expand})


def estimate(step: Step, start: Shape, machines: Machines) -> Estimate:
    """The cost of a training step that starts from a model of a known shape. RecipeError if devices share no rows."""
    training, mixture = _training(step), step.inputs.get("mixture")
    shape, row_tokens = grown(start, training), training.row_tokens
    rows_a_step = training.batch_tokens // row_tokens
    _check_rows(step.name, rows_a_step, machines)
    new_rows = getattr(step.inputs["start"], "fn", "") == extend.fn
    learning = trained(shape, training, new_rows)
    peak, parts = memory(shape, training, machines, new_rows)
    room = KINDS[machines.kind].memory_bytes
    size = (shape.parameters, learning, peak, parts, not room or peak <= room)
    if "epochs" in step.params:  # its rows are packed when it runs
        return Estimate(*size)
    opt_steps = _mixed(mixture, "tokens") // row_tokens // rows_a_step
    tokens = opt_steps * rows_a_step * row_tokens
    each = 4 * shape.parameters + 2 * learning
    flop = each * tokens
    if training.anchor and training.anchor.kl:
        flop += (each + 2 * start.parameters) * training.anchor.batch_tokens * opt_steps
    attention = 12 * shape.layers * shape.width * row_tokens * tokens
    rows = opt_steps * rows_a_step
    return Estimate(*size, opt_steps, rows, tokens, flop, attention, flop / (machines.devices * machines.flop_s))


def _check_rows(name: str, rows_a_step: int, machines: Machines) -> None:
    """RecipeError where a run on these devices would end with one."""
    if rows_a_step % machines.data:
        what = f"{rows_a_step} rows an optimizer step cannot be divided over {machines.data} devices"
        hint = "choose another number of `--devices`, or another `batch_tokens`"
        raise RecipeError(what, at=f"{name}.batch_tokens", hint=hint)


def trained(shape: Shape, training: Training, new_rows: bool = False) -> int:
    """How many weights learn: the adapters of `lora`, the new blocks of `expand`, else, whatever `train` says, all.

    new_rows  whether the base just got tokens, whose rows then learn too, with all of the embeddings and the head
    """
    rows = new_rows * (1 if shape.tied else 2) * shape.vocab * shape.width
    if training.lora:
        return training.lora.rank * shape.layers * shape.block_edges + rows
    if training.expand and not training.train:
        return training.expand * shape.block_parameters + rows
    return shape.parameters


def memory(shape: Shape, training: Training, machines: Machines, new_rows: bool = False) -> tuple[int, dict[str, int]]:
    """Bytes on each device at the fullest moment of a step, and by what holds them; these are not all there at once.

    Not counted: what a compiled block does not keep, what tensor parallelism divides besides weights, and the
    libraries' own memory.
    """
    wide, learning, row_tokens = machines.number_bytes, trained(shape, training, new_rows), training.row_tokens
    block, root = shape.block_parameters, shape.parameters - shape.layers * shape.block_parameters
    shards = machines.devices // machines.replicas
    share = -(-(training.batch_tokens // row_tokens) // machines.data)  # rows a device
    rows = min(machines.micro_batch or share, share)
    tokens = rows * row_tokens
    states, anchor = 2 * learning, training.anchor
    if training.optimizer == "muon" and not training.lora:
        states -= shape.layers * shape.block_matrices * learning // shape.parameters
    kept, again = tokens * shape.kept_bytes(row_tokens, wide), machines.recompute == "blocks"
    logits = min(LOGITS.get(machines.kind, LOGITS_OTHER), FLOAT * tokens * shape.vocab)
    copied = 0 if wide == FLOAT else logits * wide // FLOAT
    # The head's gradient is added up in float32, in one of the numbers that are computed with a chunk at a time.
    head = (FLOAT + (0 if wide == FLOAT else wide)) * shape.vocab * shape.width
    parts = {
        "weights": FLOAT * (shape.layers * block + root * machines.tensor) // shards,
        "gathered": (wide * root + (2 * wide + FLOAT) * block // machines.tensor) if machines.laid_out else 0,
        "optimizer": FLOAT * states // shards,
        "average": FLOAT * learning // shards if training.ema or training.wsm else 0,
        "anchor": FLOAT * (shape.parameters * bool(anchor.kl) + learning * bool(anchor.l2)) if anchor else 0,
        "activations": tokens * wide * shape.width * shape.layers if again else shape.layers * kept,
        "gradients": FLOAT * learning // shards,
        "block": kept if again else 0,
        "logits": logits + copied + head + wide * tokens * shape.width,
        "ends": ENDS * wide * shape.vocab * shape.width if shape.tied and learning == shape.parameters else 0,
    }
    lasting = sum(list(parts.values())[:5])
    earlier = parts["gradients"] if rows < share else 0  # of the passes before
    at_loss = parts["activations"] + parts["logits"] + earlier
    on_the_way = parts["activations"] + parts["gradients"] + parts["block"]
    at_end = parts["ends"] + max(earlier, parts["gradients"] - FLOAT * shape.vocab * shape.width // shards)
    return lasting + max(at_loss, on_the_way, at_end), parts


def _training(step: Step) -> Training:
    training = step.params["training"]
    assert isinstance(training, Training)
    return training


def _table(value: JSON) -> Mapping[str, Any]:
    assert isinstance(value, dict)
    return value


def _mixed(mixture: object, key: str) -> int:
    assert isinstance(mixture, Step)
    return int(str(mixture.params[key]))


def _of_file(path: Path) -> Shape | str:
    config = json_of(path, str(path))
    return shape_of(config, str(path)) or f"unknown: `{config.get('model_type')}` models are not estimated"
