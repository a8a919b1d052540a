"""Every sub-net of an exported artifact gives the trainer's own logits in plain onnxruntime."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from downshift.models import artifact
from downshift.models.errors import ArtifactError
from downshift.models.materialize import materialize
from downshift.models.network import build
from downshift.models.networks.resnet_cifar import Bottleneck, CifarResNet
from downshift.models.networks.wide_resnet import WideResNet
from downshift.models.pattern import Block, NByM
from downshift.models.spec import InputSpec
from downshift.models.supernet import LayerRule, Supernet
from downshift.trainer.export import export
from downshift.trainer.masks.blocks import block_sums, spread
from downshift.trainer.masks.pruning import keep_nested, n_by_m
from tests.trainer import transformers
from tests.trainer.small import CHANNELS, CLASSES, SIDE, noise, small_network, small_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from downshift.models.artifact import Artifact
    from downshift.models.layers.masked_layer import Encoding
    from downshift.trainer.recipe import Recipe

LABELS = ("a", "b", "c", "d")
IMAGE = InputSpec("image", CHANNELS, SIDE, SIDE, (0.5,) * 3, (0.25,) * 3)
TOLERANCE = 1e-4

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet-basic": small_network,
    "resnet-padding": partial(build, "cifar-resnet20-padding", classes=CLASSES, width=0.25),
    "resnet-bottleneck": partial(
        CifarResNet, block=Bottleneck, depths=(1, 1), widths=(4, 8), classes=CLASSES, channels=CHANNELS
    ),
    "wide-resnet": partial(WideResNet, depth=10, widen=1, classes=CLASSES, width=0.25),
    "vgg": partial(build, "cifar-vgg19-bn", classes=CLASSES, width=0.0625),
    "mobilenet": partial(build, "cifar-mobilenet-v1", classes=CLASSES, width=0.125),
    "torchvision": partial(build, "torchvision/squeezenet1_1", classes=CLASSES),
}
SIDES = {"vgg": 16, "torchvision": 32}


def sparse(supernet: Supernet, densities: tuple[float, ...]) -> Supernet:
    """The supernet with random masks of these densities, nested if it holds levels."""
    for position, layer in enumerate(supernet.masked_layers.values()):
        nested = supernet.encoding == "levels"
        scores = [
            torch.rand(
                layer.weight.shape, generator=torch.Generator().manual_seed(position if nested else seed)
            )
            for seed in range(len(densities))
        ]
        layer.stack.assign([score < density for score, density in zip(scores, densities, strict=True)])
    return supernet


def calibrated(supernet: Supernet, images: Tensor) -> Supernet:
    """The supernet with different, plausible BatchNorm parameters in every sub-net."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
                module.bias.copy_(torch.rand(module.bias.shape, generator=generator))
        for index in range(supernet.count):
            supernet.select(index)
            supernet.train()(images)
    return supernet.eval()


def exported(supernet: Supernet, recipe: Recipe, image: InputSpec = IMAGE) -> Artifact:
    return export(supernet, recipe, image, LABELS, dict.fromkeys(recipe.names, 0.5))


def runtime_logits(found: Artifact, name: str, images: Tensor) -> Tensor:
    """What plain onnxruntime computes with one materialized sub-net."""
    model = materialize(found, name).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images.numpy()})
    return torch.from_numpy(logits)


