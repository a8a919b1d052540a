"""The networks that experiments run: an artifact's file, or a name to make a random artifact of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import random_artifact
from benchmarks.harness.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Mapping

ZOO = Path(__file__).parents[2] / "downshift" / "models" / "zoo"
BUNDLED = str(ZOO / "cifar10-resnet20.onnx")
TRAINED = "trained"

MASKS: Mapping[str, tuple[str, ...]] = {
    "uniform": (),
    "erk": ("--allocation", "erk"),
    "4x1": ("--pattern", "block 4x1"),
    "1x4": ("--pattern", "block 1x4"),
    "4x4": ("--pattern", "block 4x4"),
    "channel": ("--pattern", "channel"),
}
"""Where zeros fall in a random artifact -> options of `benchmarks.harness.random_artifact`."""

GPU_MASKS: Mapping[str, tuple[str, ...]] = {"2:4": ("--pattern", "2:4")}
"""The same for patterns that only GPUs are faster with."""

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "cifar-resnet32x2": ("cifar-resnet32", "--width", "2"),
    "resnet50-128": (
        *("torchvision/resnet50", "--size", "128", "--sparsity", "0.5", "0.8", "0.9", "0.95", "0.98"),
        *("--accuracy", "0.78", "0.77", "0.755", "0.735", "0.7"),
    ),
}
"""Networks that are others made wider, on smaller images, or with accuracies for policies to trade."""


def name_of(network: str, masks: str) -> tuple[str, str]:
    """What results call a network and its masks: a file's are trained."""
    path = Path(network)
    return (path.stem, TRAINED) if path.suffix == ".onnx" else (path.name, masks)


def artifact_file(network: str, folder: Path, masks: str = "uniform") -> Path:
    """The artifact: `network` itself where it is a file, else made below `folder` at the first call.

    Raises `ExperimentError` for a network that cannot be made.
    """
    if network.endswith(".onnx"):
        return Path(network)
    path = folder / f"{Path(network).name}-{masks}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = [*VARIANTS.get(network, (network,)), "--out", str(path), *{**MASKS, **GPU_MASKS}[masks]]
        if random_artifact.main(options):
            raise ExperimentError(f"no artifact of {network!r} can be made")
    return path
