"""The data set that `evaluate` and `quantize` measure an artifact on."""

from dataclasses import replace
from pathlib import Path

import pytest

from downshift.api.artifact_data import VALIDATION, load_for
from downshift.models.spec import InputSpec, Manifest
from downshift.trainer.data import datasets
from downshift.trainer.errors import DataError
from tests.runtime.doubles import manifest

NOWHERE = Path("absent")
LABELS = tuple("0123456789")


def of_digits(dataset: str = "digits", labels: tuple[str, ...] = LABELS, **data: object) -> Manifest:
    """A manifest of a network for the digits, trained on `dataset` with those values under [data]."""
    base = manifest()
    image = InputSpec("image", 1, 8, 8, (0.3,), (0.4,))
    trained = replace(base.provenance, dataset=dataset, recipe={"data": data}, seed=5)
    return replace(base, input=image, labels=labels, provenance=trained)


def test_the_validation_split_is_the_one_the_artifact_was_trained_with() -> None:
    data, split = load_for(of_digits(validation=300), "digits", NOWHERE)
    trained = datasets.load("digits", NOWHERE, validation=300, seed=5)
    assert split == "official"
    assert data.validation.images.equal(trained.validation.images)


def test_a_data_set_it_was_not_trained_on_is_split_without_its_recipe() -> None:
    data, _ = load_for(of_digits("mnist", validation=300), "digits", NOWHERE)
    assert len(data.validation) == VALIDATION


def test_a_named_test_split_comes_before_the_recipes() -> None:
    assert (
        load_for(of_digits(validation=9, test="batch5"), "digits", NOWHERE, test="official")[1] == "official"
    )
    with pytest.raises(DataError, match="batch5"):
        load_for(of_digits(validation=9, test="batch5"), "digits", NOWHERE)


def test_images_or_classes_of_another_network_are_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"10 classes of \(1, 8, 8\) images, .* for 3 classes of"):
        load_for(of_digits(labels=("a", "b", "c")), "digits", NOWHERE)
