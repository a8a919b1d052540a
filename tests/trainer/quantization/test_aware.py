"""Quantisation-aware training: what a rounded supernet computes, and a run with such epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from downshift.models.layers.dataflow import norm_after
from downshift.models.materialize import materialize
from downshift.models.spec import InputSpec
from downshift.runtime.lowering.graph import Conv
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import quantized_weight
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.export import export
from downshift.trainer.progress import NullReporter
from downshift.trainer.quantization.aware import QuantizationAware
from downshift.trainer.quantization.fake_quantize import int8_weight
from tests.trainer.small import CHANNELS, CLASSES, SIDE, noise, small_recipe, small_supernet
from tests.trainer.test_run import recipe, small_run

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.supernet import Supernet
    from downshift.trainer.run import TrainingRun

IMAGE = InputSpec("image", CHANNELS, SIDE, SIDE, (0.5,) * CHANNELS, (0.25,) * CHANNELS)
IMAGES = noise(16, CHANNELS, SIDE, SIDE, seed=1)


def trained_supernet() -> Supernet:
    """Two sub-nets with masks and BatchNorms of their own, in evaluation mode."""
    supernet = small_supernet(2)
    generator = torch.Generator().manual_seed(0)
    for layer in supernet.masked_layers.values():
        layer.stack.assign([layer.weight > -99, layer.weight > 0])
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
                assert module.running_var is not None
                module.running_var.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
    return supernet.eval()


def measured(supernet: Supernet) -> QuantizationAware:
    aware = QuantizationAware(supernet)
    for index in range(supernet.count):
        aware.measure(index, [(IMAGES, torch.zeros(16))])
    supernet.eval()
    return aware


def test_every_convolution_of_a_residual_network_is_followed_by_its_batch_norm() -> None:
    pairs = norm_after(small_supernet(2).network)
    assert len(pairs) == len(QuantizationAware(small_supernet(2)).convolutions)
    assert pairs["stem"] == "norm"
    assert (pairs["blocks.1.conv2"], pairs["blocks.1.shortcut.0"]) == (
        "blocks.1.norm2",
        "blocks.1.shortcut.1",
    )


def test_training_sees_the_integers_that_the_runtime_derives_from_the_artifact() -> None:
    supernet = trained_supernet()
    aware = QuantizationAware(supernet)
    chosen = small_recipe(subnets={"sparsities": [0.0, 0.5]})
    labels = tuple(map(str, range(CLASSES)))
    artifact = export(supernet, chosen, IMAGE, labels, dict.fromkeys(chosen.names, 0.5))
    for index, name in enumerate(chosen.names):
        graph = lower(materialize(artifact, name))
        theirs = [quantized_weight(one.weight) for one in graph.operations if isinstance(one, Conv)]
        supernet.select(index)
        mine = [int8_weight(conv.weight, aware.factor(at)) for at, conv in aware.convolutions.items()]
        assert len(mine) == len(theirs) > 3
        for ours, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(ours.values.numpy(), other.values)
            np.testing.assert_array_equal(ours.scale.numpy(), other.scale)


def test_a_rounded_supernet_is_near_the_float_one_and_detaching_restores_it() -> None:
    supernet = trained_supernet()
    aware = measured(supernet)
    for index in range(2):
        supernet.select(index)
        exact = supernet(IMAGES)
        aware.attach()
        rounded = supernet(IMAGES)
        aware.detach()
        assert supernet(IMAGES).equal(exact)
        assert 0 < (rounded - exact).abs().max() < 0.1 * (exact.max() - exact.min())


def finishing_run(tmp_path: Path, epochs: int = 2) -> TrainingRun:
    return small_run(recipe(run={"batch_size": 16, "epochs": 4, "recalibrate": 2, "qat_epochs": epochs}))


def stepped(run: TrainingRun, tmp_path: Path, to: int) -> TrainingRun:
    """The run after training to step `to`, the end of an epoch."""
    whole, run.steps = run.steps, to
    finish = run.finish
    run.finish = lambda: None  # type: ignore[assignment,method-assign,return-value]
    run.train(tmp_path, None, NullReporter())
    run.steps, run.finish = whole, finish  # type: ignore[method-assign]
    return run


def test_finishing_epochs_leave_masks_and_statistics_alone_and_change_weights(tmp_path: Path) -> None:
    run = stepped(finishing_run(tmp_path), tmp_path, 16)
    assert run.aware is None
    stepped(run, tmp_path, 20)
    assert run.aware is not None
    before = {name: tensor.clone() for name, tensor in run.supernet.state_dict().items()}
    stepped(run, tmp_path, 24)
    changed = {name for name, tensor in run.supernet.state_dict().items() if not tensor.equal(before[name])}
    assert any(name.endswith("weight") for name in changed)
    assert not any("levels" in name or "running" in name or "tracked" in name for name in changed)
    outcome = run.train(tmp_path, None, NullReporter())
    assert not any("forward" in vars(conv) for conv in run.aware.convolutions.values())
    assert set(outcome.validation) == set(run.recipe.names)


@pytest.mark.parametrize("cut", [16, 20])
def test_finishing_epochs_resume_bit_exactly(tmp_path: Path, cut: int) -> None:
    straight = stepped(finishing_run(tmp_path), tmp_path, 24)
    broken = stepped(finishing_run(tmp_path), tmp_path, cut)
    checkpoints.save(tmp_path / "c.safetensors", broken.checkpoint(0))
    resumed = finishing_run(tmp_path)
    resumed.resume(checkpoints.load(tmp_path / "c.safetensors"))
    stepped(resumed, tmp_path, 24)
    mine, theirs = straight.checkpoint(0).tensors, resumed.checkpoint(0).tensors
    assert mine.keys() == theirs.keys()
    assert "quantization/ranges" in mine
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def test_their_learning_rate_begins_at_a_hundredth(tmp_path: Path) -> None:
    run = finishing_run(tmp_path)
    assert run.rate.at(16) == pytest.approx(0.01 * run.recipe.optimizer.lr)
    assert run.rate.at(23) < run.rate.at(16)
