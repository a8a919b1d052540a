"""A lowered graph as a torch module: torch and torch.compile run exactly what the other engines run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Concat,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Pad,
    Scale,
    Slice,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from downshift.runtime.lowering.graph import Graph, Operation, Padding

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.NONE: lambda x: x,
    Activation.RELU: functional.relu,
    Activation.RELU6: functional.relu6,
    Activation.SILU: functional.silu,
    Activation.HARD_SWISH: functional.hardswish,
    Activation.HARD_SIGMOID: functional.hardsigmoid,
    Activation.SIGMOID: torch.sigmoid,
}


class GraphModule(nn.Module):
    """Images [N, C, H, W] -> the graph's answer, in float32."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.operations, self.output = graph.operations, graph.output
        for operation in graph.operations:
            if isinstance(operation, Conv | Linear):
                self.register_buffer(f"weight{operation.output}", torch.tensor(operation.weight))
                self.register_buffer(f"bias{operation.output}", torch.tensor(operation.bias))
            elif isinstance(operation, ChannelAffine):
                self.register_buffer(f"weight{operation.output}", torch.tensor(operation.scale))
                self.register_buffer(f"bias{operation.output}", torch.tensor(operation.shift))

    def forward(self, images: Tensor) -> Tensor:
        """Every operation in order."""
        tensors = {0: images}
        for operation in self.operations:
            tensors[operation.output] = self._run(operation, tensors)
        return tensors[self.output]

    def _run(self, operation: Operation, tensors: dict[int, Tensor]) -> Tensor:  # noqa: PLR0911, PLR0912 - one case each
        match operation:
            case Conv():
                weight, bias = self._values(operation)
                padded, padding = _padded(tensors[operation.input], operation.padding, 0.0)
                y = functional.conv2d(
                    padded, weight, bias, operation.stride, padding, groups=operation.groups
                )
                if operation.residual is not None:
                    y = y + tensors[operation.residual]
                return ACTIVATIONS[operation.activation](y)
            case Linear():
                y = functional.linear(tensors[operation.input], *self._values(operation))
                return ACTIVATIONS[operation.activation](y)
            case MaxPool():
                padded, padding = _padded(tensors[operation.input], operation.padding, -torch.inf)
                return functional.max_pool2d(padded, operation.kernel, operation.stride, padding)
            case AveragePool():
                top, left, *_ = operation.padding
                return functional.avg_pool2d(
                    tensors[operation.input],
                    operation.kernel,
                    operation.stride,
                    (top, left),
                    count_include_pad=operation.count_padding,
                )
            case GlobalAveragePool():
                return tensors[operation.input].mean((2, 3), keepdim=True)
            case Add():
                return ACTIVATIONS[operation.activation](tensors[operation.left] + tensors[operation.right])
            case Scale():
                return tensors[operation.input] * tensors[operation.factor]
            case Activate():
                return ACTIVATIONS[operation.activation](tensors[operation.input])
            case ChannelAffine():
                scale, shift = (one.view(-1, 1, 1) for one in self._values(operation))
                return ACTIVATIONS[operation.activation](tensors[operation.input] * scale + shift)
            case Pad():
                amounts = zip(reversed(operation.before), reversed(operation.after), strict=True)
                return functional.pad(tensors[operation.input], [one for pair in amounts for one in pair])
            case Slice():
                axes = zip(operation.start, operation.step, operation.size, strict=True)
                index = [slice(start, start + (size - 1) * step + 1, step) for start, step, size in axes]
                return tensors[operation.input][:, index[0], index[1], index[2]]
            case Concat():
                return torch.cat([tensors[one] for one in operation.inputs], 1)
            case Flatten():
                return tensors[operation.input].flatten(1)
            case _:
                assert_never(operation)

    def _values(self, operation: Operation) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"weight{operation.output}"), self.get_buffer(f"bias{operation.output}")


def _padded(x: Tensor, padding: Padding, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """What to hand to an operator that pads both ends alike: the tensor, and its padding."""
    top, left, bottom, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=fill), (0, 0)
