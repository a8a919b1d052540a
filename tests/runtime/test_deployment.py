"""From a file to an answer, on real onnxruntime."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from downshift.models import artifact as artifacts
from downshift.models.errors import ArtifactError, UnknownName
from downshift.models.materialize import materialize
from downshift.runtime.deployment import Deployment
from downshift.runtime.engines.engine import Tunable
from downshift.runtime.engines.exported import qdq_model
from downshift.runtime.errors import DeadlineImpossible, Draining, TooFewCores
from downshift.runtime.preparation import Setup, Tune, prepare
from downshift.runtime.profiling.profiler import Effort
from downshift.runtime.request import Outcome, Request
from downshift.runtime.scheduling.fixed import FixedPolicy
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.doubles import Recorder
from tests.runtime.quantized import quantized_artifact

if TYPE_CHECKING:
    from pathlib import Path

QUICK = Effort(batch_sizes=(1, 2), seconds=0.01, min_runs=2, max_runs=4, tune_seconds=0.01)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    artifacts.write(path, tiny_artifact())
    return path


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(threads=1, engines=["onnxruntime"], cache_dir=tmp_path / "cache", effort=QUICK)


def test_every_pinned_sub_net_answers_what_its_own_export_does(model: Path, setup: Setup) -> None:
    inputs = np.random.default_rng(1).standard_normal((3, 3, 5, 5), dtype=np.float32)
    with Deployment(prepare(model, setup)) as deployment:
        for name in deployment.manifest.names:
            answer = deployment.submit(Request(inputs, subnet=name)).result(60)
            plain = materialize(tiny_artifact(), name).SerializeToString()
            session = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
            assert answer.point.name == name
            assert answer.engine == "onnxruntime"
            assert np.abs(answer.outputs - session.run(None, {"image": inputs})[0]).max() < 1e-6


@pytest.mark.parametrize("engine", ["sparse-int8", "onnxruntime-int8"])
def test_a_sub_net_pinned_in_int8_answers_what_its_int8_export_does(
    tmp_path: Path, setup: Setup, engine: str
) -> None:
    path, inputs = tmp_path / "int8.onnx", np.random.default_rng(1).standard_normal((3, 3, 5, 5), np.float32)
    artifacts.write(path, quantized_artifact())
    both = replace(setup, engines=["onnxruntime", engine], check=True)
    with Deployment(prepare(path, both)) as deployment:
        assert set(deployment.profile.names) == {f"s{n}{p}" for n in range(3) for p in ("", "-int8")}
        plain = qdq_model(quantized_artifact(), "s1").SerializeToString()
        session = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
        expected = session.run(None, {"input": inputs})[0]
        answer = deployment.submit(Request(inputs, subnet="s1-int8")).result(60)
        assert (answer.point.name, answer.point.precision, answer.engine) == ("s1-int8", "int8", engine)
        assert np.abs(answer.outputs - expected).max() < 0.02 * np.abs(expected).max()
        full = deployment.submit(Request(inputs, subnet="s1")).result(60)
        assert (full.point.precision, full.engine) == ("fp32", "onnxruntime")


def test_int8_that_no_engine_computes_is_unknown(tmp_path: Path, setup: Setup) -> None:
    path = tmp_path / "int8.onnx"
    artifacts.write(path, quantized_artifact())
    with (
        Deployment(prepare(path, replace(setup, check=True))) as deployment,
        pytest.raises(UnknownName, match=r"'s1-int8'.*s1"),
    ):
        deployment.submit(Request(np.zeros((1, 3, 5, 5), np.float32), subnet="s1-int8"))


def test_two_executors_answer_what_one_does(
    model: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("downshift.runtime.preparation.usable_cores", lambda: 2)
    inputs = np.random.default_rng(1).standard_normal((16, 3, 5, 5), dtype=np.float32)
    with Deployment(prepare(model, setup)) as one:
        expected = [one.submit(Request(each[None], subnet="s1")).result(30).outputs for each in inputs]
    both = replace(setup, executors=2, engines=["sparse", "onnxruntime"], tune=Tune.LATER, check=True)
    tuned = threading.Event()
    with Deployment(prepare(model, both), improved=lambda _profile: tuned.set()) as two:
        for _ in range(2):
            futures = [two.submit(Request(each[None], subnet="s1")) for each in inputs]
            for future, right in zip(futures, expected, strict=True):
                np.testing.assert_allclose(future.result(30).outputs, right, rtol=1e-4, atol=1e-5)
            assert tuned.wait(120), "the second round runs on tuned programs"


def test_more_executors_than_cores_are_refused(model: Path, setup: Setup) -> None:
    with pytest.raises(TooFewCores, match=r"999 executors need as many cores, \d+ may be used; ask for \d+"):
        prepare(model, replace(setup, executors=999))


def test_budgets_decide(model: Path, setup: Setup) -> None:
    inputs = np.zeros((1, 3, 5, 5), np.float32)
    with Deployment(prepare(model, setup)) as deployment:
        answer = deployment.submit(Request(inputs, deadline=time.monotonic() + 60.0)).result(60)
        assert answer.point.name == deployment.manifest.names[0]
        with pytest.raises(DeadlineImpossible):
            deployment.submit(Request(inputs, deadline=time.monotonic() - 1.0))
    with pytest.raises(Draining):
        deployment.submit(Request(inputs))


def test_another_policy_can_be_given(model: Path, setup: Setup) -> None:
    with Deployment(prepare(model, setup), policy=FixedPolicy("s2")) as deployment:
        answer = deployment.submit(Request(np.zeros((1, 3, 5, 5), np.float32))).result(60)
        assert answer.point.name == "s2"


def test_the_second_preparation_finds_the_profile_unless_told_to_measure(model: Path, setup: Setup) -> None:
    heard: list[tuple[float, str]] = []
    first = prepare(model, setup, progress=lambda *report: heard.append(report))
    assert [fraction for fraction, _ in heard] == sorted(fraction for fraction, _ in heard)
    assert heard[-1][0] == 1.0
    heard.clear()
    again = prepare(model, setup, progress=lambda *report: heard.append(report))
    assert again.profile == first.profile
    assert "profile found in the cache" in [text for _, text in heard]
    assert heard[-1] == (1.0, "ready")
    measured = prepare(model, replace(setup, remeasure=True))
    assert measured.profile != first.profile


def test_only_programs_that_won_are_kept_with_and_without_cache(model: Path, setup: Setup) -> None:
    both = replace(setup, engines=None)
    for _ in range(2):
        prepared = prepare(model, both)
        won = {(m.subnet, m.engine) for m in prepared.profile.measurements if m.chosen}
        by_subnet = prepared.programs.by_subnet
        assert {(subnet, name) for subnet, found in by_subnet.items() for name in found} == won


def test_serving_begins_with_what_there_is_and_ends_with_tuned_programs_that_the_next_start_finds(
    model: Path, setup: Setup
) -> None:
    """On the real kernels, under requests: every answer stays right, and nothing is lost."""
    later = replace(setup, engines=None, tune=Tune.LATER)
    prepared = prepare(model, later)
    assert prepared.improvement is not None
    sparse = [programs["sparse"] for programs in prepared.programs.by_subnet.values()]
    assert not any(one.tuned for one in sparse if isinstance(one, Tunable))
    improved, events = threading.Event(), Recorder()
    inputs = np.random.default_rng(1).standard_normal((1, 3, 5, 5), dtype=np.float32)
    with Deployment(prepared, observers=[events], improved=lambda _: improved.set()) as deployment:
        expected = {
            name: deployment.submit(Request(inputs, subnet=name)).result(60).outputs
            for name in deployment.manifest.names
        }
        asked = len(expected)
        while not improved.wait(0.05):
            for name, outputs in expected.items():
                answer = deployment.submit(Request(inputs, subnet=name)).result(60)
                np.testing.assert_allclose(answer.outputs, outputs, rtol=1e-4, atol=1e-5)
                asked += 1
        assert deployment.profile != prepared.profile
        won = {(m.subnet, m.engine) for m in deployment.profile.measurements if m.chosen}
        by_subnet = deployment.programs.by_subnet
        assert {(subnet, name) for subnet, found in by_subnet.items() for name in found} == won
        for name, outputs in expected.items():
            answer = deployment.submit(Request(inputs, subnet=name)).result(60)
            np.testing.assert_allclose(answer.outputs, outputs, rtol=1e-4, atol=1e-5)
            asked += 1
        found = deployment.profile
    assert all(one.tuned for one in sparse if isinstance(one, Tunable))
    assert len(events.settlements) == asked
    assert {event.outcome for event in events.settlements} == {Outcome.OK}
    progress = [fraction for fraction, _ in events.improvements]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    again = prepare(model, later)
    assert (again.profile, again.improvement) == (found, None)


def test_what_is_never_tuned_is_measured_roughly_and_not_kept(model: Path, setup: Setup) -> None:
    prepared = prepare(model, replace(setup, tune=Tune.NEVER))
    assert prepared.improvement is None
    assert not list((setup.cache_dir or model).glob("profile-*"))


def test_a_damaged_artifact_is_refused(model: Path, setup: Setup) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(ArtifactError):
        prepare(model, setup)


def test_serving_imports_neither_torch_nor_a_web_stack() -> None:
    script = (
        "import sys, downshift.runtime.deployment, downshift.runtime.preparation\n"
        "import downshift.runtime.engines.onnxruntime, downshift.runtime.profiling.profile_json\n"
        "unwanted = ('torch', 'torchvision', 'fastapi', 'pydantic', 'prometheus_client')\n"
        "print([module for module in unwanted if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
