"""Which layers read a layer's output: the flow of data decides, not the order of registration.

A network's graph is traced by torch.fx; each function says what holds of one that cannot be traced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from downshift.models.layers.switchable_norm import SwitchableNorm

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that one layer makes and only `consumers` read: they can leave all of these together."""

    producer: str
    consumers: tuple[str, ...]


def norms_behind(network: nn.Module, layers: Collection[str]) -> tuple[str, ...]:
    """Qualified names of the BatchNorms that the output of one of `layers` reaches, in registration order.

    The network is traced by torch.fx. Where it cannot be, as its forward pass branches on values, all its
    BatchNorms are named: a BatchNorm too many is a little memory, one too few mixes sub-nets' statistics.
    """
    norms = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return ()
    graph = _traced(network)
    if graph is None:
        return tuple(norms)
    reached: set[fx.Node] = set()
    behind: set[str] = set()
    for node in graph.nodes:
        follows = not reached.isdisjoint(node.all_input_nodes)
        if follows and node.op == "call_module":
            behind.add(str(node.target))
        if follows or (node.op in ("call_module", "get_attr") and _touches(str(node.target), layers)):
            reached.add(node)
    return tuple(name for name in norms if name in behind)


def norm_after(network: nn.Module) -> dict[str, str]:
    """By the name of a convolution, the BatchNorm that alone reads its output: the one that inference folds.

    Both are called once. Empty for a network that torch.fx cannot trace.
    """
    graph = _traced(network)
    if graph is None:
        return {}
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        name, users = str(node.target), list(node.users)
        if node.op != "call_module" or len(users) != 1 or users[0].op != "call_module":
            continue
        after = str(users[0].target)
        pair = network.get_submodule(name), network.get_submodule(after)
        once = calls[name] == calls[after] == 1
        if once and isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], _BatchNorm | SwitchableNorm):
            found[name] = after
    return found


def channel_groups(network: nn.Module, layers: Collection[str]) -> tuple[ChannelGroup, ...]:
    """The groups of convolutions among `layers`, in the order of execution.

    A residual stream is in no group: whatever is added to it would have to lose the same channels. Neither
    are grouped convolutions, layers that run twice, and networks that torch.fx cannot trace.
    """
    graph = _traced(network)
    if graph is None:
        return ()
    modules = dict(network.named_modules())
    uses = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")

    def fit(node: fx.Node) -> bool:
        name = str(node.target)
        plain = node.op == "call_module" and name in layers and uses[name] == 1
        return plain and isinstance(modules[name], nn.Conv2d) and modules[name].groups == 1

    groups = []
    for node in filter(fit, graph.nodes):
        readers = _readers(node, modules)
        if readers and all(map(fit, readers)):
            groups.append(ChannelGroup(str(node.target), tuple(str(reader.target) for reader in readers)))
    return tuple(groups)


def _readers(node: fx.Node, modules: Mapping[str, nn.Module]) -> list[fx.Node] | None:
    """The convolutions that read a node's channels one by one; None where anything else reads them."""
    found: list[fx.Node] = []
    for user in node.users:
        module = modules.get(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            found.append(user)
        elif isinstance(module, _PER_CHANNEL) or user.target in _ACTIVATIONS:
            behind = _readers(user, modules)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


_PER_CHANNEL = (
    *(_BatchNorm, SwitchableNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Identity, nn.Dropout),
    *(nn.MaxPool2d, nn.AvgPool2d),
)
"""Modules whose output channel i depends on input channel i alone."""
_ACTIVATIONS = (torch.relu, functional.relu, functional.relu6, functional.silu, functional.gelu)


def _traced(network: nn.Module) -> fx.Graph | None:
    """The network's graph; None where it cannot be traced, as its forward pass branches on values."""
    try:
        return _Tracer().trace(network)
    except Exception:  # noqa: BLE001 - tracing runs the network's own code, which may raise anything
        return None


class _Tracer(fx.Tracer):
    """Traces through everything but the layers that can be masked, BatchNorms and torch's own modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf: Any = isinstance(m, nn.Conv2d | nn.Linear | _BatchNorm | SwitchableNorm)
        return bool(leaf or super().is_leaf_module(m, module_qualified_name))


def _touches(target: str, layers: Collection[str]) -> bool:
    """Whether the module or parameter of that name is one of the layers, a part of one, or holds one."""
    return any(f"{target}.".startswith(f"{each}.") or f"{each}.".startswith(f"{target}.") for each in layers)
