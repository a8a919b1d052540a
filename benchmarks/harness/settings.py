"""What the server experiments serve: one artifact, its densest sub-net as plain ONNX, and right answers."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from benchmarks.harness.client import Client
from benchmarks.harness.networks import artifact_file, name_of
from benchmarks.harness.wire import V2Binary
from downshift.models import artifact as artifacts
from downshift.models.pixels import normalise
from downshift.runtime.engines.exported import dense_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.harness.check import Floats
    from benchmarks.harness.wire import Wire
    from downshift.models.artifact import Artifact

IMAGES = 8
MODEL = "model"


@dataclass(frozen=True)
class Setting:
    """What is served, equal for all servers.

    name: of the network. path: of the artifact, called `MODEL`. dense: its densest sub-net as plain ONNX.
    threads: of one inference. folder: for profiles and logs. pixels: uint8 [IMAGES, C, H, W]; images: the
    same, normalised. logits: of the images, by sub-net, by onnxruntime.
    """

    name: str
    artifact: Artifact
    path: Path
    dense: Path
    threads: int
    folder: Path
    pixels: NDArray[np.uint8]
    images: Floats
    logits: Mapping[str, Floats]

    @property
    def densest(self) -> str:
        """The name of the densest sub-net."""
        return self.artifact.manifest.names[0]

    def client(self, wire: Wire, *, pixels: bool = False) -> Client:
        """Asks over that wire and knows the answers, the densest's where none is named.

        pixels: send bytes, which the server normalises, instead of floats.
        """
        images = self.pixels if pixels else self.images
        return Client(wire, images, {"": self.logits[self.densest], **self.logits})

    def v2(self, *, pixels: bool = False, **headers: str) -> Client:
        """Asks Downshift over the V2 protocol's binary extension; headers: with _ for -."""
        return self.client(
            V2Binary(
                MODEL, self.artifact.manifest.input.name, {k.replace("_", "-"): v for k, v in headers.items()}
            ),
            pixels=pixels,
        )

    def accuracy(self, subnets: Mapping[str, int]) -> float:
        """Mean validation accuracy of the answers; NaN where the artifact has none."""
        measured = {subnet.name: subnet.accuracy for subnet in self.artifact.manifest.subnets}
        known = [(measured[name or self.densest], count) for name, count in subnets.items()]
        if not known or any(accuracy is None for accuracy, _ in known):
            return math.nan
        return sum(accuracy * count for accuracy, count in known if accuracy) / sum(n for _, n in known)


def prepare(network: str, cache: Path, threads: int = 1) -> Setting:
    """The network (see `artifact_file`), laid out in a folder of its own below `cache`."""
    name, _ = name_of(network, "uniform")
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    path, dense = folder / f"{MODEL}.onnx", folder / "dense.onnx"
    shutil.copyfile(artifact_file(network, cache), path)
    artifact = artifacts.read(path)
    spec = artifact.manifest.input
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, *spec.shape), np.uint8)
    images = normalise(pixels, spec)
    logits = {subnet: logits_of(artifact, subnet, images) for subnet in artifact.manifest.names}
    dense.write_bytes(dense_model(artifact, artifact.manifest.names[0]))
    return Setting(name, artifact, path, dense, threads, folder, pixels, images, logits)


def logits_of(artifact: Artifact, subnet: str, images: Floats) -> Floats:
    """What plain onnxruntime answers for each image alone, [n, classes]."""
    model = dense_model(artifact, subnet)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = artifact.manifest.input.name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
