"""The weights of experts, which a mixture of experts keeps as one parameter of three axes: a matrix for each."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def expert_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The stacked matrices of experts with their names: [experts, inputs, outputs], or outputs before inputs."""
    for name, module in model.named_modules():
        if not isinstance(module, _ConvNd):  # whose weights have three axes, too
            for own, p in module.named_parameters(prefix=name, recurse=False):
                if p.ndim == 3:
                    yield own, p
