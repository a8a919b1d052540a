"""Writes a graph as ONNX, so that other engines run it with all folding, fusion and dead-code elimination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
    from collections.abc import Sequence

    from downshift.runtime.lowering.graph import Graph, Operation, Shape, TensorId

OPSET, IR_VERSION = 14, 8
"""The lowest opset with HardSwish; low, for engines that are no longer developed."""

_Step = tuple[str, list[str], dict[str, Any]]
"""Operator, inputs, attributes."""

SIMPLE = {
    Activation.RELU: "Relu",
    Activation.SIGMOID: "Sigmoid",
    Activation.HARD_SWISH: "HardSwish",
}


def emit(graph: Graph) -> onnx.ModelProto:
    """An ONNX model of the same function: "input" [N, C, H, W] to "output", any N."""
    writer = Writer(graph)
    for operation in graph.operations:
        writer.write(operation)
    if not graph.operations:
        writer.node("Identity", ["input"], "output")
    return writer.model()


def _batch_of(shape: Shape) -> list[str | int | None]:
    return ["N", *shape]


class Writer:
    """Builds the nodes and initializers of one model, operation by operation."""

    def __init__(self, graph: Graph) -> None:
        self.output, self.shapes = graph.output, graph.shapes
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def model(self, outputs: Sequence[TensorId] = ()) -> onnx.ModelProto:
        """The model written so far, with each of `outputs` as an additional output."""
        image, answer = [_batch_of(self.shapes[tensor]) for tensor in (0, self.output)]
        made = helper.make_graph(
            self.nodes,
            "lowered",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
            [
                helper.make_tensor_value_info("output", TensorProto.FLOAT, answer),
                *(
                    helper.make_tensor_value_info(
                        self.name(tensor), TensorProto.FLOAT, _batch_of(self.shapes[tensor])
                    )
                    for tensor in outputs
                ),
            ],
            self.constants,
        )
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def name(self, tensor: TensorId) -> str:
        """Name of the ONNX value that the producer of `tensor` writes."""
        return "input" if tensor == 0 else "output" if tensor == self.output else f"t{tensor}"

    def value(self, tensor: TensorId) -> str:
        """Name of the ONNX value that consumers of `tensor` read."""
        return self.name(tensor)

    def weights(self, operation: Conv | Linear) -> list[str]:
        """Names of the values of its weight and bias."""
        return [self.constant(operation.weight), self.constant(operation.bias)]

    def constant(self, values: Any) -> str:
        """The name of a new initializer."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Append one node."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def between(self) -> str:
        """A name for an intermediate value within one operation."""
        return f"n{len(self.nodes)}"

    def activate(self, source: str, kind: Activation, output: str) -> None:
        """Append an activation from one value to another."""
        match kind:
            case Activation.NONE:
                self.node("Identity", [source], output)
            case Activation.RELU6:
                limits = [self.constant(np.float32(limit)) for limit in (0, 6)]
                self.node("Clip", [source, *limits], output)
            case Activation.HARD_SIGMOID:
                self.node("HardSigmoid", [source], output, alpha=1 / 6, beta=0.5)
            case Activation.SILU:
                gate = self.between()
                self.node("Sigmoid", [source], gate)
                self.node("Mul", [source, gate], output)
            case _:
                self.node(SIMPLE[kind], [source], output)

    def chain(
        self, steps: list[tuple[str, list[str], dict[str, Any]]], kind: Activation, output: str
    ) -> None:
        """A chain of nodes, each with the previous one as first input, then the activation."""
        source = ""
        for index, (operator, inputs, attributes) in enumerate(steps):
            last = index == len(steps) - 1 and kind is Activation.NONE
            target = output if last else self.between()
            self.node(operator, [source, *inputs] if source else inputs, target, **attributes)
            source = target
        if kind is not Activation.NONE:
            self.activate(source, kind, output)

    def write(self, operation: Operation) -> None:  # noqa: PLR0912 - one case each
        """Append the nodes that compute `operation`."""
        output = self.name(operation.output)
        match operation:
            case Conv():
                weights = self.weights(operation)
                attributes = {
                    "kernel_shape": operation.weight.shape[2:],
                    "strides": operation.stride,
                    "pads": operation.padding,
                    "group": operation.groups,
                }
                steps = [("Conv", [self.value(operation.input), *weights], attributes)]
                if operation.residual is not None:
                    steps.append(("Add", [self.value(operation.residual)], {}))
                self.chain(steps, operation.activation, output)
            case Linear():
                weights = self.weights(operation)
                gemm = ("Gemm", [self.value(operation.input), *weights], {"transB": 1})
                self.chain([gemm], operation.activation, output)
            case MaxPool() | AveragePool():
                attributes = {
                    "kernel_shape": operation.kernel,
                    "strides": operation.stride,
                    "pads": operation.padding,
                }
                if isinstance(operation, AveragePool):
                    attributes["count_include_pad"] = int(operation.count_padding)
                kind = type(operation).__name__
                self.node(kind, [self.value(operation.input)], output, **attributes)
            case GlobalAveragePool():
                self.node("GlobalAveragePool", [self.value(operation.input)], output)
            case Add():
                both = [self.value(operation.left), self.value(operation.right)]
                self.chain([("Add", both, {})], operation.activation, output)
            case Scale():
                self.node("Mul", [self.value(operation.input), self.value(operation.factor)], output)
            case Activate():
                self.activate(self.value(operation.input), operation.activation, output)
            case ChannelAffine():
                shape = (-1, *(1,) * (len(self.shapes[operation.output]) - 1))
                scale = self.constant(operation.scale.reshape(shape))
                shift = self.constant(operation.shift.reshape(shape))
                steps = [("Mul", [self.value(operation.input), scale], {}), ("Add", [shift], {})]
                self.chain(steps, operation.activation, output)
            case Pad():
                amounts = self.constant(np.array([0, *operation.before, 0, *operation.after]))
                self.node("Pad", [self.value(operation.input), amounts], output)
            case Slice():
                axes = list(zip(operation.start, operation.step, operation.size, strict=True))
                ends = [start + (size - 1) * step + 1 for start, step, size in axes]
                bounds = [operation.start, ends, [1, 2, 3], operation.step]
                constants = [self.constant(np.array(one, np.int64)) for one in bounds]
                self.node("Slice", [self.value(operation.input), *constants], output)
            case Concat():
                self.node("Concat", [self.value(one) for one in operation.inputs], output, axis=1)
            case Flatten():
                self.node("Flatten", [self.value(operation.input)], output)
            case _:
                assert_never(operation)
