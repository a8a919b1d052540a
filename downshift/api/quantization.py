"""int8 at the end of a training run: its artifact gains activation ranges and int8 accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.api.artifact_data import calibration_data
from downshift.models import artifact as artifacts
from downshift.runtime.profiling.calibration import calibrate
from downshift.trainer.data.training_data import FOLDERS

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact
    from downshift.runtime.profiling.profiler import Progress
    from downshift.trainer.recipe import Recipe

IMAGES = 512
"""Training images to calibrate on, unless someone says otherwise."""


def quantize_trained(
    path: Path, recipe: Recipe, data_dir: Path, report: Progress = lambda _fraction, _text: None
) -> Artifact:
    """The artifact that `recipe` trained, at `path`, calibrated and written again, atomically.

    Calibration and validation images are those of training. Raises `CalibrationError` when no sub-net can be
    quantised: the artifact then stays as training wrote it.
    """
    trained = artifacts.read(path)
    name = recipe.data.name
    source = name if name not in FOLDERS else data_dir / name if (data_dir / name).is_dir() else data_dir
    images, validation = calibration_data(trained.manifest, source, data_dir, IMAGES, report)
    quantized = calibrate(trained, images, validation, report)
    artifacts.write(path, quantized)
    return quantized
