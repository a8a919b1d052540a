"""Every sub-net of an artifact, in every precision it has, compiled by every engine that can run it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.models.errors import UnknownName
from downshift.runtime.engines import table as registry
from downshift.runtime.engines.engine import OnDevice
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.gpu.driver import DeviceChoice, find_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.engine import Engine, Program
    from downshift.runtime.json_cache import JsonCache

Pair = tuple[str, str]
"""A sub-net, or rather its point, such as `s90-int8`, and an engine."""


@dataclass(frozen=True)
class Engines:
    """Engines that work on this machine, and why others that were tried do not."""

    loaded: tuple[Engine, ...]
    skipped: tuple[str, ...] = ()

    @property
    def versions(self) -> Mapping[str, str]:
        """Engine -> version."""
        return {engine.name: engine.version for engine in self.loaded}

    @property
    def on_device(self) -> frozenset[str]:
        """Names of those that compute on a GPU."""
        return frozenset(engine.name for engine in self.loaded if isinstance(engine, OnDevice))


@dataclass(frozen=True)
class Programs:
    """The programs of one artifact on this machine.

    by_subnet: point -> engine -> program, densest first. Every sub-net of the artifact has a point here, and
    every point a program; `s90-int8` is missing where no engine computes in int8.
    versions: engine -> version of all that were tried.
    skipped: why an engine, or an engine for a sub-net, is not used; sentences for people.
    threads: threads every program computes with.
    """

    by_subnet: Mapping[str, Mapping[str, Program]]
    versions: Mapping[str, str]
    skipped: tuple[str, ...]
    threads: int

    def get(self, subnet: str, engine: str | None = None) -> Program:
        """The sub-net's program on that engine, or on the first there is; raises `UnknownName`."""
        if subnet not in self.by_subnet:
            raise UnknownName("sub-net", subnet, self.by_subnet)
        programs = self.by_subnet[subnet]
        if engine is None:
            return next(iter(programs.values()))
        if engine not in programs:
            raise UnknownName("engine", engine, programs)
        return programs[engine]

    def without(self, unwanted: AbstractSet[Pair]) -> Programs:
        """The same but for some programs, whose memory is free once nobody else holds them.

        A sub-net that has none left is missing.
        """
        kept = {
            subnet: {name: program for name, program in programs.items() if (subnet, name) not in unwanted}
            for subnet, programs in self.by_subnet.items()
        }
        return replace(self, by_subnet={subnet: programs for subnet, programs in kept.items() if programs})

    @property
    def pairs(self) -> frozenset[Pair]:
        """Of every program there is."""
        return frozenset((subnet, name) for subnet, found in self.by_subnet.items() for name in found)

    @property
    def on_device(self) -> tuple[OnDevice, ...]:
        """Those that compute on a GPU."""
        everything = (program for programs in self.by_subnet.values() for program in programs.values())
        return tuple(program for program in everything if isinstance(program, OnDevice))

    @property
    def engines_on_device(self) -> frozenset[str]:
        """Names of the engines on a GPU among them."""
        everything = (each for programs in self.by_subnet.values() for each in programs.items())
        return frozenset(name for name, program in everything if isinstance(program, OnDevice))

    def warm_up(self, shape: tuple[int, ...]) -> None:
        """Run every program once, on zeros of that shape, so that the first request finds it ready."""
        example = np.zeros((1, *shape), np.float32)
        for programs in self.by_subnet.values():
            for program in programs.values():
                program.run(example)


def load_engines(
    names: Sequence[str] | None,
    cache: JsonCache,
    choice: DeviceChoice = DeviceChoice(),  # noqa: B008 - frozen
) -> Engines:
    """The named engines, or every default engine that works here.

    An engine that was asked for and cannot work raises `EngineUnavailable`; a default one is skipped.
    choice: of the GPU; one that is named must be there, or `DeviceUnavailable` is raised.
    Raises `UnknownName` for an unknown engine or device.
    """
    if choice.device not in {None, "cpu"}:
        find_device(choice.device)
    skipped: list[str] = []
    loaded: list[Engine] = []
    for name in names or registry.default_engines(choice):
        try:
            loaded.append(registry.load_engine(name, cache, choice))
        except EngineUnavailable as reason:
            if names:
                raise
            skipped.append(str(reason))
    return Engines(tuple(loaded), tuple(skipped))


def compile_artifact(
    artifact: Artifact, engines: Engines, *, threads: int, without: AbstractSet[Pair] = frozenset()
) -> Programs:
    """All points on all engines of their precision but for some pairs that are known to be of no use.

    Raises `UnsupportedModel` when some sub-net runs on no engine.
    """
    points = artifact.manifest.points
    by_subnet: dict[str, dict[str, Program]] = {point.name: {} for point in points}
    reasons = list(engines.skipped)
    for engine in engines.loaded:
        suited = [point.name for point in points if point.precision == engine.precision]
        wanted = [name for name in suited if (name, engine.name) not in without]
        try:
            compiled = engine.compile(artifact, wanted, threads=threads) if wanted else {}
        except UnsupportedModel as reason:
            reasons.append(str(reason))
            continue
        for name, program in compiled.items():
            if isinstance(program, UnsupportedModel):
                reasons.append(str(program))
            else:
                by_subnet[name][engine.name] = program
    found = {name: programs for name, programs in by_subnet.items() if programs}
    served = {point.subnet.name for point in points if point.name in found}
    for name in artifact.manifest.names:
        if name not in served:
            raise UnsupportedModel(f"sub-net {name} runs on no engine: " + "; ".join(reasons))
    return Programs(found, engines.versions, tuple(reasons), threads)
