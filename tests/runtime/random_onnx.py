"""Random small networks for property tests: every operator of lowering, in any legal order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.runtime.small_onnx import normal, small_model

if TYPE_CHECKING:
    import onnx

Map = tuple[int, int, int]


class Sketch:
    """A network being drawn: every new node reads maps that are already there."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.image: Map = (draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        self.maps: list[tuple[str, Map]] = [("x", self.image)]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def source(self) -> tuple[str, Map]:
        return self.draw(st.sampled_from(self.maps[-3:]))

    def partner(self, shape: Map) -> str:
        return self.draw(st.sampled_from([name for name, its in self.maps if its == shape]))

    def convolution(self) -> None:
        name, (c, h, w) = self.source()
        kernel = self.draw(st.sampled_from([k for k in (1, 3, 5) if k <= min(h, w) + 2 * (k // 2)]))
        stride, pad = self.draw(st.integers(1, 2)), kernel // 2
        groups = self.draw(st.sampled_from([1, c]))
        outputs = groups * self.draw(st.integers(1, 3))
        weight = normal(outputs, c // groups, kernel, kernel, seed=len(self.nodes)) / kernel
        weight *= self.draw(st.sampled_from([0, 1, 1])) * (normal(*weight.shape, seed=99) > -0.5)
        inputs = [name, self.constant(weight)]
        if self.draw(st.booleans()):
            inputs.append(self.constant(normal(outputs)))
        output = self.node("Conv", inputs, pads=[pad] * 4, strides=[stride] * 2, group=groups)
        self.maps.append((output, (outputs, (h - 1) // stride + 1, (w - 1) // stride + 1)))

    def norm(self) -> None:
        name, shape = self.source()
        values = [normal(shape[0], seed=i) for i in range(3)]
        values.append(np.abs(normal(shape[0], seed=3)) + np.float32(0.1))
        output = self.node("BatchNormalization", [name, *map(self.constant, values)])
        self.maps.append((output, shape))

    def activation(self) -> None:
        name, shape = self.source()
        self.maps.append(
            (self.node(self.draw(st.sampled_from(["Relu", "HardSwish", "Sigmoid"])), [name]), shape)
        )

    def relu6(self) -> None:
        name, shape = self.source()
        limits = [self.constant(np.float32(limit)) for limit in (0, 6)]
        self.maps.append((self.node("Clip", [name, *limits]), shape))

    def silu(self) -> None:
        name, shape = self.source()
        self.maps.append((self.node("Mul", [self.node("Sigmoid", [name]), name]), shape))

    def sum(self) -> None:
        name, shape = self.source()
        self.maps.append((self.node("Add", [name, self.partner(shape)]), shape))

    def excitation(self) -> None:
        name, shape = self.source()
        factor = self.node("Sigmoid", [self.node("GlobalAveragePool", [name])])
        self.maps.append((self.node("Mul", [name, factor]), shape))

    def pool(self) -> None:
        name, (c, h, w) = self.source()
        kernel = self.draw(st.integers(1, min(3, h, w)))
        stride, ceil = self.draw(st.integers(1, 2)), 0
        operator = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        if operator == "MaxPool" and kernel >= stride:
            ceil = self.draw(st.integers(0, 1))
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
        output = self.node(operator, [name], ceil_mode=ceil, **window)
        round_up = ceil * (stride - 1)
        height, width = ((size - kernel + round_up) // stride + 1 for size in (h, w))
        self.maps.append((output, (c, height, width)))

    def slice(self) -> None:
        name, (c, h, w) = self.source()
        bounds = ([0, 0], [h, w], [2, 3], [2, 2])
        output = self.node("Slice", [name, *(self.constant(np.array(one)) for one in bounds)])
        self.maps.append((output, (c, (h + 1) // 2, (w + 1) // 2)))

    def pad(self) -> None:
        name, (c, h, w) = self.source()
        channels, rows, columns = (self.draw(st.integers(0, 2)) for _ in range(3))
        output = self.node("Pad", [name, self.constant(np.array([0, channels, rows, 0, 0, 0, 0, columns]))])
        self.maps.append((output, (c + channels, h + rows, w + columns)))

    def concatenation(self) -> None:
        name, (c, h, w) = self.source()
        output = self.node("Concat", [name, self.partner((c, h, w))], axis=1)
        self.maps.append((output, (2 * c, h, w)))

    def finished(self) -> onnx.ModelProto:
        last, (c, h, w) = self.maps[-1]
        flat = self.node("Flatten", [last])
        self.nodes.append(helper.make_node("MatMul", [flat, self.constant(normal(c * h * w, 2))], ["y"]))
        return small_model(self.nodes, self.image, self.constants)


STEPS = [name for name in vars(Sketch) if name not in {"constant", "node", "source", "partner", "finished"}]
STEPS = [name for name in STEPS if not name.startswith("_")] + ["convolution"] * 3


@st.composite
def small_networks(draw: st.DrawFn) -> onnx.ModelProto:
    """A random network from images to two numbers, of one to eight steps."""
    sketch = Sketch(draw)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8)):
        getattr(sketch, step)()
    return sketch.finished()
