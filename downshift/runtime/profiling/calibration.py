"""Calibration: activation ranges of every sub-net, measured on images, and its accuracy in int8."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.models.materialize import materialize
from downshift.models.pixels import normalise
from downshift.models.spec import Int8Spec, standard_error
from downshift.runtime.engines.onnxruntime import OnnxProgram, cpu_session
from downshift.runtime.errors import CalibrationError, UnsupportedModel
from downshift.runtime.lowering.emit import Writer
from downshift.runtime.lowering.emit_qdq import emit_qdq
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import LEVELS, calibrated, quantize, spelled_out
from downshift.runtime.profiling.accuracy import top1

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from downshift.models.artifact import Artifact
    from downshift.runtime.lowering.graph import Graph, TensorId
    from downshift.runtime.profiling.profiler import Progress
    from downshift.runtime.request import FloatArray

BATCH = 32
BINS = 2048
COVERED = 0.9999  # share of the activations that the percentile rule keeps unclipped
LARGEST_CUT = 0.5  # of a range that the squared-error rule may clip
CUTS = 64  # ranges that it tries

Rule = Callable[["Histogram"], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often a tensor's activations fell into equal bins from `low` to `high`."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of every bin, [BINS]."""
        width = (self.high - self.low) / len(self.counts)
        return np.asarray(self.low + width * (np.arange(len(self.counts)) + 0.5), np.float64)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """uint8 [N, H, W, C] and the class of each, int64 [N]; N >= 1."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def min_max(histogram: Histogram) -> tuple[float, float]:
    """The whole range that was seen."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram) -> tuple[float, float]:
    """The range that holds all but the rarest activations, half of them cut at either end."""
    share = np.cumsum(histogram.counts) / max(1, histogram.counts.sum())
    first, last = np.searchsorted(share, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    width = (histogram.high - histogram.low) / len(histogram.counts)
    low = histogram.low + width * first
    return (0.0 if histogram.low >= 0 else low), histogram.low + width * min(last + 1, len(histogram.counts))


def squared_error(histogram: Histogram) -> tuple[float, float]:
    """The clipped range with the least squared error of 256 levels: rounding inside it, clipping outside."""
    best, least = (histogram.low, histogram.high), np.inf
    for cut in np.linspace(0, LARGEST_CUT, CUTS):
        low, high = histogram.low * (1 - cut), histogram.high * (1 - cut)
        step = (high - low) / LEVELS
        outside = histogram.centres - np.clip(histogram.centres, low, high)
        error = float(histogram.counts @ (outside**2 + step**2 / 12 * (outside == 0)))
        if error < least:
            best, least = (low, high), error
    return best


RULES: Mapping[str, Rule] = {
    "min-max": min_max,
    "percentile": percentile,
    "squared-error": squared_error,
}
"""How a range follows from what was seen; the one with the best accuracy is kept, the first of equals."""


def calibrate(
    artifact: Artifact,
    images: NDArray[np.uint8],
    validation: LabelledImages | None,
    report: Progress = lambda _fraction, _text: None,
) -> Artifact:
    """The artifact with activation ranges and int8 accuracy of every sub-net that can be quantised.

    images: uint8 [N, H, W, C] of the training part, N >= 1, as the network's input has them. Without
    `validation` the int8 accuracy stays unknown, and the ranges are those that answer `images` most often as
    float32 does. A sub-net with a layer that cannot be quantised stays float32. Raises
    `CalibrationError` when no sub-net can be.
    """
    if len(images) == 0:
        raise CalibrationError("no images to calibrate on: give a folder or data set with some")
    subnets, reasons = [], []
    for index, subnet in enumerate(artifact.manifest.subnets):
        report(index / len(artifact.manifest.subnets), f"{subnet.name}: activation ranges")
        try:
            int8 = _calibrated(artifact, subnet.name, images, validation)
        except UnsupportedModel as reason:
            reasons.append(f"{subnet.name}: {reason}")
            int8 = None
        subnets.append(replace(subnet, int8=int8))
    if all(subnet.int8 is None for subnet in subnets):
        raise CalibrationError(f"no sub-net can be quantised: {'; '.join(reasons)}")
    return replace(artifact, manifest=replace(artifact.manifest, subnets=tuple(subnets)))


def _calibrated(
    artifact: Artifact, subnet: str, images: NDArray[np.uint8], validation: LabelledImages | None
) -> Int8Spec:
    model = materialize(artifact, subnet)
    graph = lower(model)
    inputs = _normalised(artifact, images)
    seen = _histograms(spelled_out(graph), inputs)
    judges = validation or LabelledImages(images, _answers(model, inputs))
    measured = []
    for rule in RULES.values():
        ranges = {name: rule(histogram) for name, histogram in seen.items()}
        program = _program(emit_qdq(quantize(graph, ranges)))
        measured.append((top1(program, judges.images, judges.labels, artifact.manifest.input), ranges))
    accuracy, ranges = max(measured, key=lambda one: one[0])
    if validation is None:
        return Int8Spec(None, ranges)
    return Int8Spec(accuracy, ranges, standard_error(accuracy, len(validation.labels)))


def _answers(model: onnx.ModelProto, inputs: FloatArray) -> NDArray[np.int64]:
    """The class that the float32 network answers for each input, [N]."""
    program = _program(model)
    batches = (inputs[at : at + BATCH] for at in range(0, len(inputs), BATCH))
    return np.concatenate([program.run(batch).argmax(axis=1) for batch in batches])


def _normalised(artifact: Artifact, images: NDArray[np.uint8]) -> FloatArray:
    spec = artifact.manifest.input
    if images.shape[1:] != (spec.height, spec.width, spec.channels):
        raise CalibrationError(
            f"calibration images of shape {list(images.shape[1:])}: the network takes "
            f"{[spec.height, spec.width, spec.channels]}"
        )
    return normalise(images.transpose(0, 3, 1, 2), spec)


def _histograms(graph: Graph, inputs: FloatArray) -> dict[str, Histogram]:
    """By tensor name, how activations are distributed over `inputs` float32 [N, C, H, W]: two passes."""
    watched = [tensor for tensor in calibrated(graph) if tensor]
    writer = Writer(graph)
    for operation in graph.operations:
        writer.write(operation)
    session = cpu_session(writer.model(watched).SerializeToString())
    outputs = [writer.name(tensor) for tensor in watched]

    def activations() -> Iterator[tuple[TensorId, FloatArray]]:
        for begin in range(0, len(inputs), BATCH):
            batch = inputs[begin : begin + BATCH]
            yield 0, batch
            yield from zip(watched, session.run(outputs, {"input": batch}), strict=True)

    limits: dict[TensorId, tuple[float, float]] = {}
    for tensor, values in activations():
        low, high = limits.get(tensor, (np.inf, -np.inf))
        limits[tensor] = min(low, float(values.min())), max(high, float(values.max()))
    if broken := [graph.names[tensor] for tensor, ends in limits.items() if not np.isfinite(ends).all()]:
        raise CalibrationError(
            f"activations of {broken[0]!r} are not finite: train with a lower learning rate"
        )
    counts = {tensor: np.zeros(BINS, np.int64) for tensor in limits}
    for tensor, values in activations():
        counts[tensor] += np.histogram(values, BINS, limits[tensor])[0]
    return {graph.names[tensor]: Histogram(*limits[tensor], counts[tensor]) for tensor in limits}


def _program(model: onnx.ModelProto) -> OnnxProgram:
    return OnnxProgram("onnxruntime", cpu_session(model.SerializeToString()))
