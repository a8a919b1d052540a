"""The data set an artifact is measured on: split as its recipe says, with its image shape and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from downshift.trainer.data import datasets

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.spec import Manifest
    from downshift.trainer.data.dataset import Dataset

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
