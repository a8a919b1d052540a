"""What the server benchmarks serve: one artifact, its densest sub-net as plain ONNX, right answers."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from benchmarks.harness.random_artifact import main as make_artifact
from benchmarks.harness.stacks import MODEL, Setting
from downshift.models import artifact as artifacts
from downshift.runtime.engines.dense_model import dense_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.harness.client import Wire
    from downshift.models.artifact import Artifact

from benchmarks.harness.client import Client

IMAGES = 16


@dataclass(frozen=True)
class Served:
    """name: of the network. images: float32 [IMAGES, C, H, W]. logits: of every sub-net, by onnxruntime."""

    name: str
    artifact: Artifact
    setting: Setting
    images: NDArray[np.float32]
    logits: Mapping[str, NDArray[np.float32]]

    def client(self, wire: Wire) -> Client:
        """Someone who asks over that wire and knows the answers, the densest's where none is named."""
        return Client(wire, self.images, {"": self.logits[self.setting.densest], **self.logits})

    def accuracy(self, subnets: Mapping[str, int]) -> float:
        """Mean validation accuracy of the answers; NaN where the artifact has none."""
        measured = {subnet.name: subnet.accuracy for subnet in self.artifact.manifest.subnets}
        known = [(measured[name or self.setting.densest], count) for name, count in subnets.items()]
        if not known or any(accuracy is None for accuracy, _ in known):
            return math.nan
        return sum(accuracy * count for accuracy, count in known if accuracy) / sum(n for _, n in known)


def served(network: str, folder: Path, environments: Path, threads: int) -> Served:
    """The artifact `network` (a file, or a network to make a synthetic one of), laid out below `folder`."""
    name = network.rsplit("/", maxsplit=1)[-1].removesuffix(".onnx")
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{MODEL}.onnx"
    if network.endswith(".onnx"):
        shutil.copyfile(network, path)
    elif not path.exists():
        make_artifact([network, "--out", str(path)])
    artifact = artifacts.read(path)
    images = np.random.default_rng(0).standard_normal((IMAGES, *artifact.manifest.input.shape), np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    models = {subnet: dense_model(artifact, subnet) for subnet in artifact.manifest.names}
    logits = {}
    for subnet, model in models.items():
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        logits[subnet] = np.concatenate(
            [session.run(None, {artifact.manifest.input.name: image[None]})[0] for image in images]
        )
    densest = artifact.manifest.names[0]
    dense = place / "dense.onnx"
    dense.write_bytes(models[densest])
    setting = Setting(path, dense, densest, threads, place, environments)
    return Served(name, artifact, setting, images, logits)
