"""Training speed on one GPU: `python benchmarks/gpu.py`.

Aurora's own loop, as every stage runs it, on a Llama of 1.1 billion weights in rows of 4,096 tokens: bfloat16 over
float32 weights, blocks compiled, AdamW, the chunked head loss, rows read from token shards. Documents are longer than
rows, so that attention is causal over whole rows, as in published figures; `--doc-tokens` packs shorter ones.

A token costs 6 FLOP for each weight that it is multiplied with (embeddings that are only looked up are left out, a tied
head counts once) and 6 * layers * width * row tokens for attention: the causal half of 12. Recomputed activations are
not counted. MFU is that over the device's peak of dense bfloat16, also with `--precision fp8`.
Writes benchmarks/results/gpu-<date>.json and .md. `--try-cpu` only shows that the script works, without a GPU.
"""

import argparse
import json
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from curation import machine  # noqa: E402
from training import SEED, VOCAB, aurora, open_rows, packages, settings, write_rows  # noqa: E402

from aurora_m.foresight.devices import KINDS, Machines  # noqa: E402
from aurora_m.foresight.estimate import memory  # noqa: E402
from aurora_m.model.shape import Shape  # noqa: E402

FIRST = 10  # steps that are left out: compiling, and finding kernels
LONG = 64  # rows that a document is long, where documents are to fill rows

Result = dict[str, Any]


def main() -> None:
    """Train for some steps and write what they took."""
    args = options()
    kind = "cpu" if args.try_cpu else device_kind()
    shape = shape_of(args)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), args.rows * args.steps, args.row_tokens, args.doc_tokens or LONG * args.row_tokens)
        result = {**machine(), "command": " ".join(sys.argv), "packages": packages(("torch", "transformers"))}
        result |= measure(args, shape, Path(folder), kind)
    page = report(result)
    if not args.try_cpu:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f"gpu-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(page)
    print(page)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=32, help="a batch")
    parser.add_argument("--micro-batch", type=int, default=4, help="rows a pass")
    parser.add_argument("--row-tokens", type=int, default=4096)
    parser.add_argument("--doc-tokens", type=int, default=0, help="of a document on average; 0: longer than rows")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp8"])
    parser.add_argument("--recompute", default="none", choices=["none", "blocks"])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--try-cpu", action="store_true", help="a tiny model on the CPU, nothing written")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.threads = 1 if args.try_cpu else os.cpu_count() or 1
    if args.try_cpu:
        args.steps, args.rows, args.micro_batch, args.row_tokens, args.layers, args.width = FIRST + 2, 2, 1, 64, 2, 128
    if args.steps <= FIRST:
        sys.exit(f"error: the first {FIRST} steps are left out; ask for more than {args.steps}")
    return args


def device_kind() -> str:
    """The kind of this machine's GPU, whose peak is known. Exits where there is none."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("error: torch finds no CUDA device here; this benchmark needs one (`--try-cpu` shows that it works)")
    name = torch.cuda.get_device_name()
    found = [kind for kind in KINDS if kind.upper() in name.upper()]
    if not found:
        sys.exit(f"error: the peak of `{name}` is not known; add it to KINDS in aurora_m/foresight/devices.py")
    return found[-1]


def shape_of(args: argparse.Namespace) -> Shape:
    """A Llama with heads of 128 and half as many of keys and values, four times as wide inside."""
    heads = max(2, args.width // 128)
    return Shape(
        "llama", args.layers, args.width, heads, heads // 2, args.row_tokens, VOCAB, inner=4 * args.width, tied=True
    )


def model_of(shape: Shape) -> Any:
    """A model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab, hidden_size=shape.width, intermediate_size=shape.inner,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.positions, tie_word_embeddings=shape.tied, bos_token_id=0, eos_token_id=0,
            attn_implementation="sdpa",
        )
    )  # fmt: skip


def token_flop(shape: Shape, row_tokens: int) -> int:
    """FLOP of a token, forward and backward, with the causal half of attention."""
    return 6 * (shape.parameters - shape.looked_up) + 6 * shape.layers * shape.width * row_tokens


def measure(args: argparse.Namespace, shape: Shape, folder: Path, kind: str) -> Result:
    """Train, and say how fast and in how much memory."""
    import torch

    runtime: Result = {"device": "cpu", "precision": "fp32"}
    if kind != "cpu":
        runtime = {"device": "cuda", "precision": args.precision, "compile": not args.no_compile}
    runtime |= {"micro_batch": args.micro_batch, "recompute": args.recompute}
    ends, last_loss, waited_s = aurora(model_of(shape), open_rows(folder), args, **runtime)
    steps = [end - start for start, end in pairwise(ends[FIRST - 1 :])]
    tokens_s = args.rows * args.row_tokens / median(steps)
    machines = Machines(kind, 1, 0.0, args.micro_batch, 1, 1, runtime["precision"], args.recompute)
    expected, _ = memory(shape, settings(args), machines)
    return {
        "device": kind if kind == "cpu" else torch.cuda.get_device_name(),
        "runtime": runtime,
        "batch": {name: getattr(args, name) for name in ("rows", "row_tokens", "doc_tokens")},
        "parameters": shape.parameters,
        "shape": vars(shape),
        "step_s": [round(s, 4) for s in steps],
        "tokens_s": round(tokens_s),
        "flop_a_token": token_flop(shape, args.row_tokens),
        "peak_flop_s": KINDS[kind].flop_s,
        "mfu": round(tokens_s * token_flop(shape, args.row_tokens) / KINDS[kind].flop_s, 4),
        "wait_share": sum(waited_s[FIRST:]) / (ends[-1] - ends[FIRST - 1]),
        "peak_bytes": 0 if kind == "cpu" else torch.cuda.max_memory_allocated(),
        "estimated_bytes": expected,
        "last_loss": round(last_loss, 4),
    }


def report(result: Result) -> str:
    """The result as a Markdown page."""
    batch, runtime, rows = result["batch"], result["runtime"], len(result["step_s"])
    how = f"{runtime['precision']}, {'compiled' if runtime.get('compile') else 'not compiled'}"
    how += f", recompute {runtime['recompute']}, {runtime['micro_batch']} of {batch['rows']} rows a pass"
    cells = (
        f"{result['parameters'] / 1e9:.2f}B", how, f"{result['tokens_s']:,}", f"{result['mfu']:.1%}",
        f"{result['peak_bytes'] / 2**30:.1f} ({result['estimated_bytes'] / 2**30:.1f})", f"{result['wait_share']:.2%}",
    )  # fmt: skip
    return "\n".join(
        [
            f"# Training on one {result['device']}, {result['date']}", "",
            f"Commit {result['commit']}, torch {result['packages']['torch']}, rows of {batch['row_tokens']} tokens, "
            f"documents of {batch['doc_tokens'] or 'more'}; medians of {rows} steps. A token counts "
            f"{result['flop_a_token']:.4g} FLOP (6 a weight, and the causal half of attention); the peak is "
            f"{result['peak_flop_s'] / 1e12:.0f} TFLOP/s, dense bfloat16.", "",
            "| weights | how | tokens/s | MFU | GiB at most (estimated) | data wait |",
            "|---|---|---|---|---|---|",
            f"| {' | '.join(cells)} |", "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
