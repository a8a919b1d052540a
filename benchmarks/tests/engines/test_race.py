"""The race of engines: everybody is checked, and given the sub-nets that it can make use of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from benchmarks.engines import race, tasks
from benchmarks.engines.contenders import InProcess
from benchmarks.engines.graph_in_torch import GraphModule
from benchmarks.harness.check import check
from benchmarks.harness.errors import WrongAnswer
from downshift.models.pattern import Channel
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def test_everybody_in_the_line_up_computes_the_logits(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="pip install -e '.[openvino]'")
    artifact = tasks.quantized(tiny_artifact(), tmp_path)
    programs = tasks.tuned(artifact, 1, 0.01, tmp_path)
    given = tasks.tasks_of(artifact, 2, 1)
    field = race.Field(artifact.manifest.names[1:])
    ready = race.line_up(given, tasks.dense_tasks(artifact, given), programs, None, field)
    names = [one.engine for one in ready]
    assert names.count("sparse") == names.count("sparse-int8") == len(artifact.manifest.subnets) - 1
    for dense in ("onnxruntime", "openvino", "onnxruntime-int8", "openvino-int8"):
        assert names.count(dense) == 1, dense
    samples = race.compete(ready, 0.0)
    assert all(len(taken) >= 3 and min(taken) > 0 for taken in samples)


def test_a_wrong_answer_ends_the_race() -> None:
    artifact = tiny_artifact(1)
    (task,) = tasks.tasks_of(artifact, 1, 1).values()
    cheat = InProcess("cheat", "1", task, lambda _images: task.expected + 1)
    with pytest.raises(WrongAnswer, match="cheat: wrong by"):
        cheat.time(1)
    with pytest.raises(WrongAnswer):
        check("silent", np.full_like(task.expected, np.nan), task.expected, 1.0)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(small_networks())
def test_torch_runs_the_same_graph(model: onnx.ModelProto) -> None:
    graph = lower(model)
    images = normal(2, *graph.shapes[0])
    expected = run(graph, images)
    with torch.inference_mode():
        answer = GraphModule(graph)(torch.from_numpy(images)).numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(answer / scale, expected / scale, atol=2e-5)


def test_a_large_batch_repeats_images_and_expects_their_logits() -> None:
    artifact = tiny_artifact(1)
    (one,), (many,) = (tasks.tasks_of(artifact, batch, 1).values() for batch in (2, 5))
    np.testing.assert_array_equal(many.images, one.images[[0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(many.expected, one.expected[[0, 1, 0, 1, 0]])


def test_dense_engines_get_every_sub_net_only_where_channels_are_gone() -> None:
    artifact = tiny_artifact()
    given = tasks.tasks_of(artifact, 1, 1)
    assert tasks.dense_tasks(artifact, given) == [next(iter(given.values()))]
    subnets = tuple(replace(one, pattern=Channel()) for one in artifact.manifest.subnets)
    channels = replace(artifact, manifest=replace(artifact.manifest, subnets=subnets))
    assert tasks.dense_tasks(channels, given) == list(given.values())
