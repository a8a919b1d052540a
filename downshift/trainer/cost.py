"""What a network's weights cost: how often one input makes use of each of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from torch import Tensor, nn

PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)
CONVOLUTIONS = (torch.ops.aten.convolution,)


@torch.no_grad()
def weight_uses(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-adds per weight of every parameter of two or more dimensions, by name, for one input.

    A convolution uses each weight once per output position (padding counts as input), a linear layer or an
    attention's projection once per row, whichever code multiplies with it. A weight that no product reads is
    used 0 times.
    """
    weights = {name: p for name, p in network.named_parameters() if p.dim() > 1}
    counter = _MultiplyAdds({p.untyped_storage().data_ptr(): name for name, p in weights.items()})
    training, fast = network.training, torch.backends.mha.get_fastpath_enabled()
    first = next(network.parameters())
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides its products
    try:
        with counter:
            network.eval()(torch.zeros(1, *shape, device=first.device))
    finally:
        network.train(training)
        torch.backends.mha.set_fastpath_enabled(fast)
    return {name: counter.found.get(name, 0) // weight.numel() for name, weight in weights.items()}


class _MultiplyAdds(TorchDispatchMode):
    """Counts, within, the multiply-adds of matrix products and convolutions by the weight that they read."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.found: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in CONVOLUTIONS:
            self._count(args[1], output.numel() * math.prod(args[1].shape[1:]))
        elif func.overloadpacket in PRODUCTS:
            left, right = args[-2:]
            for matrix in (left, right):
                self._count(matrix, left.numel() * right.shape[-1])
        return output

    def _count(self, factor: Tensor, multiply_adds: int) -> None:
        name = self.names.get(factor.untyped_storage().data_ptr())
        if name is not None:
            self.found[name] = self.found.get(name, 0) + multiply_adds
