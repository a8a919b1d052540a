"""The images an artifact is measured or calibrated on: split as its recipe says, of its shape and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from downshift.runtime.profiling.calibration import LabelledImages
from downshift.trainer.data import calibration_folder, datasets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from downshift.models.spec import Manifest
    from downshift.trainer.data.dataset import Dataset

VALIDATION_IN_FOLDER = 5000  # images at most; half a point of accuracy is their standard error
VALIDATION = 1000  # images of a data set that the artifact was not trained on; the smallest has 1,438


def load_for(
    manifest: Manifest, dataset: str, data_dir: Path, *, test: str | None = None
) -> tuple[Dataset, str]:
    """The named data set, split as the artifact's recipe says if it names that one; the test split's name.

    test: name of the test split, instead of the recipe's. Raises `typer.BadParameter` for images of another
    shape or another number of classes than the artifact's, `DataError` for a data set that cannot be used.
    """
    origin, wanted = manifest.provenance, (manifest.input.shape, len(manifest.labels))
    trained_with = origin.recipe.get("data", {}) if origin.dataset == dataset else {}
    split = test or trained_with.get("test", "official")
    data = datasets.load(
        dataset,
        data_dir,
        validation=trained_with.get("validation", VALIDATION),
        seed=origin.seed,
        test=split,
    )
    if (data.shape, len(data.labels)) != wanted:
        raise typer.BadParameter(
            f"--dataset {dataset} has {len(data.labels)} classes of {data.shape} images, "
            f"the model is for {wanted[1]} classes of {wanted[0]}"
        )
    return data, split


def calibration_data(
    manifest: Manifest,
    dataset: str | None,
    folder: Path | None,
    data_dir: Path,
    images: int,
    report: Callable[[float, str], None],
) -> tuple[NDArray[np.uint8], LabelledImages | None]:
    """At most `images` training images uint8 [N, H, W, C] of a data set or folder, and its validation split.

    The latter is None for a folder without classes. Raises as `load_for` does, and `typer.BadParameter` for
    both or neither.
    """
    if (dataset is None) == (folder is None):
        raise typer.BadParameter("give either --dataset NAME or --data FOLDER, to calibrate on its images")
    if dataset is not None:
        data, _ = load_for(manifest, dataset, data_dir)
        held_out = LabelledImages(data.validation.images.numpy(), data.validation.labels.numpy())
        return data.train.images[:images].numpy(), held_out
    assert folder is not None  # noqa: S101 - seen above
    origin = manifest.provenance
    trained_with = origin.recipe.get("data", {})
    validation = trained_with.get("validation", VALIDATION_IN_FOLDER)
    found = calibration_folder.read(
        folder, manifest.labels, images=images, validation=validation, seed=origin.seed
    )
    chosen, _ = calibration_folder.pixels(
        found.calibration, manifest.input, lambda share: report(share, "reading images to calibrate on")
    )
    if found.validation is None:
        return chosen, None
    pixels, labels = calibration_folder.pixels(
        found.validation, manifest.input, lambda share: report(share, "reading images to validate on")
    )
    return chosen, LabelledImages(pixels, labels)
