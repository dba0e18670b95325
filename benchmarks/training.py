"""A training step on the CPU, Aurora beside Hugging Face's Trainer and a plain loop: `python benchmarks/training.py`.

One model, the same rows of packed documents from token shards on disk, the same batch, AdamW and loss, float32. Every
run is a process of its own, and the systems take turns, so that a busy moment hits all. A step's time goes from the
end of one update to the end of the next; the first steps are left out. Memory is the process's largest, less what it
had before the first step. Trainer needs accelerate (`pip install accelerate`); it does not log here, and Aurora does.
Writes benchmarks/results/training-<date>.json and .md. `--quick` only shows that it works.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
HOUSE = HERE.parent
sys.path[:0] = [str(HERE), str(HOUSE)]

from curation import machine  # noqa: E402

SYSTEMS = ("aurora", "trainer", "plain")
MODELS = ("llama", "gpt_bigcode")
VOCAB, LAYERS, WIDTH, HEADS = 49_152, 6, 192, 6  # 12 million weights, most of them embeddings, as in small models
DOC_TOKENS = 200  # on average
SEED, PEAK_LR, CLIP, DECAY, BETA2 = 17, 1e-3, 1.0, 0.1, 0.95
FIRST = 3  # steps that are left out

Result = dict[str, Any]
Run = tuple[list[float], float, list[float]]  # the end of each step, the last loss, seconds waited for rows


def main() -> None:
    """Let the systems take turns, and write the result; or be one of them."""
    args = options()
    if args.one:
        print(json.dumps(one(args)))
        return
    result: Result = {**machine(), "command": " ".join(sys.argv), "packages": packages(), "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), args.rows * args.steps, args.row_tokens, DOC_TOKENS)
        for model in args.models:
            runs: dict[str, list[Result]] = {system: [] for system in args.systems}
            for _ in range(args.runs):
                for system in args.systems:
                    runs[system].append(process(args, folder, model, system))
                    print(model, system, runs[system][-1], file=sys.stderr)
            result["models"][model] = {system: middle(found) for system, found in runs.items()}
    result["load_end"] = os.getloadavg()
    result["ratios"] = {model: ratios(found) for model, found in result["models"].items()}
    page = "\n".join(report(result, args)) + "\n"
    if not args.quick:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f"training-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(page)
    print(page)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--systems", default=",".join(SYSTEMS), type=lambda text: text.split(","))
    parser.add_argument("--models", default=",".join(MODELS), type=lambda text: text.split(","))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rows", type=int, default=8, help="a batch")
    parser.add_argument("--row-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1, help="of torch, on as many cores")
    parser.add_argument("--quick", action="store_true", help="a few small steps, one run, nothing written")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--one", nargs=3, metavar=("SYSTEM", "MODEL", "SHARDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.steps, args.rows, args.row_tokens = 1, FIRST + 3, 2, 64
    return args


def packages(names: Iterable[str] = ("torch", "transformers", "accelerate")) -> dict[str, str]:
    """The versions that matter."""
    from importlib.metadata import version

    return {name: version(name) for name in names}


def process(args: argparse.Namespace, folder: str, model: str, system: str) -> Result:
    """One run in a process of its own."""
    words = [f"--{name}={getattr(args, name.replace('-', '_'))}" for name in ("steps", "rows", "row-tokens", "threads")]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    done = subprocess.run(
        [sys.executable, __file__, "--one", system, model, folder, *words],
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        preexec_fn=lambda: os.sched_setaffinity(0, range(args.threads)),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{system}, {model}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def middle(runs: list[Result]) -> Result:
    """The median of all steps, and of each run, for their spread."""
    return {
        "step_s": round(median(s for run in runs for s in run["step_s"]), 4),
        "runs_s": [round(median(run["step_s"]), 4) for run in runs],
        "peak_bytes": int(median(run["peak_bytes"] for run in runs)),
        "before_bytes": int(median(run["before_bytes"] for run in runs)),
        "wait_share": round(median(run["wait_share"] for run in runs), 5),
        "last_loss": runs[0]["last_loss"],
        "parameters": runs[0]["parameters"],
    }


def ratios(found: dict[str, Result]) -> Result:
    """How many times longer a peer's step takes, and how many times more memory its steps add."""
    mine = found.get("aurora")
    if not mine:
        return {}
    added = {system: about["peak_bytes"] - about["before_bytes"] for system, about in found.items()}
    return {
        system: {
            "time": round(about["step_s"] / mine["step_s"], 3),
            "memory": round(added[system] / max(added["aurora"], 1), 2),
        }
        for system, about in found.items()
        if system != "aurora"
    }


