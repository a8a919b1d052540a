"""A prediction as text."""

from __future__ import annotations

import numpy as np

from downshift.api.prediction import Label, Prediction

RANKED = (Label("cat", 0.9), Label("dog", 0.06), Label("bird", 0.03), Label("ship", 0.01))


def prediction(images: int = 1, accuracy: float | None = 0.8675) -> Prediction:
    logits = np.zeros((images, 4), np.float32)
    return Prediction((RANKED,) * images, logits, "s90", 0.9, accuracy, "sparse", 0.00066)


def test_its_text_is_the_best_labels_and_the_sub_net() -> None:
    assert str(prediction()).splitlines() == [
        "cat 90.0%, dog 6.0%, bird 3.0%",
        "sub-net s90 (sparsity 90.00%, accuracy 86.75%) on sparse in 0.660 ms",
    ]
    assert str(prediction(accuracy=None)).endswith("sub-net s90 (sparsity 90.00%) on sparse in 0.660 ms")


def test_many_images_are_not_all_shown() -> None:
    lines = str(prediction(12)).splitlines()
    assert len(lines) == 12
    assert lines[10] == "... 2 more images"


def test_the_best_label_of_every_image() -> None:
    assert prediction(2).best == (RANKED[0], RANKED[0])
