"""Synthetic artifacts have the sub-nets that were asked for, run, and never pass for trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks.harness.random_artifact import main, random_masks
from downshift.models.artifact import read
from downshift.models.materialize import materialize
from downshift.models.pattern import Block, Unstructured
from downshift.runtime import _kernels
from downshift.runtime.engines.exported import dense_model
from downshift.runtime.engines.integer_network import network
from downshift.runtime.engines.sparse import SparseEngine, SparseProgram
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.lowering import integer_reference, reference
from downshift.runtime.lowering.graph import Conv
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import calibrated, spelled_out
from downshift.runtime.lowering.shrink import shrunk

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact

TINY = ["cifar-resnet20", "--width", "0.25", "--size", "8", "--classes", "4"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("synthetic") / "model.onnx"
    assert main([*TINY, "--out", str(path), "--allocation", "erk", "--sparsity", "0", "0.5", "0.98"]) == 0
    return read(path)


def test_random_masks_are_nested_and_keep_exactly_their_share() -> None:
    torch.manual_seed(3)
    first, second, third = random_masks((1000,), [1.0, 0.25, 0.013], Unstructured())
    assert [int(mask.sum()) for mask in (first, second, third)] == [1000, 250, 13]
    assert not bool((third & ~second).any())


def test_the_manifest_says_that_nothing_was_learned(artifact: Artifact) -> None:
    assert artifact.manifest.provenance.synthetic
    assert artifact.manifest.provenance.recipe.keys() == {"network", "subnets", "masks"}
    assert [subnet.accuracy for subnet in artifact.manifest.subnets] == [None] * 3


def test_accuracies_may_be_made_up_and_the_manifest_still_says_that_nothing_was_learned(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.onnx"
    given = ["--out", str(path), "--sparsity", "0.5", "0.9", "--accuracy", "0.7", "0.6"]
    assert main([*TINY, *given]) == 0
    manifest = read(path).manifest
    assert [subnet.accuracy for subnet in manifest.subnets] == [0.7, 0.6]
    assert manifest.provenance.synthetic


def test_as_many_accuracies_as_sub_nets_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*TINY, "--out", "x.onnx", "--sparsity", "0.5", "0.9", "--accuracy", "0.7"])
    assert caught.value.code == 2
    assert "--accuracy gives 1 ratios for 2 sub-nets" in capsys.readouterr().err


def test_sub_nets_have_the_sparsities_that_were_asked_for_shared_out_by_erk(artifact: Artifact) -> None:
    assert artifact.manifest.names == ("s00", "s50", "s98")
    assert [subnet.sparsity for subnet in artifact.manifest.subnets] == pytest.approx(
        [0, 0.5, 0.98], abs=2e-3
    )
    kept = [artifact.masks(layer.weight)[2].mean() for layer in artifact.manifest.layers]
    assert max(kept) > 2 * min(kept)


def test_every_sub_net_runs_with_logits_of_ordinary_size_that_depend_on_the_image(artifact: Artifact) -> None:
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    answers = []
    for name in artifact.manifest.names:
        session = onnxruntime.InferenceSession(materialize(artifact, name).SerializeToString())
        answers.append(np.asarray(session.run(None, {"image": images})[0]))
        assert answers[-1].shape == (16, 4)
        assert 1e-3 < answers[-1].std(axis=0).min() < answers[-1].std() < 1e3
    assert np.abs(answers[0] - answers[1]).max() > 1e-2


@pytest.mark.parametrize("block", [Block(4, 1), Block(1, 4), Block(4, 4)])
@pytest.mark.parametrize("width", ["0.25", "0.4"])  # 4, 8, 16 channels, or 6, 13, 26: partial blocks
def test_blocks_are_whole_and_every_engine_agrees_on_them(block: Block, width: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    options = ["--out", str(path), "--pattern", str(block), "--sparsity", "0", "0.9"]
    assert main([*TINY, "--width", width, *options]) == 0
    artifact = read(path)
    assert [subnet.pattern for subnet in artifact.manifest.subnets] == [block] * 2
    assert artifact.manifest.subnets[1].sparsity == pytest.approx(0.9, abs=0.02)
    for layer in artifact.manifest.layers:
        outputs, inputs, *_ = layer.shape
        kept = artifact.masks(layer.weight)[1]
        for row in range(0, outputs, block.rows):
            for column in range(0, inputs, block.columns):
                one = kept[row : row + block.rows, column : column + block.columns]
                assert (one == one[:1, :1]).all()
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(materialize(artifact, "s90").SerializeToString())
    expected = np.asarray(session.run(None, {"image": images})[0])
    graph = lower(materialize(artifact, "s90"))
    np.testing.assert_allclose(reference.run(graph, images), expected, rtol=1e-4, atol=1e-4)
    sparse = SparseEngine(JsonCache(tmp_path)).compile(artifact, ["s90"], threads=1)["s90"]
    assert isinstance(sparse, SparseProgram)
    np.testing.assert_allclose(sparse.run(images), expected, rtol=1e-4, atol=1e-4)
    plain = spelled_out(graph)
    values = reference.run_all(plain, images)
    ranges = {plain.names[t]: (float(values[t].min()), float(values[t].max())) for t in calibrated(plain)}
    integers = integer(graph, ranges)
    for isa in _kernels.int8_isas():
        found = network(integers).compile(_kernels.Workers(1), isa).run(images)
        np.testing.assert_allclose(found, integer_reference.run(integers, images), rtol=1e-5, atol=1e-5)


def test_a_channel_pattern_makes_what_engines_run_narrower_in_multiples_of_16(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    wide = ["cifar-resnet18", "--width", "0.5", "--size", "8", "--classes", "4"]
    assert main([*wide, "--out", str(path), "--pattern", "channel", "--sparsity", "0", "0.75"]) == 0
    artifact = read(path)
    whole, sparse = (shrunk(lower(materialize(artifact, name))) for name in ("s00", "s75"))
    assert sparse.weights < 0.3 * whole.weights
    widths = {len(one.weight) for one in sparse.operations if isinstance(one, Conv)}
    assert widths == {16, 32, 64, 128}
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(materialize(artifact, "s75").SerializeToString())
    small = onnxruntime.InferenceSession(dense_model(artifact, "s75"))
    np.testing.assert_allclose(
        small.run(None, {small.get_inputs()[0].name: images})[0],
        session.run(None, {"image": images})[0],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["resnet999"], "unknown network 'resnet999'"),
        (["cifar-resnet20", "--sparsity", "0.9", "0.5"], "the densest first"),
        (["cifar-resnet20", "--width", "-1"], "network.width"),
        (["cifar-resnet20", "--classes", "0"], "classes 0"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    change: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*change, "--out", str(tmp_path / "model.onnx")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert problem in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "    python -m benchmarks.harness.random_artifact resnet18 --out" in capsys.readouterr().out
