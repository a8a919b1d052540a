"""Prepares an artifact for serving: reads and compiles it, and profiles it or loads the cached profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from downshift.models import artifact as artifacts
from downshift.runtime.background import finish
from downshift.runtime.engines.programs import Programs, compile_artifact, load_engines
from downshift.runtime.errors import TooFewCores
from downshift.runtime.gpu.driver import DeviceChoice
from downshift.runtime.improvement import Improvement
from downshift.runtime.json_cache import JsonCache, default_folder
from downshift.runtime.machine import default_threads, this_machine, usable_cores
from downshift.runtime.memory import release
from downshift.runtime.profiling.profile_cache import ProfileCache
from downshift.runtime.profiling.profiler import Effort, Progress, measure, part
from downshift.runtime.profiling.self_check import Reference, self_check
from downshift.runtime.profiling.spares import needless
from downshift.runtime.profiling.tuning import tuning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Manifest
    from downshift.runtime.engines.programs import Engines, Pair
    from downshift.runtime.profiling.profile import Profile

READ, COMPILED, TUNED = 0.05, 0.1, 0.4  # progress at the end of each step


class Tune(StrEnum):
    """When to autotune programs without cached tunings: before profiling, while serving, or never."""

    FIRST = "first"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Prepared:
    """An artifact's compiled programs and their profile on this machine.

    `programs.skipped`: why engines are not used. improvement: autotuning left to do while serving.
    replicas: the same programs once more for each further executor, on threads of their own.
    """

    manifest: Manifest
    programs: Programs
    profile: Profile
    improvement: Improvement | None = None
    replicas: tuple[Programs, ...] = ()


@dataclass(frozen=True)
class Setup:
    """How to prepare an artifact.

    threads: of each program; by default `machine.default_threads(executors)`.
    engines: names from `downshift.runtime.engines.table`; by default all that work here.
    cache_dir: where profiles and tilings are kept; by default `json_cache.default_folder()`.
    cache: used instead; one for several artifacts says once, not for each, that nothing can be stored.
    device: for GPU engines. remeasure: measure even when there is a cached profile. effort: how thoroughly.
    check: refuse an artifact whose programs do not answer what they should, as `self_check` says.
    executors: batches that run at once, each on programs and threads of its own.
    tune: when. Unless programs are tuned first, their profile is a rough one, of the usual batch sizes, and
    is not kept.
    """

    threads: int | None = None
    engines: Sequence[str] | None = None
    cache_dir: Path | None = None
    device: DeviceChoice = field(default_factory=DeviceChoice)
    remeasure: bool = False
    effort: Effort = field(default_factory=Effort)
    check: bool = False
    tune: Tune = Tune.FIRST
    cache: JsonCache | None = None
    executors: int = 1


def prepare(path: str | Path, setup: Setup = Setup(), progress: Progress | None = None) -> Prepared:
    """Read the artifact, find its profile in the cache or measure it, and compile what is worth running.

    Programs that lost to a faster engine at every batch size are not kept, unless they are yet to be tuned;
    all others have run once.
    progress: called with a fraction in [0, 1] and a text for people; the last call is 1.0.

    Raises `ArtifactError`, `UnknownName` (engine, device), a `Missing`, `UnsupportedModel`,
    `SelfCheckFailed`, and whatever `progress` raises, which is a way to give up.
    """
    report = progress or (lambda _fraction, _text: None)
    report(0.0, f"reading {path}")
    artifact = artifacts.read(path)
    manifest = artifact.manifest
    threads = setup.threads or default_threads(setup.executors)
    if setup.executors > (cores := usable_cores()):
        raise TooFewCores(setup.executors, cores)
    json_cache = setup.cache or JsonCache(setup.cache_dir or default_folder())
    engines = load_engines(setup.engines, json_cache, setup.device)
    cache = ProfileCache(json_cache)
    machine = this_machine(threads, engines.versions)
    improvement, reference = None, Reference(artifact)
    replicate = partial(_replicas, artifact, engines, threads, setup.executors - 1)
    effort = setup.effort.between_requests if setup.tune is Tune.LATER else setup.effort
    if engines.on_device:
        effort = effort.for_device
    profile = None if setup.remeasure else cache.load(manifest.sha256, machine)
    if profile is not None and not effort.met_by(profile):
        profile = None
    report(READ, f"compiling {len(manifest.subnets)} sub-nets")
    unwanted: frozenset[Pair] = frozenset()
    if profile is not None:
        unwanted = needless(profile, engines.on_device)
        programs = compile_artifact(artifact, engines, threads=threads, without=unwanted)
        report(COMPILED, "profile found in the cache")
    else:
        programs = compile_artifact(artifact, engines, threads=threads)
        if setup.tune is Tune.FIRST:
            finish(tuning(programs, effort.tune_seconds, part(report, COMPILED, TUNED)))
            profile = measure(manifest, programs, effort, part(report, TUNED, 1.0))
            cache.store(profile)
        else:
            profile = measure(manifest, programs, effort.rough, part(report, COMPILED, 1.0))
        if setup.tune is Tune.LATER:
            improvement = Improvement(effort, cache, reference, replicate if setup.executors > 1 else None)
        else:
            unwanted = needless(profile, engines.on_device)
            programs = programs.without(unwanted)
    replicas = replicate(unwanted)
    for each in (programs, *replicas):
        each.warm_up(manifest.input.shape)
        if setup.check:
            self_check(reference, each, profile)
    release()
    report(1.0, "ready")
    return Prepared(manifest, programs, profile, improvement, replicas)


def _replicas(
    artifact: Artifact, engines: Engines, threads: int, count: int, without: AbstractSet[Pair]
) -> tuple[Programs, ...]:
    """The programs `count` times; tilings come from the cache, so that a copy is tuned as the first is."""
    return tuple(compile_artifact(artifact, engines, threads=threads, without=without) for _ in range(count))
