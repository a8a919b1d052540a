"""Every network whole on the int8 kernels, on every instruction set, against the integer reference."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower
from tests.runtime.lowering.test_integer import FURTHER, TORCHVISION
from tests.runtime.lowering.test_networks import OURS, exported, trained_looking
from tests.runtime.quantized import ranges_of
from tests.runtime.small_onnx import normal
from tests.runtime.test_int8_kernels import ISAS, equals_reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from downshift.runtime.lowering.integer_graph import IntegerGraph


@cache
def quantised(name: str) -> tuple[IntegerGraph, NDArray[np.float32]]:
    """A narrow network of ours, or one of torchvision, quantised for two images."""
    ours = not name.startswith("torchvision")
    images = normal(2, 3, 32, 32)
    graph = lower(exported(trained_looking(name, 0.25 if ours else 1.0), 32, "traced"))
    return integer(graph, ranges_of(graph, images)), images


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", [*OURS, *(f"torchvision/{one}" for one in (*TORCHVISION, *FURTHER))])
def test_every_network_runs_whole_on_the_int8_kernels(name: str, isa: str) -> None:
    graph, images = quantised(name)
    equals_reference(graph, images, [isa])
