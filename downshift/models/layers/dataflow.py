"""Which BatchNorms follow which layers: the flow of data decides, not the order of registration."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from downshift.models.layers.switchable_norm import SwitchableNorm

if TYPE_CHECKING:
    from collections.abc import Collection


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
