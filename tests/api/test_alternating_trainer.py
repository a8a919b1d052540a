"""Training in a loop of one's own: what it takes, what it refuses, what it hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from downshift import AlternatingTrainer, InputSpec, Supernet
from downshift.models import artifact
from downshift.models.errors import SpecError
from downshift.runtime.engines.programs import compile_artifact, load_engines
from downshift.runtime.engines.table import load_engine
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from downshift.trainer.errors import ExportError, RecipeError
from tests.trainer import transformers
from tests.trainer.small import CHANNELS, CLASSES, SIDE, noise, small_network

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = InputSpec("image", CHANNELS, SIDE, SIDE, (0.5,) * 3, (0.25,) * 3)
STEPS = 60


def batch(side: int = SIDE) -> tuple[Tensor, Tensor]:
    return noise(8, CHANNELS, side, side), torch.arange(8) % CLASSES


def trainer(supernet: Supernet, **options: Any) -> AlternatingTrainer:
    return AlternatingTrainer(
        supernet, **{"steps": STEPS, "image": IMAGE, "classes": tuple("abcd"), **options}
    )


@pytest.mark.parametrize("pattern", ["unstructured", "block 4x1", ("unstructured", "2:4")])
@pytest.mark.parametrize("kind", ["alternating", "batch-split", "joint"])
def test_sub_nets_end_at_their_sparsity_and_are_handed_over(pattern: Any, kind: str, tmp_path: Path) -> None:
    targets = {"sparsities": (0.5, 0.75)} if isinstance(pattern, str) else {}
    supernet = Supernet(small_network(), pattern=pattern, **targets)  # type: ignore[arg-type]
    ours = trainer(supernet, step={"kind": kind}, data={"name": "noise"})
    for _ in range(STEPS):
        ours.step(*batch())
    assert all(loss > 0 for loss in ours.losses().values())
    ours.recalibrate([batch()])
    accuracies = ours.evaluate([batch()])
    ours.save(tmp_path / "model.onnx", accuracies, images=8)
    manifest = artifact.read(tmp_path / "model.onnx").manifest
    wanted = (0.5, 0.75) if targets else (0.0, 0.5)
    assert [subnet.sparsity for subnet in manifest.subnets] == pytest.approx(wanted, abs=0.01)
    assert manifest.provenance.dataset == "noise"
    assert manifest.labels == ("a", "b", "c", "d")


def test_it_takes_the_steps_it_was_made_for_and_any_loss() -> None:
    seen = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append(labels.shape)
        return nn.functional.cross_entropy(logits, labels)

    ours = trainer(Supernet(small_network(), sparsities=(0.5, 0.9)), loss=loss)
    soft = torch.full((8, CLASSES), 1 / CLASSES)
    for _ in range(STEPS):
        ours.step(batch()[0], soft)
    assert seen == [(8, CLASSES)] * STEPS
    with pytest.raises(RecipeError, match="step 61: this trainer was made for 60 steps"):
        ours.step(*batch())


def test_what_cannot_be_is_refused_before_the_first_step() -> None:
    with pytest.raises(SpecError, match="no targets: make it with sparsities"):
        trainer(Supernet(small_network(), 2))
    with pytest.raises(SpecError, match="count 2: sparsities and patterns give"):
        Supernet(small_network(), 2, sparsities=(0.5, 0.9))
    with pytest.raises(SpecError, match="2 sparsities for 1 patterns"):
        Supernet(small_network(), sparsities=(0.5, 0.9), pattern=("2:4",))
    with pytest.raises(RecipeError, match=r"unknown recipe key 'masks.intervall'"):
        trainer(Supernet(small_network(), sparsities=(0.5,)), masks={"intervall": 3})
    with pytest.raises(RecipeError, match="the supernet has its sub-nets already"):
        trainer(Supernet(small_network(), sparsities=(0.5,)), subnets={"sparsities": [0.9]})
    with pytest.raises(ExportError, match=r"manifest.labels: are 2"):
        trainer(Supernet(small_network(), sparsities=(0.5,)), classes=("a", "b"))


@pytest.mark.parametrize("make", transformers.NETWORKS)
def test_networks_of_linear_layers_train_and_onnxruntime_serves_them(make: Any, tmp_path: Path) -> None:
    """Trained for a few steps; where the sparse engine declines, the other serves what was trained."""
    torch.manual_seed(0)
    side = transformers.SIDE
    supernet = Supernet(make(), sparsities=(0.5, 0.8))
    ours = trainer(
        supernet,
        image=InputSpec("image", CHANNELS, side, side, (0.5,) * 3, (0.25,) * 3),
        steps=24,
        optimizer={"lr": 0.01},
    )
    for _ in range(24):
        ours.step(*batch(side))
    assert [round(supernet.sparsity(index), 2) for index in range(2)] == [0.5, 0.8]
    ours.save(tmp_path / "model.onnx", ours.evaluate([batch(side)]), images=8)
    found = artifact.read(tmp_path / "model.onnx")
    sparse = load_engine("sparse", tmp_path).compile(found, ["s50", "s80"], threads=1)
    assert all(isinstance(program, UnsupportedModel) for program in sparse.values())
    programs = compile_artifact(found, load_engines(("onnxruntime",), JsonCache(tmp_path)), threads=1)
    images = batch(side)[0]
    for index, name in enumerate(("s50", "s80")):
        supernet.select(index)
        with torch.no_grad():
            expected = supernet.eval()(images).numpy()
        np.testing.assert_allclose(programs.get(name).run(images.numpy()), expected, rtol=0, atol=1e-4)
