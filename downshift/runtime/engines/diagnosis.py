"""Whether an engine works on this machine, and if not, the one thing that is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from downshift.errors import first_line
from downshift.runtime.engines.table import load_engine
from downshift.runtime.errors import Missing, UnsupportedModel
from downshift.runtime.gpu.driver import DeviceChoice

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact
    from downshift.runtime.json_cache import JsonCache

REPORT = "choose another engine and report this"


@dataclass(frozen=True)
class Diagnosis:
    """An engine that works has a version; one that does not has a missing thing and a remedy."""

    engine: str
    version: str | None
    missing: str | None = None
    remedy: str | None = None

    @property
    def works(self) -> bool:
        """It has compiled and run a sub-net here, where there was one in its precision."""
        return self.missing is None


def diagnose(
    name: str,
    artifact: Artifact,
    cache: JsonCache,
    choice: DeviceChoice = DeviceChoice(),  # noqa: B008 - frozen
) -> Diagnosis:
    """Load the engine, compile the artifact's sparsest sub-net on one thread, and run it on zeros.

    Whatever fails first is what is missing. An engine in a precision that the artifact does not have is only
    loaded. Raises `UnknownName` for an unknown engine.
    """
    manifest = artifact.manifest
    try:
        engine = load_engine(name, cache, choice)
        points = [point.name for point in manifest.points if point.precision == engine.precision]
        if not points:
            return Diagnosis(name, engine.version)
        program = engine.compile(artifact, points[-1:], threads=1)[points[-1]]
        if isinstance(program, UnsupportedModel):
            raise program
        outputs = program.run(np.zeros((1, *manifest.input.shape), np.float32))
    except Missing as error:
        return Diagnosis(name, None, error.missing, error.remedy)
    except Exception as error:  # noqa: BLE001 - an engine is foreign code, and this asks what it raises
        return Diagnosis(name, None, first_line(error), REPORT)
    if not np.isfinite(outputs).all():
        return Diagnosis(name, None, f"sub-net {points[-1]} answers NaN or infinity", REPORT)
    return Diagnosis(name, engine.version)