@torch.no_grad()
def assert_faithful(
    found: Artifact, supernet: Supernet, images: Tensor, apart: float = 10 * TOLERANCE
) -> None:
    """Every sub-net: onnxruntime's, the selected supernet's and the plain network's logits are the same.

    apart: by how much at least two sub-nets differ.
    """
    seen = []
    for index, name in enumerate(found.manifest.names):
        supernet.select(index)
        selected = supernet.eval()(images)
        logits = runtime_logits(found, name, images)
        torch.testing.assert_close(logits, selected, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(logits, supernet.plain(index).eval()(images), rtol=0, atol=TOLERANCE)
        seen.append(logits)
    for one, other in itertools.pairwise(seen):
        assert not torch.allclose(one, other, rtol=0, atol=apart), "two sub-nets compute the same"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sub_net_of_every_family_is_handed_over_as_it_was_trained(family: str) -> None:
    torch.manual_seed(0)
    side = SIDES.get(family, SIDE)
    images = noise(3, CHANNELS, side, side)
    supernet = sparse(Supernet(FAMILIES[family](), 2, rule=LayerRule(depthwise=True)), (0.7, 0.5))
    supernet = calibrated(supernet, noise(32, CHANNELS, side, side, seed=1))
    image = InputSpec("image", CHANNELS, side, side, (0.5,) * 3, (0.25,) * 3)
    recipe = small_recipe(subnets={"sparsities": [0.3, 0.5]})
    assert_faithful(exported(supernet, recipe, image), supernet, images)


@pytest.mark.parametrize("make", transformers.NETWORKS)
def test_networks_of_attention_and_linear_layers_are_handed_over_under_their_own_names(
    make: Callable[[], nn.Module],
) -> None:
    """The exporter transposes linear weights: folded, they would be constants that nobody knows."""
    torch.manual_seed(0)
    side = transformers.SIDE
    supernet = sparse(Supernet(make(), 2), (0.6, 0.1))
    supernet = calibrated(supernet, noise(32, CHANNELS, side, side, seed=1))
    image = InputSpec("image", CHANNELS, side, side, (0.5,) * 3, (0.25,) * 3)
    found = exported(supernet, small_recipe(subnets={"sparsities": [0.4, 0.9]}), image)
    assert {spec.weight for spec in found.manifest.layers} <= supernet.plain(0).state_dict().keys()
    assert len(found.manifest.layers) == len(supernet.masked_layers) > 4
    assert found.manifest.subnets[0].flops > found.manifest.subnets[1].flops > 0
    assert_faithful(found, supernet, noise(3, CHANNELS, side, side), apart=0.0)


class Twice(torch.nn.Module):
    """One convolution and one BatchNorm, each called twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(CHANNELS, 4, 3)
        self.zebra = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.again, self.another = self.zebra, self.norm
        self.classifier = torch.nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.another(self.again(self.norm(self.zebra(self.stem(x))))).relu().mean((2, 3))
        logits: Tensor = self.classifier(x)
        return logits


def test_a_module_that_is_used_twice_is_masked_and_handed_over_once() -> None:
    supernet = calibrated(sparse(Supernet(Twice(), 2), (0.7, 0.3)), noise(32, CHANNELS, SIDE, SIDE, seed=1))
    found = exported(supernet, small_recipe(subnets={"sparsities": [0.3, 0.7]}))
    assert [spec.weight for spec in found.manifest.layers] == ["zebra.weight"]
    assert [spec.scale for spec in found.manifest.norms] == ["norm.weight"]
    assert_faithful(found, supernet, noise(3, CHANNELS, SIDE, SIDE))


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_four_sub_nets_with_nested_and_with_independent_masks(encoding: Encoding, tmp_path: Path) -> None:
    supernet = Supernet(small_network(), 4, rule=LayerRule(classifier=True), encoding=encoding)
    supernet = calibrated(sparse(supernet, (0.9, 0.6, 0.4, 0.2)), noise(32, CHANNELS, SIDE, SIDE, seed=1))
    recipe = small_recipe(subnets={"sparsities": [0.1, 0.4, 0.6, 0.8]})
    found = exported(supernet, recipe)
    assert found.manifest.masks == encoding
    assert found.manifest.names == ("s10", "s40", "s60", "s80")
    artifact.write(tmp_path / "model.onnx", found)
    assert_faithful(artifact.read(tmp_path / "model.onnx"), supernet, noise(5, CHANNELS, SIDE, SIDE))


def test_n_of_m_sub_nets_keep_their_pattern_along_the_input_channels() -> None:
    supernet = Supernet(small_network(), 2)
    patterns = (NByM(2, 4), NByM(1, 4))
    for layer in supernet.masked_layers.values():
        weight = layer.weight.detach()
        out, inputs, *kernel = weight.shape
        rows = weight.abs().permute(0, 2, 3, 1).reshape(-1, inputs)
        masks = [n_by_m(rows, p.n, p.m).view(out, *kernel, inputs).permute(0, 3, 1, 2) for p in patterns]
        layer.stack.assign(masks)
    supernet = calibrated(supernet, noise(32, CHANNELS, SIDE, SIDE, seed=1))
    found = exported(supernet, small_recipe(subnets={"patterns": ["2:4", "1:4"]}))
    assert [(s.name, s.pattern, s.sparsity) for s in found.manifest.subnets] == [
        ("n2m4", patterns[0], 0.5),
        ("n1m4", patterns[1], 0.75),
    ]
    for spec in found.manifest.layers:
        out, inputs, *_ = spec.shape
        for mask, pattern in zip(found.masks(spec.weight), patterns, strict=True):
            groups = mask.reshape(out, inputs // 4, 4, -1).sum(axis=2)
            assert (groups == pattern.n).all()
    assert_faithful(found, supernet, noise(5, CHANNELS, SIDE, SIDE))


def half_and_tenth(block: Block) -> Supernet:
    """A supernet whose sub-nets keep half and a tenth of their blocks."""
    supernet = Supernet(small_network(), 2)
    for layer in supernet.masked_layers.values():
        sums = block_sums(layer.weight.detach().abs(), block).reshape(-1)
        counts = [sums.numel() // 2, sums.numel() // 10]
        layer.stack.assign([spread(m, block, layer.weight.shape) for (m,) in keep_nested([sums], counts)])
    return calibrated(supernet, noise(32, CHANNELS, SIDE, SIDE, seed=1))


@pytest.mark.parametrize("block", [Block(4, 1), Block(1, 4), Block(4, 4), Block(3, 5)])
def test_blocks_survive_the_artifact(block: Block, tmp_path: Path) -> None:
    supernet = half_and_tenth(block)
    recipe = small_recipe(subnets={"sparsities": [0.5, 0.9], "block": str(block)})
    artifact.write(tmp_path / "model.onnx", exported(supernet, recipe))
    found = artifact.read(tmp_path / "model.onnx")
    assert [(s.name, s.pattern) for s in found.manifest.subnets] == [("s50", block), ("s90", block)]
    for spec in found.manifest.layers:
        layer = supernet.masked_layers[spec.weight.removesuffix(".weight")]
        for index, mask in enumerate(found.masks(spec.weight)):
            assert np.array_equal(mask, layer.stack.mask(index).numpy())
            assert block.holds(mask)
    assert_faithful(found, supernet, noise(5, CHANNELS, SIDE, SIDE))


def test_an_artifact_whose_masks_break_its_pattern_is_refused() -> None:
    recipe = small_recipe(subnets={"sparsities": [0.5, 0.9], "block": "block 1x4"})
    with pytest.raises(ArtifactError, match=r"subnets\[0\].pattern.*'block 1x4', which the mask of layer"):
        exported(half_and_tenth(Block(4, 1)), recipe)


def test_the_manifest_says_what_was_handed_over() -> None:
    supernet = sparse(Supernet(small_network(), 2), (0.5, 0.25))
    recipe = small_recipe(subnets={"sparsities": [0.5, 0.75]}, run={"seed": 7})
    manifest = export(supernet, recipe, IMAGE, LABELS, {"s50": 0.75, "s75": 0.5}, images=100).manifest
    assert (manifest.network, manifest.labels, manifest.input) == ("cifar-resnet20", LABELS, IMAGE)
    assert [subnet.accuracy for subnet in manifest.subnets] == [0.75, 0.5]
    assert [subnet.standard_error for subnet in manifest.subnets] == [0.043301, 0.05]
    origin = manifest.provenance
    assert (origin.recipe, origin.seed, origin.dataset) == (recipe.as_dict(), 7, "digits")
    assert {"python", "torch", "onnx"} <= origin.versions.keys()
    assert not origin.synthetic


def test_flops_count_the_kept_weights_of_masked_layers_and_all_of_the_others() -> None:
    """By hand: stem and classifier are dense, each masked convolution keeps what its mask says."""
    supernet = sparse(Supernet(small_network(), 2), (0.5, 0.25))
    found = exported(supernet, small_recipe(subnets={"sparsities": [0.5, 0.75]}))
    positions = {"blocks.0": 64, "blocks.1": 16, "blocks.2": 4}
    stem, classifier = 4 * CHANNELS * 9 * 64, 16 * CLASSES
    for index, subnet in enumerate(found.manifest.subnets):
        kept = {name: int(m.stack.mask(index).sum()) for name, m in supernet.masked_layers.items()}
        expected = stem + classifier + sum(n * positions[name[:8]] for name, n in kept.items())
        assert (subnet.nonzeros, subnet.flops) == (sum(kept.values()), 2 * expected)


def test_equal_supernets_give_equal_files() -> None:
    supernet = sparse(Supernet(small_network(), 2), (0.5, 0.25))
    recipe = small_recipe()
    assert artifact.pack(exported(supernet, recipe)) == artifact.pack(exported(supernet, recipe))


def test_a_weight_that_is_not_finite_is_refused() -> None:
    supernet = Supernet(small_network(), 2)
    with torch.no_grad():
        supernet.get_parameter("network.stem.weight").view(-1)[0] = np.nan
    with pytest.raises(ArtifactError, match=r"stem.weight.*holds NaN"):
        exported(supernet, small_recipe())
