"""Artifacts of any network with random weights and random nested masks, to measure and to load-test with.

    python -m benchmarks.harness.random_artifact resnet18 --out r18.onnx --sparsity 0.5 0.9

Zeros fall anywhere, in blocks such as 4x1 or 1x4, or take whole channels: with density d a layer then
keeps the root of d of its inputs and of its outputs, in multiples of 16, and layers of one width keep the
same ones.

Such an artifact is shaped like a trained one and runs at the speed of a trained one: sparsities per layer,
BatchNorm of every sub-net, activations of ordinary size. It predicts nothing, and its manifest says so:
`synthetic` is true, and accuracies are None, or made up where a policy needs something to trade.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from downshift.models.artifact import pack, unpack, write
from downshift.models.errors import ModelsError
from downshift.models.network import build, find, names
from downshift.models.pattern import Channel, parse_pattern
from downshift.models.spec import InputSpec
from downshift.models.supernet import LayerRule, Supernet
from downshift.runtime.lowering.shrink import WIDTH
from downshift.trainer.errors import TrainerError
from downshift.trainer.evaluation import recalibrate
from downshift.trainer.export import export
from downshift.trainer.graph import INPUT
from downshift.trainer.masks.allocation import erk_densities, uniform_densities
from downshift.trainer.masks.rules import Goal, rule_of
from downshift.trainer.recipe import DataChoice, MasksChoice, NetworkChoice, Recipe, RunChoice, SubnetsChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from downshift.models.artifact import Artifact
    from downshift.models.pattern import Pattern

SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
ALLOCATIONS = {"uniform": uniform_densities, "erk": erk_densities}
CHANNELS = 3
CALIBRATION_BATCHES, CALIBRATION_IMAGES = 2, 8
TORCHVISION = "torchvision/"


def random_artifact(
    recipe: Recipe, *, classes: int, size: int | None = None, channels: bool = False
) -> Artifact:
    """An artifact of the recipe's network, sub-nets and mask allocation, everything random but its seed.

    size: side of the square input images in pixels, by default the network's usual one. channels: remove
    whole channels.
    Equal arguments give equal artifacts. Raises `ModelsError` for a network or figure that cannot be.
    """
    size = size or find(recipe.network.name).size
    torch.manual_seed(recipe.run.seed)
    network = build(recipe.network.name, classes=classes, width=recipe.network.width, channels=CHANNELS)
    pattern = recipe.patterns[0]
    supernet = Supernet(network, len(recipe.sparsities), rule=LayerRule(pattern=pattern))
    layers = list(supernet.masked_layers.values())
    shapes = [tuple(layer.weight.shape) for layer in layers]
    allocate = ALLOCATIONS[recipe.masks.allocation]
    densities = [allocate(shapes, sparsity) for sparsity in recipe.sparsities]
    orders: dict[int, Tensor] = {}
    for index, layer in enumerate(layers):
        own = [density[index] for density in densities]
        if channels:
            masks = channel_masks(shapes[index], own, orders)
        else:
            masks = random_masks(shapes[index], own, pattern)
        layer.stack.assign(masks)
    _calibrate(supernet, size)
    image = InputSpec(INPUT, CHANNELS, size, size, mean=(0.5,) * CHANNELS, std=(0.25,) * CHANNELS)
    labels = tuple(f"class {index}" for index in range(classes))
    artifact = export(supernet, recipe, image, labels, dict.fromkeys(recipe.names, 0.0))
    manifest = replace(
        artifact.manifest,
        subnets=tuple(
            replace(subnet, accuracy=None, pattern=Channel() if channels else subnet.pattern)
            for subnet in artifact.manifest.subnets
        ),
        provenance=replace(artifact.manifest.provenance, recipe=_followed(recipe), synthetic=True),
    )
    return unpack(pack(replace(artifact, manifest=manifest)))


def with_accuracies(artifact: Artifact, ratios: Sequence[float]) -> Artifact:
    """The artifact with these made-up accuracies, one for each sub-net, densest first."""
    subnets = zip(artifact.manifest.subnets, ratios, strict=True)
    manifest = replace(
        artifact.manifest, subnets=tuple(replace(subnet, accuracy=ratio) for subnet, ratio in subnets)
    )
    return unpack(pack(replace(artifact, manifest=manifest)))


def random_masks(shape: tuple[int, ...], densities: Sequence[float], pattern: Pattern) -> list[Tensor]:
    """Nested random masks of one layer's weights, one for each of the descending densities."""
    goals = [Goal(1.0 - density, 1.0, (density,)) for density in densities]
    return [masks[0] for masks in rule_of(pattern).kept([torch.rand(shape)], goals)]


