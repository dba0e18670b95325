"""The processes of a training step: one, or all that torchrun started, of which the first alone runs the recipe."""

import gc
import math
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, PrefixStore, Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from aurora_m.core.errors import AuroraError, RecipeError, TrainError
from aurora_m.core.log import Log
from aurora_m.core.step import PACKAGE, Runtime, Step, Work
from aurora_m.model.load import device_of

P = ParamSpec("P")
T = TypeVar("T")

LOOK_UP = timedelta(seconds=5)  # how long a waiting process is deaf to signals
WATCH_S = 1.0  # between looks at whether another process failed
GRACE_S = 10.0  # in which the first process may find the same failure by itself
FAREWELL_S = 30.0, 3.0  # in which all processes leave, after a good end and a bad one
HINT = "the same command goes on from the last checkpoint; --debug shows more"


class FollowerDone(Exception):
    """Ends a training step in a process that is not the first: the model is trained, the rest is the first's alone."""


class RankCoordinator:
    """The processes that torchrun started. The first runs the recipe; the others wait, and join its training steps.

    They talk through torchrun's key-value store, in which a process can wait for days at no cost; collectives, which
    time out, are used in training steps only.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.messages = 0  # messages of the first process so far

    @classmethod
    def join(cls, device: str) -> "RankCoordinator":
        """Meet the others, as the environment says: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT."""
        cuda = device != "cpu" and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        store, rank, size = next(rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size)
        return cls(PrefixStore("team", store), rank, size)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """In the first process: the whole run. At its end, good or bad, the others leave."""
        code = 1
        try:
            yield
            code = 0
        finally:
            self._tell(code)
            self._set("over", None)
            waited = threading.Event()
            for _ in range(int(FAREWELL_S[code] * 10)):
                if self.store.add("left", 0) == self.size - 1 or waited.wait(0.1):
                    break

    def follow(self, runtime: Runtime) -> int:
        """In another process: take part in every training step until the run is over; returns the exit code."""
        try:
            while True:
                message = pickle.loads(self._heard(f"message/{self.messages}"))  # noqa: S301  # our own first process
                self.messages += 1
                if isinstance(message, int):
                    self.store.add("left", 1)
                    return message
                self._take_part(runtime, *message)
        except dist.DistNetworkError:  # the first process is gone
            return 1

    def _take_part(self, runtime: Runtime, fn: str, out: Path, scratch: Path, given: Mapping[str, Any]) -> None:
        try:
            quiet = replace(runtime, team=self, tensorboard=None)
            Step(fn, fn).load()(Work(out, scratch, quiet, Log(quiet=True)), **given)
        except FollowerDone:
            gc.collect()  # the model, before the next one comes
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        except BaseException as error:
            failure = error if isinstance(error, AuroraError) else self._unexpected(error, fn)
            self._set("failed", failure)
            self._heard("over")
            raise SystemExit(1) from error

    def _unexpected(self, error: BaseException, fn: str) -> TrainError:
        what = " ".join(f"process {self.rank} of {self.size} failed: {type(error).__name__}: {error}".split())
        return TrainError(what[:400], at=fn, hint=HINT)

    @contextmanager
    def leading_step(self, fn: str, work: Work, given: Mapping[str, Any]) -> Iterator[None]:
        """In the first process: one training step, which the others join. What fails in one of them is raised here."""
        self._tell((fn, work.out, work.scratch, dict(given)))
        done = threading.Event()
        threading.Thread(target=self._watch, args=(done,), daemon=True).start()
        try:
            yield
        except dist.DistBackendError as error:
            raise self._lost(fn) from error
        except RuntimeError as error:
            if "onnection" not in str(error):  # so gloo says that another process is gone
                raise
            raise self._lost(fn) from error
        finally:
            done.set()

    def _lost(self, fn: str) -> AuroraError:
        if self.store.check(["failed"]):
            failure: AuroraError = pickle.loads(self.store.get("failed"))  # noqa: S301  # our own process
            return failure
        return TrainError("a process of the training step is gone", at=fn, hint=HINT)

    def _watch(self, done: threading.Event) -> None:
        """Where another process failed and this one waits for it in a collective, nothing else can end it."""
        while not done.wait(WATCH_S):
            if self.store.check(["failed"]) and not done.wait(GRACE_S):
                error = self._lost("")
                print(error, file=sys.stderr, flush=True)
                os._exit(error.exit_code)

    def _tell(self, what: object) -> None:
        self._set(f"message/{self.messages}", what)
        self.messages += 1

    def _set(self, key: str, what: object) -> None:
        self.store.set(key, pickle.dumps(what))  # type: ignore[arg-type]  # its annotation leaves bytes out

    def _heard(self, key: str) -> bytes:
        while True:
            try:
                self.store.wait([key], LOOK_UP)
                return bytes(self.store.get(key))
            except dist.DistNetworkError:
                raise
            except dist.DistStoreError:  # not yet
                continue


def run_on_all_ranks(step: Callable[P, T]) -> Callable[P, T]:
    """Let a training step run in every process of a team, with the same inputs; all but the first leave it in `fit`."""
    name = f"{step.__module__.removeprefix(f'{PACKAGE}.')}:{step.__name__}"

    @wraps(step)
    def run(*args: P.args, **given: P.kwargs) -> T:
        (work,) = args
        assert isinstance(work, Work)
        team = work.runtime.team
        if not isinstance(team, RankCoordinator) or team.rank > 0:
            return step(*args, **given)
        with team.leading_step(name, work, given):
            return step(*args, **given)

    return run


@dataclass(frozen=True)
class ParallelLayout:
    """The processes that train one model: `data` groups with rows of their own, each of `tensor` processes."""

    rank: int = 0
    size: int = 1
    tensor: int = 1
    mesh: DeviceMesh | None = None  # (replica, shard, tensor); none: the weights stay whole

    @property
    def data(self) -> int:
        """How many groups read rows of their own."""
        return self.size // self.tensor

    @property
    def salt(self) -> tuple[int, ...]:
        """What the seeds of this process have beside those of the first: rows of its own have dropout of their own."""
        return (self.rank // self.tensor,) if self.rank >= self.tensor else ()

    def check(self, rows_a_step: int, at: str) -> None:
        """RecipeError unless the rows of an optimizer step can be dealt out evenly."""
        if rows_a_step % self.data:
            what = f"{rows_a_step} rows an optimizer step cannot be divided over {self.data} processes"
            raise RecipeError(what, at=at, hint="choose another number of processes, or another `batch_tokens`")

    def own_rows(self, indices: range) -> range:
        """The rows of a batch that this process reads."""
        return indices[self.rank // self.tensor :: self.data]

    @property
    def counted(self) -> int:
        """1 where sums over all processes count this one's rows: of those that read the same rows, the first."""
        return int(self.rank % self.tensor == 0)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Values summed over all processes: one small all-reduce, by way of the CPU."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def broadcast(self, what: T) -> T:
        """What the first process found, in each: for what may differ, such as clocks and folders."""
        if self.size == 1:
            return what
        box: list[Any] = [what]
        dist.broadcast_object_list(box, src=0)
        found: T = box[0]
        return found

    def clip(
        self, params: Sequence[torch.Tensor], limit: float, values: Sequence[float] = ()
    ) -> tuple[float, list[float]]:
        """Scale all gradients so that their norm is at most `limit`.

        values   are summed over all processes in the same small all-reduce
        returns  the norm and these sums, the same in each process
        """
        if self.mesh is None:
            return float(torch.nn.utils.clip_grad_norm_(params, limit)), list(values)
        grads = [p.grad for p in params if p.grad is not None]
        local = [grad.to_local() if isinstance(grad, DTensor) else grad for grad in grads]
        squares = torch.stack(torch._foreach_norm(local)).double().square()
        shares = torch.tensor([self.share(grad) for grad in grads], dtype=torch.float64, device=squares.device)
        square = (squares * shares).sum()
        total = torch.cat([square[None], torch.tensor(values, dtype=torch.float64).to(square.device)])
        dist.all_reduce(total)
        square, *sums = total.tolist()
        norm = math.sqrt(square)
        torch._foreach_mul_(local, min(1.0, limit / (norm + 1e-6)))
        return norm, sums

    def share(self, tensor: torch.Tensor) -> float:
        """What a sum over the part of a tensor that this process has counts in one over all processes.

        A tensor is cut into so many parts, and each of them is held by size / parts processes.
        """
        if not isinstance(tensor, DTensor):
            return 1 / self.size
        cut = [not placement.is_replicate() for placement in tensor.placements]
        return int(torch.tensor(tensor.device_mesh.shape)[torch.tensor(cut)].prod()) / self.size


