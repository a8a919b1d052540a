"""A model in this process: what it answers, and what it refuses."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import downshift
from downshift.api.errors import ApiError, Contradiction, InvalidBudget, InvalidImages, ModelClosed
from downshift.models import artifact
from downshift.models.encode import encode
from downshift.models.errors import ArtifactError, UnknownName
from downshift.models.materialize import materialize
from downshift.runtime.errors import AccuracyUnavailable, DeadlineImpossible, InvalidRequest
from tests.models.tiny_artifact import tiny_artifact, tiny_manifest, tiny_masks, tiny_model, tiny_norms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INPUTS = np.random.default_rng(1).standard_normal((4, 3, 5, 5)).astype(np.float32)
ACCURACIES = {"s0": 0.9, "s1": 0.8, "s2": 0.5}
TINY = tiny_artifact()
SUBNETS = tuple(replace(subnet, accuracy=ACCURACIES[subnet.name]) for subnet in TINY.manifest.subnets)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with three sub-nets of known accuracy."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    masks = tiny_masks(3)
    manifest = replace(tiny_manifest(masks), subnets=SUBNETS)
    artifact.write(path, encode(tiny_model(), manifest, masks, tiny_norms(3)))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> Iterator[downshift.Model]:
    with downshift.load(file, threads=1, cache_dir=file.parent) as model:
        yield model


def test_every_sub_net_answers_what_plain_onnxruntime_answers(model: downshift.Model) -> None:
    for subnet in TINY.manifest.names:
        session = onnxruntime.InferenceSession(materialize(TINY, subnet).SerializeToString())
        [expected] = session.run(None, {"image": INPUTS})
        found = model.predict(INPUTS, subnet=subnet)
        assert found.subnet == subnet
        np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)
        assert [best.name for best in found.best] == [model.labels[i] for i in expected.argmax(axis=1)]


def test_a_prediction_says_which_sub_net_gave_it(model: downshift.Model) -> None:
    found = model.predict(INPUTS[:1])
    assert (found.subnet, found.accuracy, found.sparsity) == ("s0", 0.9, SUBNETS[0].sparsity)
    assert found.engine in {m.engine for m in model.profile().measurements}
    assert found.seconds > 0
    [ranked] = found.labels
    assert {label.name for label in ranked} == {"cat", "dog", "bird"}
    assert math.isclose(sum(label.probability for label in ranked), 1.0)
    assert [label.probability for label in ranked] == sorted((x.probability for x in ranked), reverse=True)


def test_a_budget_and_an_accuracy_floor_are_kept(model: downshift.Model) -> None:
    assert model.predict(INPUTS, budget_ms=10_000, min_accuracy=0.85).subnet == "s0"
    with pytest.raises(DeadlineImpossible, match="latency budget"):
        model.predict(INPUTS, budget_ms=1e-6)
    with pytest.raises(AccuracyUnavailable, match=r"0\.95.*at most 0\.9"):
        model.predict(INPUTS, min_accuracy=0.95)


def test_it_says_what_it_is(model: downshift.Model) -> None:
    assert model.subnets == SUBNETS
    assert model.labels == ("cat", "dog", "bird")
    assert model.input.shape == (3, 5, 5)
    assert model.profile().names == ("s0", "s1", "s2")
    assert repr(model) == "<downshift.Model tiny: s0, s1, s2>"


def test_threads_may_share_it(model: downshift.Model) -> None:
    expected, found = model.predict(INPUTS, subnet="s1").logits, {}

    def ask(index: int) -> None:
        found[index] = model.predict(INPUTS, subnet="s1").logits

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == list(range(8))
    for logits in found.values():
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("budget", [0, -5, math.nan, math.inf])
def test_a_budget_that_cannot_be_is_refused(model: downshift.Model, budget: float) -> None:
    with pytest.raises(InvalidBudget, match=f"budget_ms={budget}: give milliseconds above 0, such as 5"):
        model.predict(INPUTS, budget_ms=budget)


def test_wrong_input_is_refused_with_value_and_remedy(model: downshift.Model) -> None:
    with pytest.raises(UnknownName, match=r"unknown sub-net 's7': choose one of s0, s1, s2"):
        model.predict(INPUTS, subnet="s7")
    with pytest.raises(
        Contradiction, match=r"subnet='s2' has accuracy 0\.5, min_accuracy=0\.8 asks for more"
    ):
        model.predict(INPUTS, subnet="s2", min_accuracy=0.8)
    with pytest.raises(InvalidImages, match=r"array of float32 \[4, 3, 5\]: give float32 \[n, 3, 5, 5\]"):
        model.predict(INPUTS[..., 0])
    with pytest.raises(InvalidRequest, match="nan"):
        model.predict(INPUTS * np.float32(np.nan))
    with pytest.raises(InvalidRequest, match=r"accuracy floor 1\.5: give a ratio in \[0, 1\]"):
        model.predict(INPUTS, min_accuracy=1.5)


def test_a_closed_model_says_so(file: Path) -> None:
    with downshift.load(file, threads=1, cache_dir=file.parent) as model:
        model.predict(INPUTS)
    model.close()
    assert repr(model).endswith(", closed>")
    with pytest.raises(ModelClosed, match="load it again"):
        model.predict(INPUTS)
    assert issubclass(ModelClosed, ApiError)
    assert issubclass(ApiError, downshift.DownshiftError)


def test_loading_tells_how_far_it_is(file: Path) -> None:
    heard: list[float] = []
    with downshift.load(
        file, threads=1, cache_dir=file.parent, progress=lambda fraction, _: heard.append(fraction)
    ):
        assert heard == sorted(heard)
        assert heard[-1] == 1.0


def test_what_is_neither_a_file_nor_bundled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown file or bundled network 'cifar10': .*cifar10-resnet20"):
        downshift.load("cifar10")
    with pytest.raises(ArtifactError, match=r"absent\.onnx"):
        downshift.load(tmp_path / "absent.onnx")
    Image.new("RGB", (5, 5)).save(tmp_path / "picture.png")
    with pytest.raises(ArtifactError, match=r"picture\.png"):
        downshift.load(tmp_path / "picture.png")
