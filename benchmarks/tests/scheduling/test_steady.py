from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.scheduling import steady
from benchmarks.scheduling.steady import SteadyEngine, SteadyProgram
from downshift.models import artifact as artifacts
from downshift.runtime.engines.sparse import cpu
from downshift.runtime.errors import EngineUnavailable
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.profiling import profile_json
from downshift.runtime.simulator.synthetic import synthetic_profile

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import FloatArray

ZOO = Path(__file__).parents[3] / "downshift" / "models" / "zoo"


class FakeTime:
    """A clock that passes when somebody sleeps, and while `Counting` computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Counting:
    """A program that takes half a second a batch."""

    engine = "counting"

    def __init__(self, time: FakeTime) -> None:
        self._time = time

    def run(self, batch: FloatArray, /) -> FloatArray:
        self._time.now += 0.5
        return np.add.reduce(batch, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return artifacts.read(ZOO / "cifar10-resnet20.onnx")


@pytest.fixture(scope="module")
def profile(artifact: Artifact) -> Profile:
    subnets = [(each.name, each.sparsity, 0.9, 0.002) for each in artifact.manifest.subnets]
    return replace(
        synthetic_profile(subnets, batch_sizes=(1, 2), fixed=0.5), artifact=artifact.manifest.sha256
    )


def test_a_batch_takes_what_it_should_unless_its_answers_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(steady, "time", time)
    program = SteadyProgram(Counting(time), lambda examples: 0.3 * examples)
    assert program.run(np.ones((2, 3), np.float32)).tolist() == [[3.0], [3.0]]
    assert time.now == pytest.approx(0.6)
    program.run(np.ones((1, 3), np.float32))
    assert time.now == pytest.approx(1.1)


def test_answers_are_those_of_the_sparse_engine_and_times_those_of_the_profile(
    artifact: Artifact, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "profile-1.json"
    kept.write_text(profile_json.dumps(profile))
    monkeypatch.setenv("STEADY_PROFILE", str(kept))
    monkeypatch.setenv("STEADY_FACTOR", "1.5")
    engine = steady.engine(JsonCache(tmp_path))
    name = artifact.manifest.names[-1]
    program = engine.compile(artifact, [name], threads=1)[name]
    plain = cpu(JsonCache(tmp_path)).compile(artifact, [name], threads=1)[name]
    assert isinstance(program, SteadyProgram)
    assert not isinstance(plain, Exception)
    batch = np.random.default_rng(0).standard_normal((2, *artifact.manifest.input.shape), dtype=np.float32)
    assert np.array_equal(program.run(batch), plain.run(batch))
    assert program.seconds(2) == pytest.approx(1.5 * 0.003)
    assert replace(engine, factor=2.0).version != engine.version
    assert replace(engine, profile=profile.scaled(1.1)).version != engine.version


def test_a_profile_of_another_artifact_and_an_empty_environment_are_refused(
    artifact: Artifact, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SteadyEngine(cpu(JsonCache(tmp_path)), replace(profile, artifact="0" * 64), 1.0)
    with pytest.raises(EngineUnavailable, match="another artifact"):
        other.compile(artifact, artifact.manifest.names, threads=1)
    monkeypatch.delenv("STEADY_PROFILE", raising=False)
    with pytest.raises(EngineUnavailable, match="set STEADY_PROFILE"):
        steady.engine(JsonCache(tmp_path))
