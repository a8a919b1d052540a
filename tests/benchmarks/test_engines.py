"""The race of engines: everybody is checked, rows replace those of the same race, the page says who won."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("openvino", reason="an extra: pip install downshift[openvino]")

import torch
from hypothesis import HealthCheck, given, settings

from benchmarks import contenders, engines, engines_report
from benchmarks.contenders import InProcess, WrongAnswer
from benchmarks.engines_report import Row
from benchmarks.graph_in_torch import GraphModule
from models.pattern import Channel
from runtime.lowering.lower import lower
from runtime.lowering.reference import run
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def row(engine: str, sparsity: float, seconds: float, network: str = "net", masks: str = "uniform") -> Row:
    return Row(network, masks, 1, 2, engine, "1.0", sparsity, seconds, seconds, seconds, 10, 0.5, 0.01)


RACE = [
    row("onnxruntime", 0, 4e-3),
    row("openvino", 0, 3e-3),
    row("openvino-bf16", 0, 1e-3),
    row("deepsparse", 0.9, 2e-3),
    row("sparse", 0, 6e-3),
    row("sparse", 0.9, 5e-4),
]


def test_everybody_in_the_line_up_computes_the_logits(tmp_path: Path) -> None:
    artifact = tiny_artifact()
    programs = engines.tuned(artifact, 1, 0.01, tmp_path)
    tasks = engines.tasks_of(artifact, 2, 1)
    field = engines.Field(artifact.manifest.names[1:])
    ready = engines.line_up(tasks, engines.dense_tasks(artifact, tasks), programs, None, field)
    names = [one.engine for one in ready]
    assert names.count("sparse") == len(artifact.manifest.subnets) - 1
    assert names.count("onnxruntime") == names.count("openvino") == 1
    samples = engines.compete(ready, 0.0)
    assert all(len(taken) >= 3 and min(taken) > 0 for taken in samples)


def test_a_wrong_answer_ends_the_race() -> None:
    artifact = tiny_artifact(1)
    (task,) = engines.tasks_of(artifact, 1, 1).values()
    cheat = InProcess("cheat", "1", task, lambda _images: task.expected + 1)
    with pytest.raises(WrongAnswer, match="cheat: wrong by"):
        cheat.time(1)
    with pytest.raises(WrongAnswer):
        contenders.check("silent", np.full_like(task.expected, np.nan), task.expected, 1.0)


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


def test_rows_of_the_same_race_are_replaced_and_others_kept(tmp_path: Path) -> None:
    engines_report.add(tmp_path, RACE)
    other = [row("openvino", 0, 5e-3, "other"), row("sparse", 0.9, 1e-3, "other")]
    engines_report.add(tmp_path, other)
    engines_report.add(tmp_path, RACE[:2] + RACE[4:])
    rows = engines_report.load(tmp_path / "engines.csv")
    assert len(rows) == 6
    assert set(other) <= set(rows)
    assert (tmp_path / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_a_large_batch_repeats_images_and_expects_their_logits() -> None:
    artifact = tiny_artifact(1)
    (one,), (many,) = (engines.tasks_of(artifact, batch, 1).values() for batch in (2, 5))
    np.testing.assert_array_equal(many.images, one.images[[0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(many.expected, one.expected[[0, 1, 0, 1, 0]])


def test_dense_engines_get_every_sub_net_only_where_channels_are_gone() -> None:
    artifact = tiny_artifact()
    tasks = engines.tasks_of(artifact, 1, 1)
    assert engines.dense_tasks(artifact, tasks) == [next(iter(tasks.values()))]
    subnets = tuple(replace(one, pattern=Channel()) for one in artifact.manifest.subnets)
    channels = replace(artifact, manifest=replace(artifact.manifest, subnets=subnets))
    assert engines.dense_tasks(channels, tasks) == list(tasks.values())


def test_the_page_compares_with_the_best_dense_float32_engine() -> None:
    (line,) = [line for line in engines_report.page(RACE).splitlines() if "(openvino)" in line]
    assert line == (
        "| net | uniform | 2 | 1 | 3 (openvino) | 1 (3.00x) | - | 2 (1.50x) | 6 (0.50x) | 0.5 (6.00x) |"
    )


def test_deepsparse_is_a_dense_engine_only_where_there_is_nothing_to_skip() -> None:
    rows = [row("onnxruntime", 0, 4e-3), row("deepsparse", 0, 2e-3), row("sparse", 0.9, 1e-3)]
    assert engines_report.best_dense(rows).engine == "deepsparse"
    trained = [row("onnxruntime", 0.5, 4e-3), row("deepsparse", 0.5, 2e-3), row("sparse", 0.9, 1e-3)]
    assert engines_report.best_dense(trained).engine == "onnxruntime"


def test_where_channels_are_gone_the_page_shows_every_engine_at_every_sparsity() -> None:
    rows = [row(engine, sparsity, 4e-3, masks="channel") for engine in ("onnxruntime", "sparse")
            for sparsity in (0.0, 0.75)]  # fmt: skip
    lines = engines_report.page(rows).splitlines()
    assert "| net | channel | 2 | 1 | 75% | 4 | 4 |" in lines
