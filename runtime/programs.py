"""Every sub-net of an artifact, compiled by every engine that can run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import UnknownName
from runtime.engines import DEFAULT_ENGINES, load_engine
from runtime.errors import EngineUnavailable, UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.artifact import Artifact
    from runtime.engine import Engine, Program


@dataclass(frozen=True)
class Programs:
    """The programs of one artifact on this machine.

    by_subnet: sub-net -> engine -> program; every sub-net of the artifact has at least one.
    versions: engine -> version, for engines with at least one program.
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


def compile_artifact(artifact: Artifact, *, threads: int, engines: Sequence[str] | None = None) -> Programs:
    """All sub-nets on the engines asked for, or on every default engine that works here.

    An engine that was asked for and cannot work raises `EngineUnavailable`; a default one is skipped.
    Raises `UnsupportedModel` when some sub-net runs on no engine, `UnknownName` for an unknown engine.
    """
    skipped: list[str] = []
    loaded: list[Engine] = []
    for name in engines or DEFAULT_ENGINES:
        try:
            loaded.append(load_engine(name))
        except EngineUnavailable as reason:
            if engines:
                raise
            skipped.append(str(reason))
    return compile_with(loaded, artifact, threads=threads, skipped=tuple(skipped))


def compile_with(
    engines: Sequence[Engine], artifact: Artifact, *, threads: int, skipped: tuple[str, ...] = ()
) -> Programs:
    """All sub-nets on these engines; raises `UnsupportedModel` when some sub-net runs on none of them."""
    names = artifact.manifest.names
    by_subnet: dict[str, dict[str, Program]] = {name: {} for name in names}
    versions: dict[str, str] = {}
    reasons = list(skipped)
    for engine in engines:
        try:
            compiled = engine.compile(artifact, names, threads=threads)
        except UnsupportedModel as reason:
            reasons.append(str(reason))
            continue
        for name in names:
            program = compiled[name]
            if isinstance(program, UnsupportedModel):
                reasons.append(str(program))
            else:
                by_subnet[name][engine.name] = program
                versions[engine.name] = engine.version
    for name, programs in by_subnet.items():
        if not programs:
            raise UnsupportedModel(f"sub-net {name} runs on no engine: " + "; ".join(reasons))
    return Programs(by_subnet, versions, tuple(reasons), threads)
