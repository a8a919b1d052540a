"""From a file to something that can be served: read, compiled, and profiled or found in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models import artifact as artifacts
from runtime.machine import default_threads, this_machine
from runtime.profile_cache import ProfileCache, default_folder
from runtime.profiler import Effort, Progress, measure
from runtime.programs import Programs, compile_artifact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.spec import Manifest
    from runtime.profile import Profile

COMPILED = 0.1  # share of the progress bar that reading and compiling take


@dataclass(frozen=True)
class Prepared:
    """An artifact's programs on this machine and how fast they are.

    `programs.skipped` says why some engine is not used.
    """

    manifest: Manifest
    programs: Programs
    profile: Profile


@dataclass(frozen=True)
class Setup:
    """How to prepare an artifact.

    threads: of each program; by default the physical cores this process may use.
    engines: names from `runtime.engines`; by default all that work here.
    cache_dir: where profiles are kept; by default `profile_cache.default_folder()`.
    remeasure: measure even when there is a cached profile. effort: how thoroughly.
    """

    threads: int | None = None
    engines: Sequence[str] | None = None
    cache_dir: Path | None = None
    remeasure: bool = False
    effort: Effort = field(default_factory=Effort)


def prepare(path: str | Path, setup: Setup = Setup(), progress: Progress | None = None) -> Prepared:
    """Read and compile the artifact, then find its profile in the cache or measure it.

    progress: called with a fraction in [0, 1] and a text for people; the last call is 1.0.

    Raises `ArtifactError`, `UnknownName` (engine), `EngineUnavailable`, `UnsupportedModel`.
    """
    report = progress or (lambda _fraction, _text: None)
    report(0.0, f"reading {path}")
    artifact = artifacts.read(path)
    manifest = artifact.manifest
    report(COMPILED / 2, f"compiling {len(manifest.subnets)} sub-nets")
    threads = setup.threads or default_threads()
    programs = compile_artifact(artifact, threads=threads, engines=setup.engines)
    cache = ProfileCache(setup.cache_dir or default_folder())
    machine = this_machine(threads, programs.versions)
    if not setup.remeasure and (found := cache.load(manifest.sha256, machine, setup.effort.batch_sizes)):
        report(1.0, "profile found in the cache")
        return Prepared(manifest, programs, found)
    profile = measure(
        manifest,
        programs,
        effort=setup.effort,
        progress=lambda fraction, text: report(COMPILED + (1.0 - COMPILED) * fraction, text),
    )
    cache.store(profile)
    return Prepared(manifest, programs, profile)
