"""OpenVINO behind the seam every engine has; skipped where it is not installed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from downshift.models.materialize import materialize
from downshift.runtime.engines.table import load_engine
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import CHANNELS, CLASSES, SIDE, tiny_artifact
from tests.runtime.small_onnx import answer, normal

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openvino", reason="pip install -e '.[openvino]'")


@pytest.mark.parametrize(("name", "tolerance"), [("openvino", 1e-4), ("openvino-bf16", 5e-2)])
def test_every_sub_net_answers_what_onnxruntime_answers(tmp_path: Path, name: str, tolerance: float) -> None:
    try:
        engine = load_engine(name, JsonCache(tmp_path))
    except EngineUnavailable as reason:
        pytest.skip(str(reason))
    artifact = tiny_artifact()
    programs = engine.compile(artifact, artifact.manifest.names, threads=1)
    for subnet, program in programs.items():
        assert not isinstance(program, UnsupportedModel)
        assert program.engine == name
        for batch in (1, 3):
            images = normal(batch, CHANNELS, SIDE, SIDE)
            expected = answer(materialize(artifact, subnet), images)
            got = program.run(images)
            assert got.dtype == np.float32
            assert got.shape == (batch, CLASSES)
            np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())


def test_an_answer_is_the_callers_to_keep(tmp_path: Path) -> None:
    artifact = tiny_artifact(1)
    (program,) = (
        load_engine("openvino", JsonCache(tmp_path))
        .compile(artifact, artifact.manifest.names, threads=1)
        .values()
    )
    assert not isinstance(program, UnsupportedModel)
    first = program.run(normal(1, CHANNELS, SIDE, SIDE))
    kept = first.copy()
    program.run(normal(1, CHANNELS, SIDE, SIDE, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_what_openvino_cannot_read_is_refused_with_a_reason(tmp_path: Path) -> None:
    artifact = tiny_artifact(1)
    model = onnx.ModelProto()
    model.CopyFrom(artifact.model)
    model.graph.node[2].op_type = "Det"  # ONNX has it, OpenVINO does not read it
    engine = load_engine("openvino", JsonCache(tmp_path))
    (reason,) = engine.compile(replace(artifact, model=model), artifact.manifest.names, threads=1).values()
    assert isinstance(reason, UnsupportedModel)
    (subnet,) = artifact.manifest.names
    assert re.fullmatch(f"engine openvino: sub-net {subnet}: .*Det.*", str(reason))
