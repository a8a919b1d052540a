"""What an exporter and a trainer hand in becomes an artifact, or the part that does not fit is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from downshift.models.artifact import pack
from downshift.models.encode import encode
from downshift.models.errors import ArtifactError, SpecError
from downshift.models.shared_weight import Bitmaps, Levels
from tests.models.tiny_artifact import tiny_manifest, tiny_masks, tiny_model, tiny_norms


def test_masks_may_come_as_booleans_or_as_levels() -> None:
    masks, norms, model = tiny_masks(3), tiny_norms(3), tiny_model()
    levels = {name: stack.sum(axis=0, dtype=np.uint8) for name, stack in masks.items()}
    for manifest, form in (
        (tiny_manifest(masks, "levels"), Levels),
        (tiny_manifest(masks, "bitmaps"), Bitmaps),
    ):
        from_booleans = encode(model, manifest, masks, norms)
        assert isinstance(from_booleans.weights["fc.weight"].masks, form)
        assert pack(encode(model, manifest, levels, norms)) == pack(from_booleans)


def test_weights_replace_those_of_the_graph_and_norms_replace_its_norms() -> None:
    masks, norms = tiny_masks(2), tiny_norms(2, seed=1)
    fc = np.arange(12, dtype=np.float32).reshape(3, 4)
    artifact = encode(tiny_model(), tiny_manifest(masks), masks, norms, {"fc.weight": fc})
    graph = {proto.name: onnx.numpy_helper.to_array(proto) for proto in artifact.model.graph.initializer}
    assert (graph["fc.weight"] == fc * masks["fc.weight"][0]).all()
    assert (graph["bn.running_mean"] == norms[0][0, 2]).all()
    assert (artifact.weight("fc.weight", "s1") == fc * masks["fc.weight"][1]).all()


def test_nothing_of_the_exporter_s_machine_is_kept() -> None:
    model, masks = tiny_model(), tiny_masks(2)
    noise = "File /home/someone/network.py, line 3"
    graph = model.graph
    described = [model, graph, graph.node[0], graph.input[0], graph.output[0], graph.initializer[0]]
    graph.value_info.add(name="c")
    for message in (*described, graph.value_info[0], graph.node[0].attribute[0]):
        message.doc_string = noise
    for message in (*described, graph.value_info[0]):
        message.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=noise)
    artifact = encode(model, tiny_manifest(masks), masks, tiny_norms(2))
    assert b"someone" not in pack(artifact)
    assert b"stack_trace" not in pack(artifact)
    assert graph.doc_string == noise  # the caller's model is left alone


def test_typed_tensor_fields_become_raw_data() -> None:
    model, masks, norms = tiny_model(), tiny_masks(2), tiny_norms(2)
    expected = pack(encode(model, tiny_manifest(masks), masks, norms))
    for proto in model.graph.initializer:
        values = onnx.numpy_helper.to_array(proto)
        proto.CopyFrom(onnx.helper.make_tensor(proto.name, 1, values.shape, values.reshape(-1).tolist()))
        assert proto.float_data
    assert pack(encode(model, tiny_manifest(masks), masks, norms)) == expected


def test_masks_that_are_not_nested_need_bitmaps() -> None:
    masks = tiny_masks(4, "bitmaps")
    assert (
        encode(tiny_model(), tiny_manifest(masks, "bitmaps"), masks, tiny_norms(4)).manifest.masks
        == "bitmaps"
    )
    with pytest.raises(SpecError, match="nested masks only shrink"):
        encode(tiny_model(), tiny_manifest(masks, "levels"), masks, tiny_norms(4))


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"norms": []}, "norms", "0 stacks for the 1"),
        ({"norms": tiny_norms(3)}, "norm 'bn.weight'", "stack [3, 4, 4], the manifest needs [2, 4, 4]"),
        ({"masks": {}}, "layer 'conv.weight'", "has no masks"),
        ({"masks": tiny_masks(3)}, "layer 'conv.weight'", "masks [3, 4, 3, 3, 3], the manifest needs"),
        ({"weights": {"conv.weight": np.zeros((1, 2))}}, "layer 'conv.weight'", "weight [1, 2] and masks"),
        ({"norms": [np.full((2, 4, 4), np.nan)]}, "tensor 'bn.weight'", "NaN or infinity"),
        ({"norms": [-np.ones((2, 4, 4))]}, "tensor 'downshift.norm/bn.weight'", "a variance is -1.0"),
        (
            {"masks": {k: v[::-1] for k, v in tiny_masks(2, "bitmaps").items()}},
            None,
            "nested masks only shrink",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_named(change: dict[str, Any], field: str | None, problem: str) -> None:
    masks = tiny_masks(2)
    parts = {"masks": masks, "norms": tiny_norms(2), "weights": None} | change
    with pytest.raises((ArtifactError, SpecError)) as caught:
        encode(tiny_model(), tiny_manifest(masks), **parts)
    assert getattr(caught.value, "field", None) == field
    assert problem in str(caught.value)


def test_counts_that_are_not_those_of_the_masks_are_refused() -> None:
    masks = tiny_masks(2)
    manifest = tiny_manifest(tiny_masks(2, seed=1))
    with pytest.raises(ArtifactError, match=r"subnets\[0\].nonzeros: is .*, the masks keep"):
        encode(tiny_model(), manifest, masks, tiny_norms(2))


def test_a_graph_with_a_local_function_or_external_data_is_refused() -> None:
    masks, norms = tiny_masks(2), tiny_norms(2)
    model = tiny_model()
    model.functions.add(name="f")
    with pytest.raises(ArtifactError, match="export with functions inlined"):
        encode(model, tiny_manifest(masks), masks, norms)
    model = tiny_model()
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ArtifactError, match=r"initializer 'conv.weight': points to another file"):
        encode(model, tiny_manifest(masks), masks, norms)
