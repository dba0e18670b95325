"""How a model computes: in which precision, compiled or not, with which activations kept, over which processes."""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError
from aurora_m.core.step import Runtime
from aurora_m.model.load import device_of
from aurora_m.model.shard import blocks, lay_out, take_weights
from aurora_m.train.world import ParallelLayout, world_of

FP8_EDGE = 16  # sides of a matrix that fp8 kernels take are multiples of it


def precision(runtime: Runtime) -> str:
    """fp32, bf16 or fp8: bf16 on a GPU unless the run asks for another. RecipeError for fp8 elsewhere."""
    device = device_of(runtime).type
    if runtime.precision == "auto":
        return "bf16" if device == "cuda" else "fp32"
    if runtime.precision == "fp8" and device != "cuda":
        raise _needs_gpu("fp8", "--precision fp8")
    return runtime.precision


def place(runtime: Runtime) -> ParallelLayout:
    """The world that a training step runs in."""
    return world_of(runtime, precision(runtime) != "fp32")


def prepared(model: PreTrainedModel, runtime: Runtime, world: ParallelLayout) -> PreTrainedModel:
    """The model that is trained: itself, or, laid out over the world, one that took its weights.

    Order matters: fp8 replaces linear layers, recomputing and compiling wrap blocks, laying out divides what there is.
    """
    device = device_of(runtime)
    if runtime.compile and device.type != "cuda":
        raise _needs_gpu("compiling blocks", "--compile")
    if world.mesh is None:
        model.to(device)  # type: ignore[arg-type]  # its own annotation names the wrong argument
        net = model
    else:
        net = take_weights(model)
    kind = precision(runtime)
    if kind == "fp8":
        _to_fp8(net)
    if runtime.recompute == "blocks":
        for block in blocks(net):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if runtime.compile:
        for block in blocks(net):
            block.compile()
    if world.mesh is not None:
        lay_out(net, world.mesh, torch.float32 if kind == "fp32" else torch.bfloat16)
    return net


def _to_fp8(model: PreTrainedModel) -> None:
    """Let the linear layers of the blocks multiply in fp8; their weights stay what they are.

    source  Micikevicius et al. 2022 (arXiv 2209.05433), as torchao's dynamic scaling by tensor
    """
    try:
        from torchao.float8 import convert_to_float8_training
    except ImportError as error:
        hint = "run: pip install torchao"
        raise RecipeError("fp8 needs torchao, which is not installed", at="--precision fp8", hint=hint) from error
    inner = {id(module) for block in blocks(model) for module in block.modules()}

    def fits(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or id(module) not in inner:
            return False
        return module.in_features % FP8_EDGE == 0 and module.out_features % FP8_EDGE == 0

    convert_to_float8_training(model, module_filter_fn=fits)


def _needs_gpu(what: str, at: str) -> RecipeError:
    return RecipeError(f"{what} needs a GPU", at=at, hint="leave the option out on this machine")