ALONE = ParallelLayout()


def layout(runtime: Runtime) -> ParallelLayout:
    """The processes of a run, without a mesh yet. RecipeError if they cannot be laid out as it asks."""
    team = runtime.team
    size, rank = (team.size, team.rank) if isinstance(team, RankCoordinator) else (1, 0)
    each = runtime.replicas * runtime.tensor
    if size % each:
        what = f"{size} processes cannot be {runtime.replicas} replicas of {runtime.tensor} or a multiple of it"
        hint = "start aurora with torchrun, and a number of processes that both divide"
        raise RecipeError(what, at="--replicas, --tensor-parallel", hint=hint)
    return ParallelLayout(rank, size, runtime.tensor)


def world_of(runtime: Runtime, sharded: bool) -> ParallelLayout:
    """The world of a training step, which all its processes must ask for; `sharded`: with a mesh for one, too."""
    world = layout(runtime)
    if world.size == 1 and not sharded:
        return world
    shape = (runtime.replicas, world.size // (runtime.replicas * runtime.tensor), runtime.tensor)
    return replace(world, mesh=_mesh(device_of(runtime).type, shape))


@cache
def _mesh(device: str, shape: tuple[int, int, int]) -> DeviceMesh:
    if not dist.is_initialized():  # one process, whose weights are laid out all the same
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    return init_device_mesh(device, shape, mesh_dim_names=("replica", "shard", "tensor"))
