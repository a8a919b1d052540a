"""From an artifact's file to something that answers: prepared, checked, observed and started."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.cpu import CpuMeter
from downshift.runtime.deployment import Deployment
from downshift.runtime.gpu.driver import DeviceChoice
from downshift.runtime.json_cache import JsonCache, default_folder
from downshift.runtime.preparation import Setup, Tune, prepare
from downshift.server.operator import NullOperator
from downshift.server.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from downshift.runtime.profiling.profiler import Progress
    from downshift.server.catalog import Backend
    from downshift.server.operator import Operator
    from downshift.server.repository.source import Source
    from downshift.server.settings import Settings
    from downshift.server.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Loaded:
    """A backend that answers already, though nobody asks it yet.

    statistics: its observer.
    """

    backend: Backend
    statistics: Statistics = field(default_factory=Statistics)


class Load(Protocol):
    """How a source becomes a backend; raises our own errors for an artifact that cannot be served."""

    def __call__(self, source: Source, report: Progress) -> Loaded:
        """Called on a thread that may take its time; whatever `report` raises ends it."""
        ...


@dataclass(frozen=True)
class DeploymentLoad:
    """Loads artifacts as the settings want it; metrics and operator learn of every deployment it starts.

    cpu: makes what reads a deployment's CPU utilisation.
    """

    metrics: Metrics
    settings: Settings
    operator: Operator = field(default_factory=NullOperator)
    cpu: Callable[[], CpuMeter] = CpuMeter

    @cached_property
    def cache(self) -> JsonCache:
        """Of all models."""
        return JsonCache(self.settings.cache_dir or default_folder())

    def __call__(self, source: Source, report: Progress) -> Loaded:
        """Read, profile or find the profile, compile and check, then start.

        Raises whatever `downshift.runtime.preparation.prepare` raises.
        """
        settings = self.settings
        tune = Tune.LATER if settings.tune else Tune.NEVER
        setup = Setup(
            settings.threads,
            settings.engines,
            cache=self.cache,
            device=DeviceChoice(settings.device, settings.gpu_memory_bytes),
            check=True,
            tune=tune,
            executors=settings.executors,
        )
        prepared = prepare(source.path, setup, report)
        events = self.metrics.announce(source.name, prepared.manifest, prepared.programs.versions)
        statistics = Statistics()
        deployment = Deployment(
            prepared,
            limits=settings.limits,
            observers=(statistics, events),
            improved=partial(self.operator.improved, source.name),
            supervisor=self.metrics.supervisor,
            cpu=self.cpu,
        )
        self.operator.loaded(source.name, prepared)
        return Loaded(deployment, statistics)
