"""Images to measure an artifact on, or to quantise it with: split as its recipe says, of its shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from downshift.runtime.profiling.calibration import LabelledImages
from downshift.trainer.data import calibration_folder, datasets
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from downshift.models.spec import Manifest
    from downshift.runtime.profiling.profiler import Progress
    from downshift.trainer.data.dataset import Dataset

VALIDATION = 1000  # images of a data set that the artifact was not trained on; the smallest has 1,438


def load_for(
    manifest: Manifest, dataset: str, data_dir: Path, *, test: str | None = None
) -> tuple[Dataset, str]:
    """The named data set, split as the artifact's recipe says if it names that one; the test split's name.

    test: name of the test split, instead of the recipe's. Raises `DataError` for images of another shape or
    another number of classes than the artifact's, and for a data set that cannot be used.
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
        raise DataError(
            f"data set {dataset} has {len(data.labels)} classes of {data.shape} images, "
            f"the model is for {wanted[1]} classes of {wanted[0]}: choose the one it was trained on"
        )
    return data, split


def calibration_data(
    manifest: Manifest, source: str | Path, data_dir: Path, images: int, report: Progress
) -> tuple[NDArray[np.uint8], LabelledImages | None]:
    """At most `images` training images uint8 [N, H, W, C], and the validation split to measure int8 on.

    source: a data set's name, found below `data_dir`, or a folder of images; the validation split is None for
    a folder without classes. Raises `DataError` naming what does not fit the artifact.
    """
    if not isinstance(source, Path):
        data, _ = load_for(manifest, source, data_dir)
        held_out = LabelledImages(data.validation.images.numpy(), data.validation.labels.numpy())
        return data.train.images[:images].numpy(), held_out
    validation = manifest.provenance.recipe.get("data", {}).get("validation", 0)
    found = calibration_folder.read(
        source, manifest.labels, images=images, validation=validation, seed=manifest.provenance.seed
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
