"""A run on many machines: the Slurm batch file that starts the same command on each of them, under torchrun."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from aurora_m.core.errors import RecipeError
from aurora_m.core.files import replacing

LIMIT = re.compile(r"\d+|(\d+-)?\d+(:\d\d){1,2}|\d+-\d+")  # minutes, minutes:seconds, hours:minutes:seconds, with days
SETTINGS = ("DEVICE", "ENGINE", "MICRO_BATCH", "STORE", "THREADS", "WORKERS")  # others are none of the job's
END_S = 300  # before its time is up, a job asks to be queued again


def options() -> argparse.ArgumentParser:
    """The options that put a run on many machines."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--launch", choices=["slurm"], help="write a batch file for many machines instead of running")
    made.add_argument("--nodes", type=int, default=1, help="machines, with --launch (default 1)")
    made.add_argument("--gpus-per-node", type=int, default=8, help="GPUs of each (default 8)")
    made.add_argument(
        "--time", default="", help="limit of one job, days-hours:minutes:seconds; it is queued again then"
    )
    made.add_argument("--partition", default="", help="of the cluster")
    return made


def write_batch_file(args: argparse.Namespace, name: str) -> Path:
    """Write `slurm/NAME.sh` in the store and return its path. RecipeError if Slurm would refuse something."""
    for key in ("nodes", "gpus_per_node"):
        if getattr(args, key) < 1:
            what = f"`{getattr(args, key)}` is too small"
            raise RecipeError(what, at=f"--{key.replace('_', '-')}", hint="write a positive number")
    if args.time and not LIMIT.fullmatch(args.time):
        raise RecipeError(f"`{args.time}` is no time for Slurm", at="--time", hint="write days-hours:minutes:seconds")
    if args.partition and not re.fullmatch(r"[\w.,-]+", args.partition):
        raise RecipeError(f"`{args.partition}` is no partition", at="--partition", hint="`sinfo` lists them")
    path: Path = args.store.resolve() / "slurm" / f"{name}.sh"
    _, words = options().parse_known_args(args.words)
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(batch_file(args, name, words, path.parent).encode())
    return path


def batch_file(args: argparse.Namespace, name: str, words: Sequence[str], folder: Path) -> str:
    """The text of a batch file that runs `aurora WORDS` in the folder where we are, with its logs in `folder`.

    One launcher a machine; they meet at the first. A machine that fails or is taken away, and the end of the job's
    time, queue the job again, and the same command goes on from the last checkpoint.
    """
    directives = {
        "job-name": name,
        "nodes": args.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": args.gpus_per_node,
        "mem": "0",  # all of it
        "time": args.time,
        "partition": args.partition,
        "output": shlex.quote(f"{folder}/%x-%j.log"),
        "open-mode": "append",
        "signal": f"B:USR1@{END_S}",
    }
    settings = {f"AURORA_{name}": os.environ[f"AURORA_{name}"] for name in SETTINGS if f"AURORA_{name}" in os.environ}
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{key}={value}" for key, value in directives.items() if value),
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        "set -euo pipefail",
        *(f"export {key}={shlex.quote(value)}" for key, value in settings.items()),
        f"cd {shlex.quote(str(Path.cwd()))}",
        "trap 'scontrol requeue \"$SLURM_JOB_ID\"' USR1  # the job's time is nearly up",
        'machines=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))',
        "port=$((20000 + SLURM_JOB_ID % 20000))",
        'srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" \\',
        f"  {shlex.quote(sys.executable)} -m torch.distributed.run \\",
        f'  --nnodes="$SLURM_NNODES" --nproc-per-node={args.gpus_per_node} --rdzv-backend=c10d \\',
        '  --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="${machines[0]}:$port" \\',
        f"  -m aurora_m {shlex.join(words)} &",
        "wait $!",
    ]
    return "\n".join(lines) + "\n"
