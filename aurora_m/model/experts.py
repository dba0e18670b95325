"""The weights of experts, which a mixture of experts keeps as one parameter of three axes: a matrix for each."""

from collections.abc import Iterator

from torch import Tensor, nn


def expert_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The stacked matrices of experts with their names: [experts, inputs, outputs], or outputs before inputs.

    Other parameters have three axes, too: convolutions, positions, mixes and gates. Experts' modules count them.
    """
    for name, module in model.named_modules():
        num_experts = getattr(module, "num_experts", None)
        for own, p in module.named_parameters(prefix=name, recurse=False):
            if p.ndim == 3 and p.shape[0] == num_experts and num_experts > 1:
                yield own, p
