"""Whole networks as torch exports them: lowered, executed by the oracle, and held to onnxruntime."""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from downshift.models import network
from downshift.runtime.lowering.graph import ChannelAffine, Conv, GlobalAveragePool, Linear, Pad, Scale, Slice
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from tests.runtime.small_onnx import answer, normal

OURS = [name for name in network.names() if not name.startswith("torchvision/")]


def trained_looking(name: str, width: float) -> nn.Module:
    """A narrow network whose BatchNorms are not the identity."""
    torch.manual_seed(0)
    made = network.build(name, classes=5, width=width)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
            module.get_buffer("running_mean").normal_(0, 0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    return made.eval()


def exported(module: nn.Module, size: int, form: str) -> onnx.ModelProto:
    """The module in one of the forms exporters give: "optimised", "plain" or "traced"."""
    image = torch.zeros(2, 3, size, size)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if form == "traced":
                file: Any = io.BytesIO()
                options: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
                torch.onnx.export(module, (image,), file, dynamo=False, do_constant_folding=False, **options)
                return onnx.load_from_string(file.getvalue())
            program = torch.onnx.export(
                module,
                (image,),
                dynamo=True,
                optimize=form == "optimised",
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
            assert program is not None
            return program.model_proto
    finally:
        logging.disable(logging.NOTSET)


def lowered(name: str, size: int, form: str, width: float = 0.25) -> Counter[type]:
    """How many operations of each kind; answers are checked for three images against onnxruntime."""
    model = exported(trained_looking(name, width), size, form)
    graph = lower(model)
    images = normal(3, 3, size, size)
    expected = answer(model, images)
    error = np.abs(run(graph, images) - expected).max() / np.abs(expected).max()
    assert error < 1e-5
    return Counter(type(operation) for operation in graph.operations)


@pytest.mark.parametrize("name", OURS)
def test_every_network_of_ours_lowers_without_a_norm_or_activation_left_over(name: str) -> None:
    kinds = lowered(name, 32 if "vgg" in name else 16, "traced")
    pre_activation = 9 if "wrn" in name else 0
    assert kinds[ChannelAffine] == pre_activation
    assert kinds[Conv] + kinds[Linear] > sum(kinds.values()) / 2


@pytest.mark.parametrize("form", ["plain", "optimised"])
@pytest.mark.parametrize("name", ["cifar-resnet20-padding", "cifar-wrn22-2"])
def test_every_form_of_an_export_lowers_alike(name: str, form: str) -> None:
    assert lowered(name, 8, form) == lowered(name, 8, "traced")


def test_shortcuts_by_padding_are_one_slice_and_one_pad_each() -> None:
    kinds = lowered("cifar-resnet20-padding", 8, "traced")
    assert (kinds[Conv], kinds[Slice], kinds[Pad]) == (19, 2, 2)


@pytest.mark.parametrize(
    ("architecture", "convolutions", "factors"),
    [
        ("resnet18", 20, 0),
        ("resnet50", 53, 0),
        ("mobilenet_v2", 52, 0),
        ("efficientnet_b0", 81, 16),
        ("regnet_y_400mf", 85, 16),
    ],
)
def test_networks_of_torchvision_lower(architecture: str, convolutions: int, factors: int) -> None:
    kinds = lowered(f"torchvision/{architecture}", 32, "traced", width=1.0)
    assert (kinds[Conv], kinds[Scale]) == (convolutions, factors)
    assert kinds[GlobalAveragePool] == factors + 1
