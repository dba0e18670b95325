"""A training stage: a model, a mixture and a schedule in; a model and its curve out."""

from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.model.load import load_model, save_model
from aurora_m.tokens.stream import Stream, key_of, mixed
from aurora_m.tokens.tokenizer import fim_ids, open_tokenizer
from aurora_m.train.loop import Plan, fit, start_model, training_facts
from aurora_m.train.monitor import bits_per_byte
from aurora_m.train.schedule import Schedule

CURVE = "curve.jsonl"


def train(
    work: Work,
    *,
    start: Artifact,
    tokenizer: Artifact,
    mixture: Artifact,
    shards: dict[str, Artifact],
    held: dict[str, Artifact],
    name: str,
    batch: int,
    schedule: str,
    peak_lr: float,
    end_lr: float,
    warmup: int,
    decay_share: float,
    optimizer: str,
    weight_decay: float,
    beta2: float,
    clip: float,
    seed: int,
) -> Facts:
    """Train `start` on a mixture's stream; writes a Hugging Face folder and curve.jsonl.

    The last rows that do not fill a batch are not read.
    """
    # The stage is in the key, so that replay does not read again what the base read first.
    stream = Stream(mixture, shards, mixed(seed, key_of(name)), fim_ids(open_tokenizer(tokenizer.path)))
    rows_a_step = batch // stream.row_tokens
    opt_steps = len(stream) // rows_a_step
    lrs = Schedule(schedule, peak_lr, end_lr, warmup, opt_steps * batch, decay_share)
    plan = Plan(opt_steps, rows_a_step, stream.row_tokens, lrs, optimizer, weight_decay, beta2, clip, seed)
    model = start_model(work, load_model(start.path), name)
    curve = fit(work, name, model, stream, plan, bits_per_byte(held, tokenizer))
    save_model(model, work.out, start.path)
    write_jsonl(work.out / CURVE, curve)
    return training_facts(model, plan, curve)
