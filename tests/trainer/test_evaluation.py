"""Accuracy by hand, and BatchNorm statistics that are the plain mean over what was seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from downshift.trainer.evaluation import accuracy, recalibrate
from tests.trainer.small import CHANNELS, SIDE, noise, small_supernet


class Echo(nn.Module):
    """Takes the images for logits, but only in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return x


def test_accuracy_counts_images_not_batches() -> None:
    right, wrong = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    one = torch.tensor([1])
    batches = [(torch.cat([right, right, right]), one.repeat(3)), (wrong, one)]
    network = Echo()
    assert accuracy(network, batches) == 0.75
    assert network.training
    assert accuracy(network, []) == 0.0


def test_recalibration_replaces_the_statistics_of_one_sub_net_alone() -> None:
    supernet = small_supernet(2)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    batches = [(noise(16, CHANNELS, SIDE, SIDE, seed=seed), torch.zeros(16)) for seed in range(4)]
    recalibrate(supernet, 1, iter(batches))
    changed = {name for name, t in supernet.state_dict().items() if not torch.equal(t, before[name])}
    assert changed
    assert all(".norms.1." in name and "weight" not in name and "bias" not in name for name in changed)
    norm = next(iter(supernet.switchable_norms.values())).norms[1]
    assert norm.momentum == 0.1
    assert norm.num_batches_tracked == 4
    seen: list[Tensor] = []
    with torch.no_grad():
        supernet.select(1)
        handle = norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].mean((0, 2, 3))))
        supernet.eval()
        for images, _ in batches:
            supernet(images)
        handle.remove()
    torch.testing.assert_close(norm.get_buffer("running_mean"), torch.stack(seen).mean(0))


@pytest.mark.parametrize("index", [0, 1])
def test_recalibration_leaves_the_supernet_training(index: int) -> None:
    supernet = small_supernet(2)
    recalibrate(supernet, index, iter([(noise(4, CHANNELS, SIDE, SIDE), torch.zeros(4))]))
    assert all(module.training for module in supernet.modules())
