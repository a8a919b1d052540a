"""The sparse engine behind the seam all engines share: same answers, packed on demand, tuned, remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper

from downshift.models.materialize import materialize
from downshift.runtime import _kernels
from downshift.runtime.background import finish
from downshift.runtime.engines.sparse import SparseEngine, SparseProgram
from downshift.runtime.engines.table import load_engine
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import CHANNELS, CLASSES, SIDE, tiny_artifact
from tests.runtime.small_onnx import answer, normal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.engine import Forward
    from downshift.runtime.request import FloatArray


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return tiny_artifact()


@pytest.fixture
def engine(tmp_path: Path) -> SparseEngine:
    return SparseEngine(JsonCache(tmp_path))


def compiled(
    engine: SparseEngine, artifact: Artifact, names: Sequence[str], threads: int = 1
) -> dict[str, SparseProgram]:
    """Programs of the named sub-nets, all of which the engine can run."""
    programs = engine.compile(artifact, names, threads=threads)
    return {name: one for name, one in programs.items() if isinstance(one, SparseProgram)}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_sub_net_answers_what_onnxruntime_answers(
    engine: SparseEngine, artifact: Artifact, threads: int, batch: int
) -> None:
    images = normal(batch, CHANNELS, SIDE, SIDE)
    names = artifact.manifest.names
    programs = compiled(engine, artifact, names, threads=threads)
    assert list(programs) == list(names)
    for name, program in programs.items():
        answered = program.run(images)
        assert answered.dtype == np.float32
        assert answered.shape == (batch, CLASSES)
        np.testing.assert_allclose(
            answered, answer(materialize(artifact, name), images), rtol=1e-4, atol=1e-5
        )


def test_programs_that_share_threads_may_be_called_at_once(engine: SparseEngine, artifact: Artifact) -> None:
    images = normal(2, CHANNELS, SIDE, SIDE)
    programs = compiled(engine, artifact, artifact.manifest.names, threads=2)
    alone = {name: compiled(engine, artifact, [name], threads=1)[name].run(images) for name in programs}
    work = list(programs.items()) * 40
    with ThreadPoolExecutor(8) as pool:
        for (name, _), got in zip(work, pool.map(lambda one: one[1].run(images), work), strict=True):
            np.testing.assert_allclose(got, alone[name], rtol=1e-5, atol=1e-6)


def test_a_tuned_program_answers_the_same_and_the_next_start_finds_its_tilings(
    engine: SparseEngine, artifact: Artifact
) -> None:
    name = artifact.manifest.names[-1]
    images = normal(3, CHANNELS, SIDE, SIDE)
    first = compiled(engine, artifact, [name], threads=1)[name]
    before = first.run(images)
    assert not first.tuned
    first.tune(0.01)
    assert first.tuned
    np.testing.assert_allclose(first.run(images), before, rtol=1e-5, atol=1e-6)
    again = compiled(engine, artifact, [name], threads=1)[name]
    assert again.tuned
    np.testing.assert_allclose(again.run(images), before, rtol=1e-5, atol=1e-6)
    assert not compiled(engine, artifact, [name], threads=2)[name].tuned


def test_what_tuning_found_is_asked_about_and_where_it_is_not_fit_nothing_changes(
    engine: SparseEngine, artifact: Artifact, tmp_path: Path
) -> None:
    name = artifact.manifest.names[-1]
    images = normal(3, CHANNELS, SIDE, SIDE)
    program = compiled(engine, artifact, [name], threads=1)[name]
    before = program.run(images)
    asked: list[FloatArray] = []

    def refuse(run: Forward) -> bool:
        asked.append(run(images))
        return False

    finish(program.tuning(0.01, refuse))
    np.testing.assert_allclose(asked, [before], rtol=1e-5, atol=1e-6)
    assert not program.tuned
    assert not list(tmp_path.rglob("tilings-*"))
    assert np.array_equal(program.run(images), before)


def test_cached_tilings_that_do_not_fit_are_replaced_by_defaults(
    engine: SparseEngine, artifact: Artifact, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    name = artifact.manifest.names[0]
    images = normal(1, CHANNELS, SIDE, SIDE)
    program = compiled(engine, artifact, [name], threads=1)[name]
    program.tune(0.01)
    (file,) = tmp_path.iterdir()
    wrong = {"vectors": 1, "rows": 1, "block": 1, "split": False, "parts": 1}
    file.write_text(json.dumps([wrong] * 4))
    stale = compiled(engine, artifact, [name], threads=1)[name]
    np.testing.assert_allclose(stale.run(images), program.run(images), rtol=1e-5, atol=1e-6)
    assert not stale.tuned
    assert "ignored" in caplog.text


def test_sparser_sub_nets_have_shorter_streams(engine: SparseEngine, artifact: Artifact) -> None:
    programs = compiled(engine, artifact, artifact.manifest.names, threads=1)
    sizes = [program.stream_bytes for program in programs.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(sizes)


def test_an_unknown_operator_is_named_with_its_sub_net(engine: SparseEngine, artifact: Artifact) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(artifact.model)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Tanh", ["before"], ["logits"], name="last"))
    name = artifact.manifest.names[0]
    reason = engine.compile(replace(artifact, model=model), [name], threads=1)[name]
    assert isinstance(reason, UnsupportedModel)
    assert "sub-net" in str(reason)
    assert "Tanh (node 'last')" in str(reason)


def test_a_batch_of_another_shape_is_refused(engine: SparseEngine, artifact: Artifact) -> None:
    program = compiled(engine, artifact, artifact.manifest.names, threads=1)[artifact.manifest.names[0]]
    with pytest.raises(ValueError, match="batch of shape"):
        program.run(normal(1, CHANNELS, SIDE, SIDE + 1))


def test_the_version_names_the_instruction_set(engine: SparseEngine) -> None:
    assert engine.version.endswith(_kernels.isa())


def test_an_instruction_set_that_is_not_there_makes_the_engine_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", "sse0")
    with pytest.raises(EngineUnavailable, match="sse0"):
        load_engine("sparse", JsonCache(tmp_path))


STILL_HELD = """
import sys, threading
from pathlib import Path
from downshift.runtime.engines.sparse import SparseEngine
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import tiny_artifact
held = SparseEngine(JsonCache(Path(sys.argv[1]))).compile(tiny_artifact(), ["s0"], threads=1)
held["s0"].stream_bytes
threading.Thread(target=lambda _: threading.Event().wait(), args=[held], daemon=True).start()
"""


def test_programs_that_are_held_to_the_end_of_the_process_are_no_news(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STILL_HELD, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
