"""A plain network as the ONNX graph that an artifact is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from onnxscript import optimizer

from downshift.trainer.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx
    import onnx_ir as ir
    from torch import nn

INPUT = "image"
OUTPUT = "logits"
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
MOVES = frozenset({"Transpose", "Reshape", "Split", "Slice", "Squeeze", "Unsqueeze", "Identity", "Shape"})
"""Operators that leave zeros zero and every other weight what it is."""


def onnx_graph(
    network: nn.Module, shape: tuple[int, int, int], weights: Collection[str] = ()
) -> onnx.ModelProto:
    """The network in evaluation mode as ONNX: `image` float32 [N, *shape] -> `logits` [N, classes], N free.

    Parameters and buffers keep their names; those of a module that is used at several places are called as at
    the first. Constants are folded, except what is made of one of `weights`: a transposed weight would be
    another constant, under another name. BatchNorm stays a node, as every sub-net has its own: the exporter's
    full optimisation would multiply it into the convolution before it. Raises `ExportError` for one of
    `weights` that the network does anything with but multiply.
    """
    first = next(network.parameters())
    program = cast(
        "torch.onnx.ONNXProgram",
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, *shape, device=first.device),),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        ),
    )
    graph = program.model.graph
    _name_as_registered(graph, network)

    def folds(node: ir.Node) -> bool | None:
        """False for what reads one of `weights`; else the exporter decides."""
        read = {value.name for value in node.inputs if value is not None}
        return None if read.isdisjoint(weights) else False

    optimizer.fold_constants(program.model, should_fold=folds)
    optimizer.remove_unused_nodes(program.model)
    for name in weights:
        _check_weight(graph, name)
    model: onnx.ModelProto = program.model_proto
    return model


def _name_as_registered(graph: ir.Graph, network: nn.Module) -> None:
    """Give initializers that several names of the network stand for the first of these."""
    first: dict[int, str] = {}
    for name, tensor in (
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ):
        known = first.setdefault(id(tensor), name)
        if known != name and name in graph.initializers and known not in graph.initializers:
            value = graph.initializers.pop(name)
            value.name = known
            graph.initializers[known] = value


def _check_weight(graph: ir.Graph, name: str) -> None:
    """Raise `ExportError` unless the weight is multiplied as it is, its values at most moved."""
    remedy = f"keep its layer dense: masks.dense = [{name.rpartition('.')[0]!r}]"
    if name not in graph.initializers:
        raise ExportError(f"weight {name} takes no part in what the network computes; {remedy}")
    pending, multiplied = [graph.initializers[name]], False
    while pending:
        for node in pending.pop().consumers():
            if node.op_type in MOVES:
                pending.extend(node.outputs)
            elif node.op_type in PRODUCTS:
                multiplied = True
            else:
                raise ExportError(
                    f"weight {name} is changed by {node.op_type} before it is multiplied (weight "
                    f"standardisation, quantisation, ...), so that its zeros would not be kept; {remedy}"
                )
    if not multiplied:
        raise ExportError(f"weight {name} is multiplied with nothing; {remedy}")
