"""SGD with momentum that leaves weights outside the active sub-nets alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.supernet import Supernet


@dataclass(frozen=True)
class ParameterGroups:
    """The parameters of a supernet by how they are updated, each under its qualified name.

    masked: weights under masks, in the order of the supernet's masked layers. decayed: other weights of two
    or more dimensions. undecayed: shared vectors (biases, LayerNorm, the stem's BatchNorm). switched: every
    sub-net's own BatchNorm.
    """

    masked: dict[str, nn.Parameter]
    decayed: dict[str, nn.Parameter]
    undecayed: dict[str, nn.Parameter]
    switched: dict[str, nn.Parameter]

    @classmethod
    def of(cls, supernet: Supernet) -> ParameterGroups:
        """The groups of a supernet, each parameter in exactly one."""
        masked = {id(layer.weight): layer.weight for layer in supernet.masked_layers.values()}
        switched = {id(p) for norm in supernet.switchable_norms.values() for p in norm.parameters()}
        named = list(supernet.named_parameters())
        names = {id(p): n for n, p in named}
        shared = [(n, p) for n, p in named if id(p) not in masked.keys() | switched]
        return cls(
            {names[key]: weight for key, weight in masked.items()},
            {n: p for n, p in shared if p.dim() > 1},
            {n: p for n, p in shared if p.dim() <= 1},
            {n: p for n, p in named if id(p) in switched},
        )

    @property
    def shared(self) -> dict[str, nn.Parameter]:
        """Parameters that every sub-net trains."""
        return self.masked | self.decayed | self.undecayed

    @property
    def everything(self) -> dict[str, nn.Parameter]:
        """All parameters."""
        return self.shared | self.switched


class MaskedSGD:
    """Momentum SGD (optionally Nesterov) whose decay and momentum act on active masked weights only.

    A weight outside the active sub-nets keeps its value and its velocity exactly. Parameters without a
    gradient (another sub-net's BatchNorm) are left alone too.
    """

    def __init__(
        self, groups: ParameterGroups, *, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        self.groups = groups
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.velocity: dict[str, Tensor] = {
            name: torch.zeros_like(p, requires_grad=False) for name, p in groups.everything.items()
        }

    def zero_grad(self) -> None:
        """Forget every gradient."""
        for parameter in self.groups.everything.values():
            parameter.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the same order on every data-parallel worker."""
        return [p.grad for p in self.groups.everything.values() if p.grad is not None]

    def scale_shared(self, factor: float) -> None:
        """Multiply the gradients of parameters that every sub-net trains."""
        torch._foreach_mul_([p.grad for p in self.groups.shared.values() if p.grad is not None], factor)

    @torch.no_grad()
    def forget(self, weights: Sequence[Tensor]) -> None:
        """Set the velocity of these masked weights to zero; `weights` is a bool tensor a masked weight."""
        for name, chosen in zip(self.groups.masked, weights, strict=True):
            self.velocity[name].masked_fill_(chosen, 0.0)

    @torch.no_grad()
    def step(self, lr: float, activity: Sequence[Tensor]) -> None:
        """One update; `activity`, a float tensor a masked weight, is the share of the sub-nets that hold it.

        Decay is weighted with the activity, as it would be if every sub-net's loss carried its own penalty.
        """
        masked: list[Tensor] = list(self.groups.masked.values())
        gradients = torch._foreach_mul(masked, list(activity))
        torch._foreach_mul_(gradients, self.weight_decay)
        torch._foreach_add_(gradients, [gradient_of(p) for p in masked])
        active = [a.gt(0).to(a.dtype) for a in activity]
        velocity = [self.velocity[name] for name in self.groups.masked]
        change = torch._foreach_mul(velocity, self.momentum - 1.0)
        torch._foreach_add_(change, gradients)
        torch._foreach_mul_(change, active)
        torch._foreach_add_(velocity, change)
        direction = self._direction(velocity, gradients)
        torch._foreach_mul_(direction, active)
        torch._foreach_add_(masked, direction, alpha=-lr)
        self._plain(self.groups.decayed, lr, self.weight_decay)
        self._plain(self.groups.undecayed | self.groups.switched, lr, 0.0)

    def _plain(self, group: dict[str, nn.Parameter], lr: float, weight_decay: float) -> None:
        live = {name: p for name, p in group.items() if p.grad is not None}
        if not live:
            return
        parameters: list[Tensor] = list(live.values())
        gradients = torch._foreach_mul(parameters, weight_decay)
        torch._foreach_add_(gradients, [gradient_of(p) for p in parameters])
        velocity = [self.velocity[name] for name in live]
        torch._foreach_mul_(velocity, self.momentum)
        torch._foreach_add_(velocity, gradients)
        torch._foreach_add_(parameters, self._direction(velocity, gradients), alpha=-lr)

    def _direction(self, velocity: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        if not self.nesterov:
            return [v.clone() for v in velocity]
        direction = torch._foreach_mul(list(velocity), self.momentum)
        torch._foreach_add_(direction, list(gradients))
        return list(direction)


def gradient_of(parameter: Tensor) -> Tensor:
    """The gradient of a parameter that took part in the last backward pass."""
    if parameter.grad is None:
        raise ValueError("a masked weight has no gradient: the forward pass does not use its layer")
    return parameter.grad
