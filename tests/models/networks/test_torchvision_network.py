"""torchvision's networks by name."""

import pytest
import torch

from downshift.models.errors import SpecError
from downshift.models.networks.torchvision_network import architectures, input_size, make


def test_classification_networks_are_listed_and_others_are_not() -> None:
    assert {"resnet50", "mobilenet_v2", "vit_b_16"} <= set(architectures())
    assert not any("rcnn" in name or "deeplab" in name or "quantized" in name for name in architectures())


def test_a_network_with_auxiliary_heads_trains_on_one_output() -> None:
    network = make("googlenet", classes=5).train()
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 5)


def test_a_transformer_reads_the_size_it_is_listed_with() -> None:
    with torch.device("meta"):
        network = make("vit_h_14", classes=5)
        size = input_size("vit_h_14")
        assert network(torch.empty(1, 3, size, size)).shape == (1, 5)


@pytest.mark.parametrize(("figure", "value"), [("width", 2.0), ("channels", 1)])
def test_figures_that_torchvision_fixes_are_refused(figure: str, value: float) -> None:
    with pytest.raises(SpecError, match=rf"{figure} {value}: torchvision's resnet18"):
        make("resnet18", classes=5, **{figure: value})  # type: ignore[arg-type]
