"""Training in several real processes, for tests: each of them runs this file with the name of what to do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tiny import VOCAB, tiny_model, training

from aurora_m.core import interrupt
from aurora_m.core.errors import AuroraError, DataError, RecipeError
from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.tokens.rows import Row
from aurora_m.train import checkpoint, world
from aurora_m.train.loop import fit
from aurora_m.train.monitor import Monitor
from aurora_m.train.objectives.anchors import Anchored, Distance, Divergence
from aurora_m.train.objectives.next_token import NextToken
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import Schedule
from aurora_m.train.world import FollowerDone, RankCoordinator, run_on_all_ranks

ROOT = Path(__file__).parents[2]
PATHS = ROOT, ROOT / "tests/model", ROOT / "tests/train"
T, ROWS, STEPS, HALF = 12, 4, 4, 2


class Made:
    """Rows made from their index; from one on, reading ends in an error or a kill, or that one asks for a stop."""

    def __init__(self, stop_at: int = 10**9, how: str = "error") -> None:
        self.stop_at, self.how = stop_at, how

    def __getitem__(self, index: int) -> Row:
        if index == self.stop_at and self.how == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        elif index >= self.stop_at:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        random = np.random.default_rng(index)
        weights = random.choice([0.0, 0.25, 1.0], T).astype(np.float32)
        start = index % 7
        return Row(
            random.integers(0, VOCAB, T + 1), np.array([*range(start), *range(T - start)]), weights, "ab"[index % 2], 0
        )


def plan(**changes: Any) -> Plan:
    schedule = Schedule("cosine", 3e-3, 3e-4, 2 * ROWS * T, STEPS * ROWS * T)
    keep = changes.pop("keep", False)
    return Plan(training(T, ROWS, **changes), 5, STEPS, schedule, keep=keep)


def plain_model(kind: str) -> Any:
    """A tiny model without dropout, which depends on who reads a row."""
    model = tiny_model(kind)
    for module in model.modules():
        for name in ("attn_dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def mean_logit(model: Any) -> float:
    """A measure that runs the model, as the monitor does."""
    model.eval()
    with torch.no_grad():
        found = model(input_ids=torch.arange(8)[None], use_cache=False).logits.float().mean()
    model.train()
    return float(found)


def trained(
    folder: Path,
    kind: str,
    wanted: Plan | None = None,
    rows: Any = None,
    team: Any = None,
    held: bool = False,
    **runtime: Any,
) -> tuple[Any, list[Any]]:
    """Train a tiny model in a folder; returns it with its curve, in the first process.

    Where the rows end in an error or a kill, every step is saved; else none.
    """
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "scratch").mkdir(exist_ok=True)
    where = Runtime(folder, threads=1, device="cpu", team=team, save_every_s=0.0 if rows else 3600.0, **runtime)
    model = plain_model(kind)
    work = Work(folder / "out", folder / "scratch", where, Log(quiet=True))
    with patch.object(checkpoint, "SAVING_SHARE", 1e9):
        return model, fitted(work, model, rows or Made(), wanted or plan(), anchors(model) if held else [])


def fitted(work: Work, model: Any, rows: Any, wanted: Plan, held_by: list[Any]) -> list[Any]:
    """The curve, line by line."""
    objective: Any = NextToken("ab", work.runtime.micro_batch)
    objective = Anchored(objective, held_by) if held_by else objective
    return fit(work, "cap", model, rows, wanted, objective, Monitor(mean_logit)).to_json()


class Old(Made):
    """Rows for an anchor."""

    row_tokens = T

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Row:
        return super().__getitem__(1000 + index)


def anchors(model: Any) -> list[Any]:
    """Both anchors, to the model as it starts and to another one."""
    other = plain_model("llama").requires_grad_(False)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.1)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    return [Divergence(other, Old(), ROWS, 0.5, 1), Distance(start, 0.1)]  # type: ignore[arg-type]


def interrupted(folder: Path, kind: str, team: Any = None, wanted: Plan | None = None) -> None:
    """Train half of the steps; a whole checkpoint stays."""
    try:
        trained(folder, kind, wanted, Made(HALF * ROWS), team)
    except KeyboardInterrupt:
        checkpoint.wait_for_write(folder / "scratch")


def noted(folder: Path, name: str, call: Callable[[], tuple[Any, list[Any]]]) -> None:
    """Do something in all processes and write down what the first one got."""
    try:
        model, curve = call()
    except FollowerDone:
        return
    torch.save(model.state_dict(), folder / f"{name}.pt")
    (folder / f"{name}.json").write_text(json.dumps(curve))


def start(count: int, folder: Path, *words: str, script: Path = Path(__file__)) -> list["subprocess.Popen[str]"]:
    """Start processes that find each other as those of torchrun do."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    about = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, str(script), *words, str(folder)],
            env={
                **os.environ,
                **about,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def four(folder: Path, team: RankCoordinator) -> None:
    for kind in ("llama", "bigcode"):
        noted(folder, f"{kind}_4", lambda kind=kind: trained(folder / f"{kind}_4", kind, team=team))
        about = {"team": team, "replicas": 2}
        noted(folder, f"{kind}_2x2", lambda kind=kind, a=about: trained(folder / f"{kind}_2x2", kind, **a))
        interrupted(folder / f"{kind}_half", kind, team)
    muon: dict[str, Any] = {"team": team, "wanted": plan(optimizer="muon", ema=0.9, keep=True)}
    noted(folder, "muon_4", lambda: trained(folder / "muon_4", "llama", **muon))
    noted(folder, "muon_2x2t", lambda: trained(folder / "muon_2x2t", "llama", tensor=2, **muon))
    interrupted(folder / "tensor_half", "llama", team)


@contextmanager
def counted(calls: list[int]) -> Iterator[None]:
    """Add how often processes add something up."""
    right, count = torch.distributed.all_reduce, [0]

    def counting(*given: Any, **how: Any) -> Any:
        count[0] += 1
        return right(*given, **how)

    with patch.object(torch.distributed, "all_reduce", counting):
        yield
    calls += count


def two(folder: Path, team: RankCoordinator) -> None:
    calls: list[int] = []
    for micro in (0, 1):
        about: dict[str, Any] = {"team": team, "replicas": 2, "micro_batch": micro, "held": True}
        name = f"replicas_{micro}"
        with counted(calls):
            noted(folder, name, lambda name=name, a=about: trained(folder / name, "llama", **a))
    (folder / f"calls_{team.rank}.json").write_text(json.dumps(calls))
    for kind in ("llama", "bigcode"):
        noted(folder, f"{kind}_2", lambda kind=kind: trained(folder / f"{kind}_2", kind, team=team))
        noted(
            folder, f"{kind}_on_2", lambda kind=kind: trained(folder / f"{kind}_on_2", kind, team=team, micro_batch=1)
        )
        noted(folder, f"{kind}_from_1", lambda kind=kind: trained(folder / f"{kind}_from_1", kind, team=team))
    noted(folder, "tensor_2", lambda: trained(folder / "tensor_2", "llama", team=team, tensor=2))
    noted(folder, "held_2", lambda: trained(folder / "held_2", "llama", team=team, held=True))
    again = {"team": team, "recompute": "blocks"}
    noted(folder, "recomputed_2", lambda: trained(folder / "recomputed_2", "llama", **again))
    noted(folder, "bf16_2", lambda: trained(folder / "bf16_2", "llama", team=team, precision="bf16"))
    trained(folder / "killed", "bigcode", plan(optimizer="muon"), Made((HALF + 1) * ROWS, "kill"), team)


def stopped(folder: Path, team: RankCoordinator) -> None:
    """The first process gets a signal, which both end by."""
    interrupt.install()
    trained(folder / "stopped", "bigcode", plan(optimizer="muon"), Made(HALF * ROWS, "stop"), team)


def again(folder: Path, team: RankCoordinator) -> None:
    muon = plan(optimizer="muon")
    noted(folder, "killed", lambda: trained(folder / "killed", "bigcode", muon, team=team))
    noted(folder, "stopped", lambda: trained(folder / "stopped", "bigcode", muon, team=team))
    noted(folder, "whole", lambda: trained(folder / "whole", "bigcode", muon, team=team))


def step(work: Work, *, how: str) -> dict[str, Any]:
    """A step of two processes in which one fails while the other waits for it."""
    assert isinstance(work.runtime.team, RankCoordinator)
    first = work.runtime.team.rank == 0
    if how == "follower's error" and not first:
        raise DataError("row 7 is bad", at="row 7", hint="mend it")
    if how == "follower's death" and not first:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leader's error":
        if first:
            raise RecipeError("no such thing", at="here", hint="write another")
        print(f"{time.process_time() - BEGAN['cpu_s']:.3f} of {time.monotonic() - BEGAN['s']:.3f}", flush=True)
    torch.distributed.barrier()
    return {}


def lead_or_follow(team: RankCoordinator, folder: Path, how: str) -> int:
    """What the command line does, with one step."""
    step.__module__ = "aurora_m.fake"
    sys.modules["aurora_m.fake"] = ModuleType("aurora_m.fake")
    joined = run_on_all_ranks(step)
    vars(sys.modules["aurora_m.fake"])["step"] = joined
    world.GRACE_S = 0.5
    where = Runtime(folder, device="cpu", team=team)
    BEGAN.update(cpu_s=time.process_time(), s=time.monotonic())
    if team.rank:
        return team.follow(where)
    try:
        with team.leading():
            time.sleep(3.0)  # steps in which the others have no part
            joined(Work(folder, folder, where, Log(quiet=True)), how=how)
    except AuroraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


BEGAN: dict[str, float] = {}

if __name__ == "__main__":
    torch.set_num_threads(1)
    ours, todo = RankCoordinator.join("cpu"), {"four": four, "two": two, "again": again, "stopped": stopped}
    if sys.argv[1] not in todo:
        sys.exit(lead_or_follow(ours, Path(sys.argv[2]), sys.argv[1]))
    todo[sys.argv[1]](Path(sys.argv[2]), ours)
