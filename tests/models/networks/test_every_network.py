"""What every network must pass: its shapes, and an ONNX export that onnxruntime evaluates as torch does."""

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from downshift.models.network import build, names

OURS = [name for name in names() if not name.startswith("torchvision/")]
TORCHVISION = ["torchvision/resnet18", "torchvision/mobilenet_v2"]


def noise(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def calibrated(network: nn.Module, images: Tensor) -> nn.Module:
    """The network in evaluation mode with BatchNorm statistics of `images`.

    Without them a deep network's activations grow by a factor a block, and so does float32's rounding.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def exported_logits(network: nn.Module, images: Tensor) -> Tensor:
    """onnxruntime's logits of `images`, from an export that leaves the batch size free."""
    program = torch.onnx.export(
        network, (images[:2],), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    assert program is not None
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(logits)


@pytest.mark.parametrize("name", OURS)
def test_onnxruntime_agrees_with_torch(name: str) -> None:
    images = noise(5, 3, 32, 32)
    network = calibrated(build(name, classes=10, width=0.25), images)
    torch.testing.assert_close(exported_logits(network, images), network(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", TORCHVISION)
def test_onnxruntime_agrees_with_torchvisions_networks(name: str) -> None:
    images = noise(3, 3, 64, 64)
    network = calibrated(build(name, classes=7), images)
    torch.testing.assert_close(exported_logits(network, images), network(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, 28), (3, 33, 17)], ids=["one-channel", "odd-sides"]
)
def test_images_of_other_sizes_and_channels_are_accepted(
    name: str, channels: int, height: int, width: int
) -> None:
    network = build(name, classes=7, width=0.25, channels=channels).eval()
    assert network(noise(2, channels, height, width)).shape == (2, 7)


@pytest.mark.parametrize("name", [name for name in OURS if name != "cifar-vgg19-bn"])
def test_images_of_eight_pixels_are_accepted(name: str) -> None:
    assert build(name, classes=10, width=0.25, channels=1).eval()(noise(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", OURS)
def test_the_narrowest_network_still_has_a_channel_everywhere(name: str) -> None:
    assert build(name, classes=2, width=0.01).eval()(noise(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize("name", OURS)
def test_convolutions_keep_the_scale_of_their_input(name: str) -> None:
    """He initialisation: logits of a calibrated network are neither vanishing nor exploding."""
    torch.manual_seed(0)
    images = noise(16, 3, 32, 32)
    logits = calibrated(build(name, classes=10, width=0.5), images)(images)
    assert 0.01 < logits.std().item() < 20.0
