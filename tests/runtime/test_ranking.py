"""Labels by probability."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.ranking import ranking, softmax


def test_softmax_of_literal_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([0.0, np.log(3.0)], np.float32)), [0.25, 0.75], atol=1e-7)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_softmax_gives_probabilities_in_the_order_of_the_logits(logits: list[float]) -> None:
    probability = softmax(np.array(logits, dtype=np.float32))
    assert math.isclose(probability.sum(), 1.0)
    assert (np.diff(probability[np.argsort(logits)]) >= 0).all()


def test_the_most_probable_label_is_first_and_equal_ones_keep_their_order() -> None:
    logits, labels = np.array([1.0, 3.0, 3.0], np.float32), ("a", "b", "c")
    assert [name for name, _ in ranking(logits, labels)] == ["b", "c", "a"]
    assert [name for name, _ in ranking(logits, labels, 2)] == ["b", "c"]
    assert math.isclose(sum(probability for _, probability in ranking(logits, labels)), 1.0)