def report(result: Result, args: argparse.Namespace) -> list[str]:
    """The result as a Markdown page."""
    lines = [
        f"# A training step on the CPU, {result['date']}", "",
        f"{result['cpu']}, {args.threads} of {result['cores']} cores, torch {result['packages']['torch']}, "
        f"transformers {result['packages']['transformers']}, commit {result['commit']}, load "
        f"{result['load_start'][0]:.1f} at the start. {args.rows} rows of {args.row_tokens} tokens, "
        f"vocabulary {VOCAB:,}, float32; medians of {args.runs} runs of "
        f"{args.steps - FIRST} steps.", "",
        "| model | system | step s (runs) | times Aurora's | MB added | times Aurora's | data wait | last loss |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for model, found in result["models"].items():
        for system, about in found.items():
            times = result["ratios"][model].get(system, {"time": 1, "memory": 1})
            added = (about["peak_bytes"] - about["before_bytes"]) / 1e6
            runs = ", ".join(f"{s:.3f}" for s in about["runs_s"])
            wait = f"{about['wait_share']:.2%}" if system == "aurora" else ""
            cells = (f"{about['step_s']:.3f} ({runs})", times["time"], f"{added:.0f}", times["memory"], wait)
            lines.append(f"| {model} | {system} | {' | '.join(map(str, cells))} | {about['last_loss']:.4f} |")
    return lines


# --- one run


def one(args: argparse.Namespace) -> Result:
    """Train with one system; what it took."""
    import torch

    from aurora_m.core.log import peak_memory_bytes

    system, arch, folder = args.one
    torch.set_num_threads(args.threads)
    model = small_model(arch, args.row_tokens)
    rows = open_rows(Path(folder))
    train: Callable[..., Run] = {"aurora": aurora, "trainer": trainer, "plain": plain}[system]
    if system == "trainer":
        import transformers.trainer  # noqa: F401  # what an import takes is no cost of a step
    before = peak_memory_bytes()
    ends, last_loss, waited_s = train(model, rows, args)
    assert len(ends) == args.steps, (len(ends), args.steps)
    return {
        "step_s": [round(end - start, 4) for start, end in pairwise(ends[FIRST - 1 :])],
        "peak_bytes": peak_memory_bytes(),
        "before_bytes": before,
        "wait_share": sum(waited_s[FIRST:]) / (ends[-1] - ends[FIRST - 1]),
        "last_loss": round(last_loss, 5),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def small_model(arch: str, row_tokens: int) -> Any:
    """A model with random weights, always the same ones."""
    import torch
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    ends: Result = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True, "attn_implementation": "sdpa"}
    if arch == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=WIDTH * 8 // 3, num_hidden_layers=LAYERS,
                num_attention_heads=HEADS, num_key_value_heads=HEADS // 2, max_position_embeddings=row_tokens, **ends,
            )
        )  # fmt: skip
    drops = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    return GPTBigCodeForCausalLM(
        GPTBigCodeConfig(
            vocab_size=VOCAB, n_embd=WIDTH, n_inner=4 * WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=row_tokens,
            **drops, **ends,
        )
    )  # fmt: skip


