"""What a request must be to enter the queue: valid, answerable, and in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import AccuracyUnavailable, InvalidRequest

if TYPE_CHECKING:
    from downshift.models.spec import InputSpec, Manifest
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Request


def check(request: Request, spec: InputSpec) -> None:
    """Raise `InvalidRequest` unless the network could compute with these inputs and demands."""
    inputs = request.inputs
    if inputs.dtype != np.float32:
        raise InvalidRequest(f"inputs of type {inputs.dtype}: convert them to float32")
    if inputs.ndim != len(spec.shape) + 1 or inputs.shape[1:] != spec.shape or not len(inputs):
        raise InvalidRequest(
            f"inputs of shape {list(inputs.shape)}: send [n, {', '.join(map(str, spec.shape))}] with n >= 1"
        )
    if not np.isfinite(inputs).all():
        where = np.argwhere(~np.isfinite(inputs))[0]
        raise InvalidRequest(f"input {inputs[tuple(where)]} at {where.tolist()}: send finite numbers only")
    if request.deadline is not None and math.isnan(request.deadline):
        raise InvalidRequest("deadline nan: give monotonic seconds, or None for no budget")
    if request.min_accuracy is not None and not 0.0 <= request.min_accuracy <= 1.0:
        raise InvalidRequest(f"accuracy floor {request.min_accuracy}: give a ratio in [0, 1]")


def candidates(request: Request, manifest: Manifest, profile: Profile) -> tuple[str, ...]:
    """Names of the sub-nets that may answer, most accurate first.

    Raises `UnknownName` for a pin that does not exist, `AccuracyUnavailable` when the floor rules all out.
    """
    names = profile.names if request.subnet is None else (manifest.subnet(request.subnet).name,)
    floor = request.min_accuracy
    if floor is None:
        return names
    known = {name: accuracy for name in names if (accuracy := profile[name].accuracy) is not None}
    good = tuple(name for name, accuracy in known.items() if accuracy >= floor)
    if not good:
        raise AccuracyUnavailable(floor, max(known.values(), default=None))
    return good
