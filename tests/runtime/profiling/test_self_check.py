"""What a prepared artifact must be to be served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.engines.programs import Programs, compile_artifact, load_engines
from downshift.runtime.errors import SelfCheckFailed
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile
from downshift.runtime.profiling.self_check import Reference, check_profile, self_check
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from downshift.models.spec import Manifest
    from downshift.runtime.engines.engine import Program
    from downshift.runtime.request import FloatArray

ARTIFACT = tiny_artifact()


@dataclass
class Altered:
    """A program whose answers are changed on their way."""

    program: Program
    change: Callable[[FloatArray], FloatArray]
    engine: str = "altered"

    def run(self, batch: FloatArray, /) -> FloatArray:
        return self.change(self.program.run(batch))


def profile(manifest: Manifest) -> Profile:
    return Profile(
        manifest.sha256,
        Machine(cpu="a processor", cores=1, gpus=(), threads=1, versions={}),
        tuple(
            Measurement(
                subnet=s.name,
                sparsity=s.sparsity,
                accuracy=s.accuracy,
                engine="any",
                batch_size=1,
                p50=1e-3,
                p95=1e-3,
                p99=1e-3,
                chosen=True,
            )
            for s in manifest.subnets
        ),
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    engines = load_engines(None, JsonCache(tmp_path_factory.mktemp("cache")))
    return compile_artifact(ARTIFACT, engines, threads=1)


def with_one(programs: Programs, change: Callable[[FloatArray], FloatArray]) -> Programs:
    """The same programs, and one more of sub-net s1 whose answers are changed."""
    altered = Altered(programs.get("s1"), change)
    return replace(programs, by_subnet={**programs.by_subnet, "s1": {"altered": altered}})


def test_every_engine_passes(programs: Programs) -> None:
    self_check(Reference(ARTIFACT), programs, profile(ARTIFACT.manifest))
    self_check(
        Reference(ARTIFACT), with_one(programs, lambda outputs: outputs + 1e-4), profile(ARTIFACT.manifest)
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda outputs: outputs * np.nan, "s1 on altered answers NaN"),
        (lambda outputs: np.where(outputs == outputs[-1:], np.inf, outputs), "NaN or infinity"),
        (lambda outputs: outputs + 0.5, "s1 on altered is off by 0.5"),
        (lambda outputs: outputs[::-1], "is off by"),
        (lambda outputs: outputs[:, :-1], r"answers \[1, 2\] instead of \[1, 3\]"),
    ],
    ids=["nan", "infinity", "shifted", "rows swapped", "a class less"],
)
def test_a_program_that_answers_something_else_is_refused(
    programs: Programs, change: Callable[[FloatArray], FloatArray], sentence: str
) -> None:
    with pytest.raises(SelfCheckFailed, match=sentence):
        self_check(Reference(ARTIFACT), with_one(programs, change), profile(ARTIFACT.manifest))


def test_a_profile_of_something_else_is_refused(programs: Programs) -> None:
    manifest = ARTIFACT.manifest
    good = profile(manifest)
    check_profile(manifest, good)
    first, *rest = good.measurements
    with pytest.raises(SelfCheckFailed, match=r"sub-net s0: the profile has .* accuracy 0.9"):
        check_profile(manifest, replace(good, measurements=(replace(first, accuracy=0.9), *rest)))
    with pytest.raises(SelfCheckFailed, match="lacks sub-net s0"):
        self_check(Reference(ARTIFACT), programs, replace(good, measurements=tuple(rest)))
    with pytest.raises(SelfCheckFailed, match="another artifact"):
        check_profile(manifest, replace(good, artifact="f" * 64))


def test_preparation_runs_the_check_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from downshift.models import artifact as artifacts
    from downshift.runtime import preparation
    from downshift.runtime.preparation import Setup, prepare
    from downshift.runtime.profiling.profiler import Effort

    def refuse(*_: object) -> None:
        raise SelfCheckFailed("no")

    artifacts.write(tmp_path / "model.onnx", ARTIFACT)
    quick = Effort(batch_sizes=(1,), seconds=0.01, min_runs=2, max_runs=2, tune_seconds=0)
    setup = Setup(threads=1, engines=["onnxruntime"], cache_dir=tmp_path, effort=quick)
    monkeypatch.setattr(preparation, "self_check", refuse)
    prepare(tmp_path / "model.onnx", setup)
    with pytest.raises(SelfCheckFailed):
        prepare(tmp_path / "model.onnx", replace(setup, check=True))
