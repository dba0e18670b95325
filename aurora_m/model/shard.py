"""Weights laid out over processes: FSDP, HSDP and tensor parallelism, by a plan that is checked, never guessed."""

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from transformers import PreTrainedModel

from aurora_m.core.errors import TrainError

Found = TypeVar("Found")

# It advises against the way in which matrices divided twice are gathered; no result depends on it.
logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)

STYLES: dict[str, Callable[[], ParallelStyle]] = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
THROUGH = "through_all_weights"


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The transformer blocks of a model, first to last. TrainError if they cannot be found."""
    count = int(model.config.num_hidden_layers)
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise _no_plan(model, f"has no list of {count} blocks", "this architecture is trained in one process, in float32")


def lay_out(model: PreTrainedModel, mesh: DeviceMesh, dtype: torch.dtype) -> PreTrainedModel:
    """Divide a model's weights over a mesh (replica, shard, tensor), in place; they move to the mesh's device.

    Each block is a unit that is gathered when it computes; embeddings, head and last norm, of which some may be one
    and the same, are the root's. The weights that learn stay as they are (float32); `dtype` is what is computed in,
    while gradients are added up in float32. Gradients are sums over the processes, not means.

    errors  TrainError if the units are not as planned, or there is no plan for tensor parallelism
    source  FSDP: Zhao et al. 2023 (arXiv 2304.11277), as torch's `fully_shard`
    """
    units = blocks(model)
    if mesh["tensor"].size() > 1:
        parallelize_module(model.base_model, mesh["tensor"], _tensor_plan(model, mesh["tensor"].size()))
    over = mesh["replica", "shard"] if mesh["replica"].size() > 1 else mesh["shard"]
    # The inputs stay as they are: token weights and rotary angles in bfloat16 would be others.
    policy = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for unit in (*units, model):
        fully_shard(unit, mesh=over, mp_policy=policy)
    found = [module for module in model.modules() if isinstance(module, FSDPModule)]
    whole = sum(not isinstance(p, DTensor) for p in model.parameters())
    if len(found) != len(units) + 1 or whole:
        raise _no_plan(
            model, f"is in {len(found)} parts with {whole} weights left whole, not in {len(units) + 1}", "report it"
        )
    for module in found:
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    model.register_forward_hook(_let_go)
    setattr(model, THROUGH, lambda call: call())
    register_fsdp_forward_method(model, THROUGH)
    return model


def _let_go(model: Any, args: object, found: object) -> None:
    """After a pass that has no way back, the root's weights would stay gathered, and be taken for the model's own."""
    if not torch.is_grad_enabled():
        model.reshard()


def call_unsharded(model: PreTrainedModel, call: Callable[[], Found]) -> Found:
    """Call a function that reads the weights of a model's head or runs its inner model, laid out or not.

    Only within such a call are the root's weights whole; what it returns carries the hooks of the way back.
    """
    found: Found = getattr(model, THROUGH)(call) if isinstance(model, FSDPModule) else call()
    return found


def reduce_over_replicas(model: PreTrainedModel, now: bool) -> None:
    """Whether the next backward pass adds up gradients over replicas; until one does, each holds the sum of its own.

    Of the passes of a step the last is enough: else torch keeps each block's sum over the replicas beside the step's.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(now)


def _tensor_plan(model: PreTrainedModel, parts: int) -> dict[str, ParallelStyle]:
    """What transformers plans for the model's blocks; embeddings and head stay whole."""
    config = model.config
    named: dict[str, str] = getattr(config, "base_model_tp_plan", None) or {}
    unknown = sorted({*named.values()} - {*STYLES})
    if not named or unknown:
        what = f"has a plan of `{unknown[0]}`" if unknown else "has no plan"
        raise _no_plan(model, f"{what} for tensor parallelism", "leave --tensor-parallel out")
    for what in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        size = int(getattr(config, what))
        if size % parts:
            raise _no_plan(model, f"has {what} = {size}, not a multiple of {parts}", "lower --tensor-parallel")
    return {name: STYLES[style]() for name, style in named.items()}


def _no_plan(model: PreTrainedModel, what: str, hint: str) -> TrainError:
    return TrainError(f"the model {what}", at=str(model.config.model_type), hint=hint)


def take_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that takes the weights; the model itself keeps their shapes, until `gather_into` brings them back."""
    kept: dict[int, Any] = {id(p): p for p in model.parameters()}
    taken: PreTrainedModel = copy.deepcopy(model, kept)
    for names in _names(model):
        p = model.get_parameter(names[0])
        _put(model, names, nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad))
    return taken


def gather_into(model: PreTrainedModel, trained: PreTrainedModel, first: bool) -> None:
    """Bring the weights of a laid-out model back into the one that it took them from, in the first process."""
    tied = {names[0]: names for names in _names(model)}
    for name, whole in gathered(trained.named_parameters()):
        if first:
            _put(model, tied[name], nn.Parameter(whole, model.get_parameter(name).requires_grad))


def gathered(named: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, each whole and on the CPU, one at a time; every process must go through all of them."""
    for name, tensor in named:
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        yield name, whole.detach().cpu()


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds of one like it, on its device; a part that it holds stays.

    The tensor itself where `like` is whole.
    """
    if not isinstance(like, DTensor) or isinstance(whole, DTensor):
        return whole
    everywhere = DTensor.from_local(
        whole.to(like.device), like.device_mesh, [Replicate()] * like.device_mesh.ndim, run_check=False
    )
    return everywhere.redistribute(placements=like.placements)


def _names(model: nn.Module) -> list[list[str]]:
    """The names of each weight: more than one where it is tied."""
    found: dict[int, list[str]] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(p), []).append(name)
    return list(found.values())


def _put(model: nn.Module, names: list[str], p: nn.Parameter) -> None:
    for name in names:
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, p)
