"""Supervised tuning on reviewed instructions: the same loop, with the loss on the responses only."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from aurora_m.core.ends import ends_of
from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.recipe import Training
from aurora_m.tokens.rows import Interleaved, taken
from aurora_m.tokens.spelling import check_texts
from aurora_m.tokens.stream import combine_keys
from aurora_m.tokens.tokenizer import open_tokenizer
from aurora_m.train.facts import TrainingFacts
from aurora_m.train.stage import TrainingInputs, learn
from aurora_m.train.world import run_on_all_ranks
from aurora_m.tune.examples import SOURCE, encode, pack


@run_on_all_ranks
def sft(  # noqa: PLR0913  # a step
    work: Work,
    *,
    name: str,
    training: Training,
    seed: int,
    old_langs: Sequence[str],
    keep_optimizer: bool,
    epochs: int,
    replay: float,
    start: Artifact,
    tokenizer: Artifact,
    held_out: dict[str, Artifact],
    reviewed: Artifact,
    mixture: Artifact | None = None,
    shards: dict[str, Artifact] | None = None,
    anchor_mixture: Artifact | None = None,
    anchor_shards: dict[str, Artifact] | None = None,
    base: Artifact | None = None,
    original: Artifact | None = None,
    original_tokenizer: Artifact | None = None,
) -> TrainingFacts:
    """Tune `start` on reviewed rows for some epochs; writes a Hugging Face folder and curve.jsonl.

    old_langs       that a forgetting budget is for
    keep_optimizer  whether a later step takes the optimizer's state
    replay          the share of rows that come from `mixture` instead, so that tuning forgets little
    anchor_mixture  with `anchor_shards`: the text that an anchor reads
    base            that a forgetting budget compares with
    original        with `original_tokenizer`: the base before it had more tokens, which a budget compares with then
    """
    inputs = TrainingInputs(name, training, seed, old_langs, keep_optimizer, start, tokenizer, held_out, base)
    inputs = replace(inputs, original=original, original_tokenizer=original_tokenizer)
    encoder, ends, row_tokens = open_tokenizer(tokenizer.path), ends_of(tokenizer.path), training.row_tokens
    reviewed_rows = read_jsonl(reviewed.path / "rows.jsonl")
    texts = ((row.get("lang", ""), f"{row['prompt']}\n{row['answer']}") for row in reviewed_rows)
    check_texts(encoder, texts, f"tune.{name}")
    examples = [encode(row, encoder, ends) for row in reviewed_rows]
    short = [example for example in examples if len(example.tokens) <= row_tokens + 1]
    tuned = [row for epoch in range(epochs) for row in pack(short, row_tokens, combine_keys(seed, epoch), epoch)]
    share = Fraction(replay).limit_denominator(1000)
    num_rows = int(len(tuned) / (1 - share))
    stream = inputs.stream(mixture, shards) if mixture and shards else None
    if taken([(0, share)], num_rows) > (len(stream) if stream else 0):
        what = f"tuning replays {taken([(0, share)], num_rows)} rows, and its mixture has {len(stream or ())}"
        raise RecipeError(what, at=f"tune.{name}", hint="raise the mixture's `tokens`, or lower `replay` or `epochs`")
    plan = inputs.plan(num_rows)
    if not plan.opt_steps:
        what, hint = f"{len(short)} reviewed rows do not fill one batch", "lower `batch_tokens` or add rows"
        raise TrainError(what, at=f"tune.{name}", hint=hint)
    rows = Interleaved(tuned, stream or (), [(0, share)], between=True)
    sources = [SOURCE, *(stream.names if stream else ())]
    anchor_rows = inputs.stream(anchor_mixture, anchor_shards, ".anchor") if anchor_mixture and anchor_shards else None
    _, facts = learn(work, inputs, plan, rows, sources, anchor_rows, inputs.monitor(work))
    return replace(facts, examples=len(short), too_long=len(examples) - len(short))
