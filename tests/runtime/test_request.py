from __future__ import annotations

import numpy as np
import pytest

from downshift.runtime.errors import InvalidRequest
from downshift.runtime.request import Request
from tests.runtime.doubles import inputs, manifest

SPEC = manifest().input
GOOD = inputs(1.0, 2.0)


def test_a_good_request_passes() -> None:
    Request(GOOD, deadline=1.0, min_accuracy=0.5).check(SPEC)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request(GOOD.astype(np.float64)), "inputs of type float64: convert them to float32"),
        (Request(GOOD[0]), r"inputs of shape \[1, 1, 2\]: send \[n, 1, 1, 2\]"),
        (Request(GOOD[:, :, :, :1]), r"inputs of shape \[2, 1, 1, 1\]"),
        (Request(GOOD[:0]), r"inputs of shape \[0, 1, 1, 2\].*n >= 1"),
        (Request(inputs(1.0, np.nan)), r"input nan at \[1, 0, 0, 0\]: send finite numbers"),
        (Request(inputs(-np.inf)), r"input -inf at \[0, 0, 0, 0\]"),
        (Request(GOOD, deadline=float("nan")), "deadline nan"),
        (Request(GOOD, min_accuracy=1.5), "accuracy floor 1.5: give a ratio"),
        (Request(GOOD, min_accuracy=float("nan")), "accuracy floor nan"),
    ],
)
def test_what_the_network_could_not_compute_is_refused(request_: Request, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        request_.check(SPEC)
