"""Calibration: ranges and int8 accuracy go into the artifact, and bad input is one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from downshift.models import manifest_json
from downshift.models.artifact import read, write
from downshift.models.bundled import locate
from downshift.models.errors import SpecError
from downshift.models.materialize import materialize
from downshift.models.pixels import normalise
from downshift.models.spec import Int8Spec
from downshift.runtime.engines.exported import qdq_model
from downshift.runtime.errors import CalibrationError
from downshift.runtime.profiling import calibration
from downshift.runtime.profiling.calibration import Histogram, LabelledImages, calibrate
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact

BUNDLED = "cifar10-resnet20"


def noise(count: int, side: int, seed: int) -> np.ndarray:
    """Images [count, side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def test_every_sub_net_gets_ranges_that_survive_the_file_and_an_export_that_agrees(tmp_path: Path) -> None:
    artifact, images = read(locate(BUNDLED)), noise(24, 32, seed=0)
    spec = artifact.manifest.input
    inputs = normalise(images.transpose(0, 3, 1, 2), spec)
    plain = onnxruntime.InferenceSession(
        artifact.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    [logits] = plain.run(None, {spec.name: inputs})
    labels = logits.argmax(axis=1).astype(np.int64)
    write(tmp_path / "int8.onnx", calibrate(artifact, images, LabelledImages(images, labels)))
    quantized = read(tmp_path / "int8.onnx")
    for subnet in quantized.manifest.subnets:
        assert subnet.int8 is not None
        assert subnet.accuracy == artifact.manifest.subnet(subnet.name).accuracy
    densest = quantized.manifest.subnets[0]
    assert densest.int8 is not None
    assert densest.int8.accuracy is not None
    assert densest.int8.accuracy >= 0.8  # of its own answers in fp32
    model = qdq_model(quantized, densest.name).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"input": inputs})
    assert (found.argmax(axis=1) == labels).mean() == pytest.approx(densest.int8.accuracy)


def test_without_labels_the_accuracy_stays_unknown_and_the_ranges_answer_as_float32_does() -> None:
    artifact, images = read(locate(BUNDLED)), noise(24, 32, seed=1)
    plain = calibrate(artifact, images, None)
    judged = calibrate(artifact, images, LabelledImages(images, answers(artifact, "s80", images)))
    unknown, known = plain.manifest.subnet("s80").int8, judged.manifest.subnet("s80").int8
    assert unknown is not None
    assert known is not None
    assert (unknown.accuracy, unknown.ranges) == (None, known.ranges)


def answers(artifact: Artifact, subnet: str, images: np.ndarray) -> np.ndarray:
    """The classes that plain onnxruntime answers in float32."""
    spec = artifact.manifest.input
    model = materialize(artifact, subnet).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {spec.name: normalise(images.transpose(0, 3, 1, 2), spec)})
    return logits.argmax(axis=1).astype(np.int64)


def test_the_manifest_of_an_artifact_without_int8_does_not_mention_it() -> None:
    artifact = tiny_artifact()
    assert "int8" not in manifest_json.dumps(artifact.manifest)


def test_rules_cut_what_is_rare() -> None:
    counts = np.zeros(calibration.BINS, np.int64)
    counts[:200] = 10_000
    counts[-1] = 1
    seen = Histogram(0.0, 100.0, counts)
    assert calibration.min_max(seen) == (0.0, 100.0)
    assert calibration.percentile(seen)[1] < 11.0
    assert calibration.squared_error(seen)[1] < 60.0


def test_bad_input_is_one_sentence() -> None:
    artifact = tiny_artifact()
    one = LabelledImages(noise(1, 5, 0), np.zeros(1, np.int64))
    with pytest.raises(CalibrationError, match="no images to calibrate on"):
        calibrate(artifact, noise(0, 5, 0), one)
    with pytest.raises(CalibrationError, match=r"images of shape \[7, 7, 3\].*takes \[5, 5, 3\]"):
        calibrate(artifact, noise(2, 7, 0), one)
    name = artifact.manifest.names[0]
    with pytest.raises(CalibrationError, match=rf"{name} has no int8: run `downshift quantize`"):
        qdq_model(artifact, name)


@pytest.mark.parametrize(
    ("accuracy", "ranges", "message"),
    [
        (1.5, {"x": (0.0, 1.0)}, "accuracy 1.5"),
        (0.5, {}, "without activation ranges"),
        (0.5, {"x": (1.0, 0.0)}, "range of 'x'"),
        (0.5, {"x": (0.0, float("inf"))}, "range of 'x'"),
    ],
)
def test_impossible_int8_figures_are_refused(
    accuracy: float, ranges: dict[str, tuple[float, float]], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        Int8Spec(accuracy, ranges)
