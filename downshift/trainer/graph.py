"""A plain network as the ONNX graph that an artifact is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from onnxscript import optimizer
from torch import nn

if TYPE_CHECKING:
    import onnx

INPUT = "image"
OUTPUT = "logits"


def onnx_graph(network: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """The network in evaluation mode as ONNX: `image` float32 [N, *shape] -> `logits` [N, classes], N free.

    Parameters and buffers keep their names. Constants are folded, but BatchNorm stays a node, as every
    sub-net has its own: the exporter's full optimisation would multiply it into the convolution before it.
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
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    model: onnx.ModelProto = program.model_proto
    return model
