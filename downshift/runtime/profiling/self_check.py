"""Self-check before serving: compares every compiled program with onnxruntime on the exported sub-net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.engines.exported import plain_model
from downshift.runtime.engines.onnxruntime import OnnxProgram, cpu_session
from downshift.runtime.errors import SelfCheckFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Manifest, Precision
    from downshift.runtime.engines.engine import Forward
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import FloatArray

EXAMPLES = 4
TOLERANCE: Mapping[Precision, float] = {"fp32": 0.01, "int8": 0.25}
"""Relative to the largest logit: covers rounding, in int8 by whole quanta; a wrong program exceeds it."""


class Reference:
    """Reference outputs of an artifact's sub-nets for a few inputs, computed by plain onnxruntime."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._inputs = sample_inputs(artifact.manifest)
        self._expected: dict[str, FloatArray] = {}

    @property
    def manifest(self) -> Manifest:
        """Of that artifact."""
        return self._artifact.manifest

    def check(self, subnet: str, engine: str, run: Forward) -> None:
        """Raise `SelfCheckFailed` unless the outputs of `run` are finite and match the reference.

        Tested with a single example and with a batch.
        """
        if (expected := self._expected.get(subnet)) is None:
            expected = self._expected[subnet] = _plain_outputs(self._artifact, subnet, self._inputs)
        tolerance = TOLERANCE[self.manifest.point(subnet).precision]
        for begin, end in ((0, 1), (0, EXAMPLES)):
            _compare(run(self._inputs[begin:end]), expected[begin:end], tolerance, f"{subnet} on {engine}")


def self_check(reference: Reference, programs: Programs, profile: Profile) -> None:
    """Raise `SelfCheckFailed` unless all programs and the profile match the artifact."""
    check_profile(reference.manifest, profile)
    if missing := sorted(set(programs.by_subnet) - set(profile.names)):
        raise SelfCheckFailed(f"the profile lacks sub-net {missing[0]}: measure it again")
    for subnet, by_engine in programs.by_subnet.items():
        for engine, program in by_engine.items():
            reference.check(subnet, engine, program.run)


def check_profile(manifest: Manifest, profile: Profile) -> None:
    """Raise `SelfCheckFailed` unless the profile's sparsities and accuracies are those of the artifact.

    Raises `UnknownName` for a sub-net that it does not have.
    """
    if profile.artifact != manifest.sha256:
        raise SelfCheckFailed("the profile was measured on another artifact: measure it again")
    for subnet in profile.subnets:
        stated = manifest.point(subnet.name)
        if (stated.sparsity, stated.accuracy) != (subnet.sparsity, subnet.accuracy):
            raise SelfCheckFailed(
                f"sub-net {subnet.name}: the profile has sparsity {subnet.sparsity} and accuracy "
                f"{subnet.accuracy}, the artifact {stated.sparsity} and {stated.accuracy}: measure it again"
            )


def sample_inputs(manifest: Manifest) -> FloatArray:
    """The test inputs, float32 [EXAMPLES, C, H, W]: zeros, then noise with a fixed seed."""
    inputs = np.random.default_rng(0).standard_normal((EXAMPLES, *manifest.input.shape), dtype=np.float32)
    inputs[0] = 0.0
    return inputs


def answers_finite(manifest: Manifest, run: Forward) -> bool:
    """Whether the outputs of `run` for the test inputs are finite; False when it raises."""
    try:
        return bool(np.isfinite(run(sample_inputs(manifest))).all())
    except Exception:  # noqa: BLE001 - an engine is foreign code: whatever it raises, it is no answer
        return False


def _plain_outputs(artifact: Artifact, subnet: str, inputs: FloatArray) -> FloatArray:
    session = cpu_session(plain_model(artifact, subnet).SerializeToString())
    return OnnxProgram("reference", session).run(inputs)


def _compare(got: FloatArray, expected: FloatArray, tolerance: float, whose: str) -> None:
    if got.shape != expected.shape:
        raise SelfCheckFailed(
            f"sub-net {whose} answers {list(got.shape)} instead of {list(expected.shape)}: this artifact and "
            "this version of Downshift do not fit"
        )
    if not np.isfinite(got).all():
        raise SelfCheckFailed(f"sub-net {whose} answers NaN or infinity: export the artifact again")
    error, allowed = float(np.abs(got - expected).max()), tolerance * max(1.0, float(np.abs(expected).max()))
    if not error <= allowed:
        raise SelfCheckFailed(
            f"sub-net {whose} is off by {error:.3g} from what its own export answers, more than the "
            f"{allowed:.3g} that rounding explains: serve it with another engine and report this"
        )
