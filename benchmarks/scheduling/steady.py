"""`downshift` with constant batch durations: every batch takes a fixed multiple of its profiled p50.

    STEADY_PROFILE=cache/profile-1.json STEADY_FACTOR=2 python -m benchmarks.scheduling.steady serve r50.onnx

The arguments are those of `downshift`. The sparse engine computes every answer as ever; then the program
sleeps, without the GIL, until STEADY_FACTOR times the p50 of this batch in STEADY_PROFILE have passed since
it began. A machine that is slower than its profile by less than the factor does not show: server and
simulator are compared on one and the same machine.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.cli import main
from downshift.runtime.engines import table as engines
from downshift.runtime.engines.sparse import cpu
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.profiling import profile_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.engines.engine import Engine, Program
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import FloatArray

NAME = "steady"


@dataclass(frozen=True)
class SteadyProgram:
    """Answers of `inner`, not before as many seconds have passed as `seconds` says for that many examples."""

    inner: Program
    seconds: Callable[[int], float]
    engine: str = NAME

    def run(self, batch: FloatArray, /) -> FloatArray:
        """See `Program`."""
        until = time.perf_counter() + self.seconds(len(batch))
        outputs = self.inner.run(batch)
        time.sleep(max(0.0, until - time.perf_counter()))
        return outputs


@dataclass(frozen=True)
class SteadyEngine:
    """The programs of `inner`, each as fast as `profile` says, times `factor`."""

    inner: Engine
    profile: Profile
    factor: float
    name: str = NAME
    precision: Precision = "fp32"

    @property
    def version(self) -> str:
        """See `Engine`."""
        digest = hashlib.sha256(profile_json.dumps(self.profile).encode()).hexdigest()
        return f"{self.factor:g} times {digest[:16]}"

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, Program | UnsupportedModel]:
        """See `Engine`."""
        if self.profile.artifact != artifact.manifest.sha256:
            raise EngineUnavailable(NAME, "$STEADY_PROFILE is of another artifact", "measure this one")
        return {
            name: program if isinstance(program, UnsupportedModel) else self._steady(name, program)
            for name, program in self.inner.compile(artifact, subnets, threads=threads).items()
        }

    def _steady(self, subnet: str, program: Program) -> SteadyProgram:
        typical, factor = self.profile[subnet].typical, self.factor
        return SteadyProgram(program, lambda examples: factor * typical(examples))


def engine(_cache: JsonCache) -> SteadyEngine:
    """The engine that the environment describes; its programs are tuned as those of that profile were."""
    try:
        path, factor = Path(os.environ["STEADY_PROFILE"]), float(os.environ["STEADY_FACTOR"])
        profile = profile_json.loads(path.read_bytes())
    except (KeyError, ValueError, OSError) as error:
        remedy = "set STEADY_PROFILE and STEADY_FACTOR"
        raise EngineUnavailable(NAME, f"no profile ({error})", remedy) from None
    return SteadyEngine(cpu(JsonCache(path.parent)), profile, factor)


if __name__ == "__main__":
    engines.ENGINES = {NAME: "benchmarks.scheduling.steady:engine"}
    engines.DEFAULT_ENGINES = (NAME,)
    main.app()
