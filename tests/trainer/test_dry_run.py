"""What would fail at the end of a run fails before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from downshift.models.spec import InputSpec
from downshift.models.supernet import LayerRule, Supernet
from downshift.trainer import train as training
from downshift.trainer.dry_run import dry_run_export
from downshift.trainer.errors import ExportError
from downshift.trainer.run import TrainingRun
from tests.trainer.small import CHANNELS, CLASSES, SIDE, small_network, small_recipe
from tests.trainer.test_run import small_run

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = InputSpec("image", CHANNELS, SIDE, SIDE, (0.5,) * 3, (0.25,) * 3)


class Described:
    """Class names and an input, as data sets have."""

    def __init__(self, *labels: str, image: InputSpec = IMAGE) -> None:
        self.labels = labels
        self.image = image


def dry_run(data: Any, network: nn.Module | None = None) -> None:
    dry_run_export(Supernet(network or small_network(), 2), small_recipe(), data.image, data.labels)


@pytest.mark.parametrize(
    "label", ["cat\ndog", "bell\a", "caf\udce9", "x" * 5000], ids=["newline", "bell", "not UTF-8", "long"]
)
def test_a_class_name_that_no_artifact_can_hold_is_refused(label: str) -> None:
    with pytest.raises(ExportError, match="nothing was trained, as the result") as caught:
        dry_run(Described("a", "b", label, "d"))
    assert "\n" not in str(caught.value)


def test_as_many_labels_as_the_network_has_outputs_are_needed() -> None:
    with pytest.raises(ExportError, match=r"manifest.labels: are 3"):
        dry_run(Described("a", "b", "c"))


class Wayward(nn.Module):
    """Asks a tensor which way to go, which no ONNX graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 4, 3)
        self.body = nn.Conv2d(4, CLASSES, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x)).mean((2, 3))
        return x if x.sum() > 0 else -x


def test_a_network_that_onnx_cannot_express_is_named() -> None:
    with pytest.raises(ExportError, match=r"network cifar-resnet20 cannot be written as ONNX \(") as caught:
        dry_run(Described(*"abcd"), Wayward())
    assert str(caught.value).isprintable()  # one line, and none of torch's colours
    assert "data-dependent" in str(caught.value)


@pytest.mark.parametrize("patterns", [["2:4", "1:4"], ["unstructured", "1:8"]])
def test_masks_that_obey_no_pattern_yet_are_no_reason_to_refuse(patterns: list[str]) -> None:
    recipe = small_recipe(subnets={"patterns": patterns})
    dry_run_export(Supernet(small_network(), 2), recipe, IMAGE, tuple("abcd"))


class Standardised(nn.Conv2d):
    """Weight standardisation: what is multiplied is not the weight, and its zeros are none."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / 0.1
        return nn.functional.conv2d(x, weight, self.bias)


class Odd(nn.Module):
    """A standardised convolution, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 4, 3)
        self.standardised = Standardised(4, CLASSES, 3)
        self.idle = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.standardised(self.stem(x)).mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("dense", "said"),
    [
        (("idle",), r"weight standardised.weight is changed by .*masks.dense = \['standardised'\]"),
        (("standardised",), r"weight idle.weight takes no part .*masks.dense = \['idle'\]"),
    ],
)
def test_a_weight_that_no_artifact_could_hold_as_it_is_is_named(dense: tuple[str, ...], said: str) -> None:
    supernet = Supernet(Odd(), 2, rule=LayerRule(dense=dense))
    with pytest.raises(ExportError, match=said):
        dry_run_export(supernet, small_recipe(), IMAGE, tuple("abcd"))


def test_a_dry_run_draws_no_random_number_and_changes_no_weight() -> None:
    run = small_run(small_recipe(run={"batch_size": 16}))
    before, weights = torch.get_rng_state(), {n: t.clone() for n, t in run.supernet.state_dict().items()}
    dry_run_export(run.supernet, run.recipe, run.data.image, run.data.labels)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.supernet.state_dict().items())
    assert run.supernet.training


def test_a_run_that_could_not_be_exported_takes_no_step_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("a step was taken")

    real = training.training_data.load

    def load(*args: Any) -> Any:
        data = real(*args)
        data.labels = ("zero\n", *data.labels[1:])  # type: ignore[misc]
        return data

    monkeypatch.setattr(training.training_data, "load", load)
    monkeypatch.setattr(TrainingRun, "train", never)
    with pytest.raises(ExportError, match=r"manifest.labels\[0\]"):
        training.train(small_recipe(), tmp_path / "run", data_dir=tmp_path, device="cpu")
    assert list(tmp_path.iterdir()) == []