def channel_masks(
    shape: tuple[int, ...], densities: Sequence[float], orders: dict[int, Tensor]
) -> list[Tensor]:
    """Nested masks of one layer's weights that leave channels out; `orders` remembers which go first.

    orders: number of channels -> their order, the last to go first.
    """
    sides = [orders.setdefault(channels, torch.randperm(channels)) for channels in shape[:2]]
    masks = []
    for density in densities:
        outputs, inputs = (_kept_channels(order, math.sqrt(density)) for order in sides)
        mask = outputs[:, None] & inputs[None, :]
        masks.append(mask.view(*mask.shape, *(1,) * (len(shape) - 2)).expand(shape).contiguous())
    return masks


def _kept_channels(order: Tensor, share: float) -> Tensor:
    """A bool for each channel: that share of them is kept, in multiples of `WIDTH`."""
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[: max(1, round(share * len(order) / WIDTH)) * WIDTH]] = True
    return kept


@torch.no_grad()
def _calibrate(supernet: Supernet, size: int) -> None:
    """Give every sub-net a BatchNorm of its own that keeps activations at unit scale on random images."""
    for index in range(supernet.count):
        for switchable in supernet.switchable_norms.values():
            norm = switchable.norms[index]
            norm.get_parameter("weight").uniform_(0.5, 1.5)
            norm.get_parameter("bias").normal_(0.0, 0.2)
        images = torch.randn(CALIBRATION_BATCHES, CALIBRATION_IMAGES, CHANNELS, size, size)
        recalibrate(supernet, index, ((batch, torch.empty(0)) for batch in images))


def _followed(recipe: Recipe) -> dict[str, Any]:
    """The part of the recipe that shaped the artifact: nothing was trained."""
    whole = recipe.as_dict()
    return {
        "network": whole["network"],
        "subnets": whole["subnets"],
        "masks": {"allocation": recipe.masks.allocation},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the artifact that the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.harness.random_artifact",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="a network of ours such as cifar-resnet18, or one of torchvision's")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--sparsity", type=float, nargs="+", default=SPARSITIES, help="one per sub-net, ascending"
    )
    parser.add_argument("--allocation", choices=ALLOCATIONS, default="uniform", help="how layers share it")
    parser.add_argument(
        "--pattern", default="unstructured", help="where zeros fall: unstructured, channel, 'block 1x4', ..."
    )
    parser.add_argument("--width", type=float, default=1.0, help="multiplies the channels of our networks")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument(
        "--size", type=int, help="side of the input images, by default the network's usual one"
    )
    parser.add_argument(
        "--accuracy", type=float, nargs="+", help="made-up ratios, one per sub-net, for policies to trade"
    )
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.accuracy is not None and len(chosen.accuracy) != len(chosen.sparsity):
        parser.error(f"--accuracy gives {len(chosen.accuracy)} ratios for {len(chosen.sparsity)} sub-nets")
    channels = chosen.pattern == str(Channel())
    if channels and chosen.allocation != "uniform":
        parser.error("--pattern channel removes as much from every layer: leave --allocation out")
    try:
        recipe = Recipe(
            NetworkChoice(_known_name(chosen.network), chosen.width),
            DataChoice("synthetic"),
            RunChoice(epochs=1, seed=chosen.seed),
            _subnets(chosen.pattern, tuple(chosen.sparsity)),
            MasksChoice(allocation=chosen.allocation),
        )
        artifact = random_artifact(recipe, classes=chosen.classes, size=chosen.size, channels=channels)
        if chosen.accuracy is not None:
            artifact = with_accuracies(artifact, chosen.accuracy)
        write(chosen.out, artifact)
    except (ModelsError, TrainerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{chosen.out}: {recipe.network.name}, {', '.join(artifact.manifest.names)}")
    return 0


def _subnets(pattern: str, sparsities: tuple[float, ...]) -> SubnetsChoice:
    """One sub-net for each sparsity; of N:M, which has its own, only one."""
    parsed = parse_pattern(pattern)
    if parsed.sparsity is not None:
        return SubnetsChoice(patterns=(pattern,))
    return SubnetsChoice(sparsities, block=pattern)


def _known_name(name: str) -> str:
    """The network's full name: torchvision's may be given without their prefix."""
    return TORCHVISION + name if TORCHVISION + name in names() else name


if __name__ == "__main__":
    sys.exit(main())
