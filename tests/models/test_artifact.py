"""An artifact comes back from its file as it was, the file's bytes are fixed, and failures leave nothing."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downshift.models.artifact import MANIFEST_KEY, pack, read, unpack, write
from downshift.models.encode import encode
from downshift.models.errors import ArtifactError, UnknownName
from downshift.models.manifest_json import loads
from tests.models.tiny_artifact import (
    LAYERS,
    tiny_artifact,
    tiny_manifest,
    tiny_masks,
    tiny_model,
    tiny_norms,
)

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact
    from downshift.models.spec import MaskEncoding


def golden_artifact(encoding: MaskEncoding) -> Artifact:
    """An artifact of three sub-nets whose every number is written here, none drawn at random."""
    model = tiny_model()
    for proto in model.graph.initializer:
        values = np.arange(np.prod(proto.dims), dtype=np.float32).reshape(proto.dims) / 8 + 1
        proto.CopyFrom(onnx.numpy_helper.from_array(values, proto.name))
    masks = {}
    for layer in LAYERS:
        order = np.arange(layer.size).reshape(layer.shape)
        densest = order % 4 != 3 if encoding == "bitmaps" else order >= 0
        masks[layer.weight] = np.stack([densest, order % 2 == 1, order % 4 == 1])
    norms = [np.arange(3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4)]
    return encode(model, tiny_manifest(masks, encoding), masks, norms)


def stack_of(artifact: Artifact) -> dict[str, onnx.TensorProto]:
    container = onnx.ModelProto.FromString(pack(artifact))
    return {proto.name: proto for proto in container.training_info[0].initialization.initializer}


def test_golden_stacks_of_nested_masks() -> None:
    stack = stack_of(golden_artifact("levels"))
    assert set(stack) == {
        "downshift.levels/conv.weight",
        "downshift.levels/fc.weight",
        "downshift.norm/bn.weight",
    }
    # Levels 1 3 1 2 repeat, two bits each, lowest first: 10_01_11_01.
    assert stack["downshift.levels/conv.weight"].raw_data == b"\x9d" * 27
    assert stack["downshift.levels/fc.weight"].raw_data == b"\x9d\x9d\x9d"
    norm = stack["downshift.norm/bn.weight"]
    assert list(norm.dims) == [2, 4, 4]
    assert norm.raw_data == np.arange(16, 48, dtype="<f4").tobytes()


def test_golden_stacks_of_independent_masks() -> None:
    artifact = golden_artifact("bitmaps")
    stack = stack_of(artifact)
    fc = stack["downshift.bitmaps/fc.weight"]
    assert list(fc.dims) == [3, 2]
    assert fc.raw_data == bytes([0x77, 0x07, 0xAA, 0x0A, 0x22, 0x02])
    assert stack["downshift.rest/fc.weight"].raw_data == np.array([1.375, 1.875, 2.375], "<f4").tobytes()
    fc_initializer = next(proto for proto in artifact.model.graph.initializer if proto.name == "fc.weight")
    assert onnx.numpy_helper.to_array(fc_initializer)[:, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("encoding", "seal", "file"),
    [
        (
            "levels",
            "7bd5814e7c922adb98bda42c0270f38d2e6cef9bae30c9f8361e81d7038a417a",
            "129ab3f94429756ee7f14f2431e50e90eb653fbf4adcebe3a06035639c78393f",
        ),
        (
            "bitmaps",
            "b2beda66df2d3b3c7e38f0d226d6bd9dd9b2191369c47ba7cb430db8db2fc27e",
            "5c33fbf2a94f8581437a0ed8bc8f663ab15a47c4da67a76ca8969c3e6f21c46c",
        ),
    ],
)
def test_golden_hashes(encoding: MaskEncoding, seal: str, file: str) -> None:
    artifact = golden_artifact(encoding)
    assert artifact.manifest.sha256 == seal
    assert hashlib.sha256(pack(artifact)).hexdigest() == file


def test_only_weights_that_some_sub_net_keeps_are_stored() -> None:
    masks = {
        layer.weight: np.arange(layer.size).reshape(layer.shape)[None] % 3
        == np.array([1, 2]).reshape(2, *[1] * len(layer.shape))
        for layer in LAYERS
    }
    artifact = encode(tiny_model(), tiny_manifest(masks, "bitmaps"), masks, tiny_norms(2))
    weights = {proto.name: onnx.numpy_helper.to_array(proto) for proto in tiny_model().graph.initializer}
    shared = artifact.weights["fc.weight"].values
    assert ((shared != 0) == (np.arange(12).reshape(3, 4) % 3 != 0)).all()
    assert (artifact.weight("fc.weight", "s1") == weights["fc.weight"] * masks["fc.weight"][1]).all()


@given(subnets=st.integers(1, 12), encoding=st.sampled_from(["levels", "bitmaps"]), seed=st.integers(0, 999))
@settings(max_examples=25)
def test_masks_weights_and_norms_of_every_sub_net_come_back(
    subnets: int, encoding: MaskEncoding, seed: int
) -> None:
    model, masks, norms = tiny_model(seed), tiny_masks(subnets, encoding, seed), tiny_norms(subnets, seed)
    artifact = unpack(pack(encode(model, tiny_manifest(masks, encoding), masks, norms)))
    weights = {proto.name: onnx.numpy_helper.to_array(proto) for proto in model.graph.initializer}
    for layer in LAYERS:
        assert (artifact.masks(layer.weight) == masks[layer.weight]).all()
        for index in range(subnets):
            expected = np.where(masks[layer.weight][index], weights[layer.weight], 0)
            assert (artifact.weight(layer.weight, f"s{index}") == expected).all()
    assert (artifact.norms[0] == norms[0]).all()
    assert pack(unpack(pack(artifact))) == pack(artifact)


def test_write_then_read_gives_the_same_artifact(tmp_path: Path) -> None:
    artifact = tiny_artifact()
    write(tmp_path / "model.onnx", artifact)
    again = read(str(tmp_path / "model.onnx"))
    assert again.manifest == artifact.manifest
    assert pack(again) == pack(artifact) == (tmp_path / "model.onnx").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_file_is_valid_onnx_whose_metadata_hold_the_manifest(tmp_path: Path) -> None:
    artifact = tiny_artifact()
    write(tmp_path / "model.onnx", artifact)
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert list(metadata) == [MANIFEST_KEY]
    assert loads(metadata[MANIFEST_KEY]) == artifact.manifest


def test_the_seal_changes_with_every_tensor_the_graph_and_the_manifest() -> None:
    masks, norms = tiny_masks(2), tiny_norms(2)
    manifest, model = tiny_manifest(masks), tiny_model()
    seals = [encode(model, manifest, masks, norms).manifest.sha256]
    for name in ("conv.weight", "fc.weight", "fc.bias"):
        changed = tiny_model()
        for proto in changed.graph.initializer:
            if proto.name == name:
                proto.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(proto) * 2, name))
        seals.append(encode(changed, manifest, masks, norms).manifest.sha256)
    seals.append(encode(model, manifest, masks, [norms[0] + 1]).manifest.sha256)
    other_epsilon = tiny_model()
    other_epsilon.graph.node[1].attribute[0].f = 0.5
    seals.append(encode(other_epsilon, manifest, masks, norms).manifest.sha256)
    relabelled = tiny_artifact(2, labels=("a", "b", "c"))
    seals.append(relabelled.manifest.sha256)
    assert len(set(seals)) == len(seals) == 7


def test_arrays_are_read_only() -> None:
    artifact = tiny_artifact()
    for array in (artifact.weights["fc.weight"].values, artifact.norms[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_an_unknown_layer_or_sub_net_lists_those_there_are() -> None:
    artifact = tiny_artifact()
    with pytest.raises(UnknownName, match=r"unknown layer 'fc.wieght': did you mean 'fc.weight'\?"):
        artifact.masks("fc.wieght")
    with pytest.raises(UnknownName, match=r"unknown sub-net 's9'.*s0, s1, s2"):
        artifact.weight("fc.weight", "s9")


def test_a_failed_write_is_an_artifact_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArtifactError, match=r"cannot write '.*model.onnx' \(No space left on device\)"):
        write(path, tiny_artifact())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot write .*check its folder"):
        write(tmp_path / "missing" / "model.onnx", tiny_artifact())
