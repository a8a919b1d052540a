"""A tiny artifact that was quantised, and activation ranges of any graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering import reference
from downshift.runtime.lowering.quantize import calibrated, spelled_out
from downshift.runtime.profiling.calibration import LabelledImages, calibrate
from tests.models.tiny_artifact import CHANNELS, CLASSES, SIDE, tiny_artifact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.artifact import Artifact
    from downshift.runtime.lowering.graph import Graph
    from downshift.runtime.lowering.quantize import Ranges

IMAGES = 64


def quantized_artifact(subnets: int = 3) -> Artifact:
    """`tiny_artifact`, calibrated on noise: every sub-net has int8 ranges and an accuracy."""
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (IMAGES, SIDE, SIDE, CHANNELS), np.uint8)
    return calibrate(
        tiny_artifact(subnets), images, LabelledImages(images, noise.integers(0, CLASSES, IMAGES))
    )


def ranges_of(graph: Graph, images: NDArray[np.float32]) -> Ranges:
    """What every tensor's activations span, by the float reference."""
    graph = spelled_out(graph)
    values = reference.run_all(graph, images)
    return {graph.names[t]: (float(values[t].min()), float(values[t].max())) for t in calibrated(graph)}
