"""The table of networks: names, sizes, figures."""

import pytest
import torch

from downshift.models.errors import SpecError, UnknownName
from downshift.models.network import build, find, names

# Published figures, 10 classes: He et al. 2016 table 6 (0.27, 0.46, 0.85 M with option A, exactly
# 269,722 and so on with BatchNorm's affine parameters); a projection adds 2,560 weights and 192 affine.
PARAMETERS = {
    "cifar-resnet20": 272_474,
    "cifar-resnet32": 466_906,
    "cifar-resnet56": 855_770,
    "cifar-resnet20-padding": 269_722,
    "cifar-resnet32-padding": 464_154,
    "cifar-resnet56-padding": 853_018,
    "cifar-resnet18": 11_173_962,
    "cifar-resnet50": 23_520_842,
    "cifar-wrn22-2": 1_079_642,
    "cifar-vgg19-bn": 20_035_018,
    "cifar-mobilenet-v1": 3_217_226,
}


def parameters(name: str, *, classes: int = 10, width: float = 1.0, channels: int = 3) -> int:
    network = build(name, classes=classes, width=width, channels=channels)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_its_published_number_of_parameters(name: str) -> None:
    assert parameters(name) == PARAMETERS[name]


def test_width_two_is_the_networks_of_widths_32_64_128() -> None:
    network = build("cifar-resnet32", classes=10, width=2.0)
    assert {m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)} == {32, 64, 128}


def test_more_classes_widen_the_classifier_only() -> None:
    assert parameters("cifar-resnet20", classes=100) - parameters("cifar-resnet20") == 90 * 65


def test_input_channels_change_the_stem_only() -> None:
    assert parameters("cifar-resnet20") - parameters("cifar-resnet20", channels=1) == 2 * 16 * 9


def test_equal_seeds_give_equal_networks_and_others_do_not() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = build("cifar-resnet20", classes=10, width=0.25)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_an_unknown_name_says_what_exists() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cifar-resnet20'"):
        build("cifar-resnet-20", classes=10)


@pytest.mark.parametrize(
    ("figures", "named"),
    [
        ({"classes": 0}, "classes 0"),
        ({"classes": 10, "width": 0.0}, "width 0.0"),
        ({"classes": 10, "width": float("nan")}, "width nan"),
        ({"classes": 10, "channels": 0}, "channels 0"),
    ],
)
def test_impossible_figures_are_named(figures: dict[str, float], named: str) -> None:
    with pytest.raises(SpecError, match=named):
        build("cifar-resnet20", **figures)  # type: ignore[arg-type]


def test_every_name_of_ours_is_built_for_images_of_32_pixels() -> None:
    ours = [name for name in names() if not name.startswith("torchvision/")]
    assert set(ours) == set(PARAMETERS)
    assert {find(name).size for name in ours} == {32}


def test_a_torchvision_network_is_found_by_name_with_the_size_it_is_evaluated_at() -> None:
    assert find("torchvision/resnet50").size == 224
    assert find("torchvision/inception_v3").size == 299
    assert parameters("torchvision/resnet50", classes=1000) == 25_557_032


@pytest.mark.parametrize("name", ["resnet50", "torchvision/resnet5", "torchvision/"])
def test_a_torchvision_network_needs_its_whole_name(name: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown network '{name}'"):
        find(name)