def write_rows(folder: Path, count: int, row_tokens: int, doc_tokens: int) -> None:
    """A mixture of one source: token shards of documents of random length and random tokens."""
    import numpy as np

    from aurora_m.core.facts import to_json
    from aurora_m.core.files import write_json
    from aurora_m.core.log import Log
    from aurora_m.core.step import Artifact, Runtime, Work
    from aurora_m.tokens.mixture import mix
    from aurora_m.tokens.shards import ShardFacts

    tokens = count * row_tokens
    generator = np.random.default_rng(SEED)
    lengths = generator.integers(doc_tokens // 2, doc_tokens * 3 // 2, 2 * (tokens // doc_tokens + 2))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = generator.integers(1, VOCAB, int(offsets[-1])).astype(np.uint16)
    values[offsets[1:] - 1] = 0  # the end token
    for name in ("tokens", "ids", "mixture", "scratch"):
        (folder / name).mkdir()
    (folder / "tokens/00000-of-00001.bin").write_bytes(values.tobytes())
    (folder / "tokens/00000-of-00001.idx").write_bytes(offsets.tobytes())
    (folder / "ids/00000-of-00001.jsonl").write_text("".join(f'"{i}"\n' for i in range(len(lengths))))
    facts = to_json(ShardFacts(len(values), len(lengths), 4 * len(values), 4.0, "uint16", 0))
    write_json(folder / "facts.json", facts)
    work = Work(folder / "mixture", folder / "scratch", Runtime(folder), Log(quiet=True))
    asked: Result = {"name": "text", "shares": {"text": 1.0}, "unit": "tokens", "fim": {}, "max_epochs": 1.0}
    mix(work, shards={"text": Artifact(folder, "", facts)}, tokens=tokens, row_tokens=row_tokens, **asked)


def open_rows(folder: Path) -> Any:
    """The stream that all systems read."""
    from aurora_m.core.files import read_json
    from aurora_m.core.step import Artifact
    from aurora_m.tokens.stream import Stream

    shards = {"text": Artifact(folder, "", read_json(folder / "facts.json"))}
    return Stream(Artifact(folder / "mixture", "", {}), shards, SEED, None)


def settings(args: argparse.Namespace) -> Any:
    """What all systems train by, as a recipe's stage would say it."""
    from aurora_m.core.typed import Count
    from aurora_m.recipe import Training

    return Training(
        start="base", row_tokens=Count(args.row_tokens), batch_tokens=Count(args.rows * args.row_tokens),
        peak_lr=PEAK_LR, end_lr=PEAK_LR, warmup_tokens=Count(0), schedule="constant", weight_decay=DECAY, beta2=BETA2,
        clip=CLIP,
    )  # fmt: skip


def aurora(model: Any, rows: Any, args: argparse.Namespace, **runtime: Any) -> Run:
    """Aurora's own loop, as every stage runs it, without its measurements and checkpoints."""
    from aurora_m.core.files import read_jsonl
    from aurora_m.core.log import METRICS, Log
    from aurora_m.core.step import Runtime, Work
    from aurora_m.train.loop import fit
    from aurora_m.train.monitor import Monitor
    from aurora_m.train.objectives.next_token import NextToken
    from aurora_m.train.plan import Plan

    training = settings(args)
    plan = Plan.of(training, SEED, len(rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = Runtime(folder, **{"threads": args.threads, "device": "cpu", "save_every_s": 1e9, **runtime})
        work, objective = (
            Work(folder, folder, where, Log(quiet=True, runs=folder)),
            NextToken(rows.names, where.micro_batch),
        )
        fit(work, "s", model, rows, plan, objective, Monitor(lambda _: {}))
        told = [row for row in read_jsonl(folder / "s" / METRICS) if "waited_s" in row]
    return [row["at_s"] for row in told], told[-1]["loss"], [row["waited_s"] for row in told]


def tensors(rows: Any, args: argparse.Namespace) -> Iterator[Result]:
    """The rows as what `transformers` reads, one by one."""
    import torch

    for index in range(args.rows * args.steps):
        row = rows[index]
        tokens = torch.from_numpy(row.tokens)
        yield {"input_ids": tokens[:-1], "position_ids": torch.from_numpy(row.positions), "labels": tokens[1:]}


def plain(model: Any, rows: Any, args: argparse.Namespace) -> Run:
    """The loop that one writes first."""
    import torch
    from torch.nn.functional import cross_entropy

    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, BETA2), fused=True)
    model.train()
    examples, ends, last = tensors(rows, args), [], 0.0
    for _ in range(args.steps):
        part = [next(examples) for _ in range(args.rows)]
        batch = {name: torch.stack([example[name] for example in part]) for name in part[0]}
        labels = batch.pop("labels").flatten()
        loss = cross_entropy(model(**batch, use_cache=False).logits.flatten(0, 1), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        last = float(loss.detach())
        ends.append(time.perf_counter())
    return ends, last, []


def trainer(model: Any, rows: Any, args: argparse.Namespace) -> Run:
    """Hugging Face's Trainer, with nothing on that costs time."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import Trainer, TrainerCallback, TrainingArguments

    ends: list[float] = []
    losses: list[Any] = []

    class Ends(TrainerCallback):  # type: ignore[misc]  # transformers has no types
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Examples(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return args.rows * args.steps

        def __getitem__(self, index: int) -> Result:
            tokens = torch.from_numpy(rows[index].tokens)
            positions = torch.from_numpy(rows[index].positions)
            return {"input_ids": tokens[:-1], "position_ids": positions, "labels": tokens[1:]}

    def loss_of(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        loss = cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())  # the labels are shifted already
        losses.append(loss.detach())
        return loss

    with tempfile.TemporaryDirectory() as folder:
        how = TrainingArguments(
            folder, use_cpu=True, per_device_train_batch_size=args.rows, max_steps=args.steps, learning_rate=PEAK_LR,
            lr_scheduler_type="constant", weight_decay=DECAY, adam_beta2=BETA2, max_grad_norm=CLIP, seed=SEED,
            optim="adamw_torch_fused", report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        InOrder(model, how, train_dataset=Examples(), callbacks=[Ends()], compute_loss_func=loss_of).train()
    return ends, float(losses[-1]), []


if __name__ == "__main__":
    main()
