"""A materialized sub-net is plain ONNX and computes what the masks and norms, applied by hand, compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from downshift.models.artifact import pack, read, write
from downshift.models.errors import ArtifactError, UnknownName
from downshift.models.materialize import materialize
from tests.models.tiny_artifact import (
    CHANNELS,
    EPSILON,
    SIDE,
    tiny_artifact,
    tiny_masks,
    tiny_model,
    tiny_norms,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from downshift.models.spec import MaskEncoding

IMAGES = np.random.default_rng(5).standard_normal((4, CHANNELS, SIDE, SIDE)).astype(np.float32)


def run(model: bytes) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": IMAGES})[0])


def by_hand(index: int, subnets: int, encoding: MaskEncoding) -> NDArray[np.float64]:
    """The tiny network in numpy, double precision, from the parts that went into the artifact."""
    tensors = {proto.name: onnx.numpy_helper.to_array(proto) for proto in tiny_model().graph.initializer}
    masks, norm = tiny_masks(subnets, encoding), tiny_norms(subnets)[0][index].astype(np.float64)
    conv = (tensors["conv.weight"] * masks["conv.weight"][index]).astype(np.float64)
    fc = (tensors["fc.weight"] * masks["fc.weight"][index]).astype(np.float64)
    padded = np.pad(IMAGES.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    features = np.einsum("nchwij,ocij->nohw", windows, conv)
    scale, bias, mean, variance = norm[:, :, None, None]
    features = (features - mean) / np.sqrt(variance + EPSILON) * scale + bias
    pooled = np.maximum(features, 0).mean(axis=(2, 3))
    return np.asarray(pooled @ fc.T + tensors["fc.bias"])


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_every_sub_net_computes_what_its_masks_and_norms_say(encoding: MaskEncoding) -> None:
    artifact = tiny_artifact(4, encoding)
    for index, name in enumerate(artifact.manifest.names):
        model = materialize(artifact, name)
        onnx.checker.check_model(model, full_check=True)
        np.testing.assert_allclose(
            run(model.SerializeToString()), by_hand(index, 4, encoding), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_the_densest_is_bitwise_what_the_file_itself_computes(tmp_path: Path, encoding: MaskEncoding) -> None:
    write(tmp_path / "model.onnx", tiny_artifact(3, encoding))
    densest = materialize(read(tmp_path / "model.onnx"), "s0")
    assert run((tmp_path / "model.onnx").read_bytes()).tobytes() == run(densest.SerializeToString()).tobytes()


def test_onnxruntime_has_nothing_to_say_about_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(pack(tiny_artifact(3, "bitmaps")))
    said = capfd.readouterr()
    assert "initializer" not in said.err.lower() + said.out.lower()


def test_it_says_which_sub_net_it_is_and_carries_nothing_of_the_others() -> None:
    artifact = tiny_artifact(3)
    model = materialize(artifact, "s1")
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "downshift.network": "tiny",
        "downshift.subnet": "s1",
        "downshift.sparsity": str(artifact.manifest.subnet("s1").sparsity),
        "downshift.mean": "[0.5, 0.25, 0.125]",
        "downshift.std": "[0.5, 0.5, 1.0]",
        "downshift.artifact_sha256": artifact.manifest.sha256,
    }
    assert not model.training_info
    assert [proto.name for proto in model.graph.initializer] == [
        proto.name for proto in tiny_model().graph.initializer
    ]


def test_the_artifact_is_left_as_it_was() -> None:
    artifact = tiny_artifact(3)
    before = pack(artifact)
    materialize(artifact, "s2").graph.initializer[0].raw_data = b""
    assert pack(artifact) == before


def test_an_exported_sub_net_is_not_taken_for_an_artifact(tmp_path: Path) -> None:
    onnx.save(materialize(tiny_artifact(), "s0"), tmp_path / "s0.onnx")
    with pytest.raises(ArtifactError, match="such as an exported sub-net; give the artifact"):
        read(tmp_path / "s0.onnx")


def test_an_unknown_sub_net_lists_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown sub-net 's7'.*s0, s1, s2"):
        materialize(tiny_artifact(), "s7")
