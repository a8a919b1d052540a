"""Writes a quantised graph as QDQ ONNX: QuantizeLinear and DequantizeLinear around float operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.emit import Writer
from downshift.runtime.lowering.graph import Linear

if TYPE_CHECKING:
    import onnx

    from downshift.runtime.lowering.graph import Conv, TensorId
    from downshift.runtime.lowering.quantize import Quantization


def emit_qdq(quantization: Quantization) -> onnx.ModelProto:
    """A QDQ model: "input" [N, C, H, W] to "output", float32 both, any N.

    Weights are stored as int8 with a scale for each output channel, biases as int32.
    """
    writer = _Writer(quantization)
    writer.quantize(0)
    for operation in quantization.graph.operations:
        writer.write(operation)
        writer.quantize(operation.output)
    return writer.model()


class _Writer(Writer):
    def __init__(self, quantization: Quantization) -> None:
        super().__init__(quantization.graph)
        self._quantization = quantization

    def value(self, tensor: TensorId) -> str:
        """The dequantised value of a quantised tensor."""
        return f"d{tensor}" if tensor in self._quantization.affine else self.name(tensor)

    def quantize(self, tensor: TensorId) -> None:
        """Append the QDQ pair that rounds a tensor to 8 bits; nothing for a float tensor."""
        affine = self._quantization.affine.get(tensor)
        if affine is None:
            return
        parameters = [self.constant(np.float32(affine.scale)), self.constant(np.uint8(affine.zero))]
        self.node("QuantizeLinear", [self.name(tensor), *parameters], f"q{tensor}")
        self.node("DequantizeLinear", [f"q{tensor}", *parameters], self.value(tensor))

    def weights(self, operation: Conv | Linear) -> list[str]:
        """Weight and bias of a quantised layer as dequantised integers."""
        if isinstance(operation, Linear) or not self._quantization.is_quantized(operation):
            return super().weights(operation)
        weight, bias = self._quantization.weight(operation), self._quantization.bias(operation)
        return [
            self._dequantized(weight.values, weight.scale, np.int8),
            self._dequantized(bias.values, bias.scale, np.int32),
        ]

    def _dequantized(self, values: np.ndarray, scale: np.ndarray, kind: type[np.int8 | np.int32]) -> str:
        name = self.between()
        constants = [self.constant(one) for one in (values, scale, np.zeros(len(scale), kind))]
        self.node("DequantizeLinear", constants, name, axis=0)
        return name
