"""What dense engines get: the same sub-net, smaller where its pattern removed channels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from downshift.models.materialize import materialize
from downshift.models.pattern import Channel
from downshift.runtime.engines.exported import dense_model
from tests.models.tiny_artifact import CHANNELS, SIDE, tiny_artifact
from tests.runtime.small_onnx import answer, normal

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact


def patterned(artifact: Artifact) -> Artifact:
    subnets = tuple(replace(subnet, pattern=Channel()) for subnet in artifact.manifest.subnets)
    return replace(artifact, manifest=replace(artifact.manifest, subnets=subnets))


def test_without_a_channel_pattern_it_is_the_materialised_sub_net() -> None:
    artifact = tiny_artifact()
    name = artifact.manifest.names[-1]
    assert dense_model(artifact, name) == materialize(artifact, name).SerializeToString()


def test_with_a_channel_pattern_it_answers_the_same() -> None:
    artifact = patterned(tiny_artifact())
    images = normal(3, CHANNELS, SIDE, SIDE)
    for name in artifact.manifest.names:
        model = onnx.load_from_string(dense_model(artifact, name))
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        expected = answer(materialize(artifact, name), images)
        np.testing.assert_allclose(answer(model, images), expected, rtol=1e-4, atol=1e-5)


def test_an_operator_that_lowering_does_not_know_changes_nothing() -> None:
    artifact = patterned(tiny_artifact(1))
    model = onnx.ModelProto()
    model.CopyFrom(artifact.model)
    model.graph.node[2].op_type = "Softplus"
    artifact = replace(artifact, model=model)
    name = artifact.manifest.names[0]
    assert dense_model(artifact, name) == materialize(artifact, name).SerializeToString()
