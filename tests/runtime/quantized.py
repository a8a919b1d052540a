"""A tiny artifact that was quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.profiling.calibration import LabelledImages, calibrate
from tests.models.tiny_artifact import CHANNELS, CLASSES, SIDE, tiny_artifact

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact

IMAGES = 64


def quantized_artifact(subnets: int = 3) -> Artifact:
    """`tiny_artifact`, calibrated on noise: every sub-net has int8 ranges and an accuracy."""
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (IMAGES, SIDE, SIDE, CHANNELS), np.uint8)
    return calibrate(
        tiny_artifact(subnets), images, LabelledImages(images, noise.integers(0, CLASSES, IMAGES))
    )
