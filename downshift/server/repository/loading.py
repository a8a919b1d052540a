"""From an artifact's file to something that answers: prepared, checked, observed and started."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.deployment import Deployment
from downshift.runtime.preparation import Setup, Tune, prepare
from downshift.runtime.scheduling.observer import Several
from downshift.server.console import improved_text, subnets_text
from downshift.server.statistics import Statistics

if TYPE_CHECKING:
    from downshift.runtime.profiling.profiler import Progress
    from downshift.server.catalog import Backend
    from downshift.server.repository.source import Source
    from downshift.server.settings import Settings
    from downshift.server.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Loaded:
    """A backend that answers already, though nobody asks it yet.

    statistics: its observer. text: its sub-nets, for the operator.
    """

    backend: Backend
    statistics: Statistics = field(default_factory=Statistics)
    text: str = ""


class Load(Protocol):
    """How a source becomes a backend; raises our own errors for an artifact that cannot be served."""

    def __call__(self, source: Source, report: Progress) -> Loaded:
        """Called on a thread that may take its time; whatever `report` raises ends it."""
        ...


@dataclass(frozen=True)
class DeploymentLoad:
    """Loads artifacts as the settings want it; the metrics learn of every deployment it starts."""

    metrics: Metrics
    settings: Settings

    def __call__(self, source: Source, report: Progress) -> Loaded:
        """Read, profile or find the profile, compile and check, then start.

        Raises whatever `downshift.runtime.preparation.prepare` raises.
        """
        settings = self.settings
        tune = Tune.LATER if settings.tune else Tune.NEVER
        setup = Setup(settings.threads, settings.engines, settings.cache_dir, check=True, tune=tune)
        prepared = prepare(source.path, setup, report)
        events = self.metrics.announce(source.name, prepared.manifest, prepared.programs.versions)
        statistics = Statistics()
        deployment = Deployment(
            prepared,
            limits=settings.limits,
            observer=Several(statistics, events),
            improved=lambda profile: print(improved_text(source.name, profile), flush=True),
            supervisor=self.metrics.supervisor,
        )
        return Loaded(deployment, statistics, subnets_text(source.name, prepared))
