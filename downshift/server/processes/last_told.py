"""What worker processes told of their metrics last: a counter goes on when its process has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from downshift.server.telemetry.exposition import OPENMETRICS
from downshift.server.telemetry.totals import added

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

SUFFIX = ".metrics"
ENDED = f"ended{SUFFIX}"


class LastTold:
    """A file of every process that has ever told its metrics; one for all that have ended.

    Its methods are called by one process at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, process: int, text: str) -> None:
        """Remember what that process tells now."""
        _replace(self._folder / f"{process}{SUFFIX}", text)

    def of_others(self, answering: Collection[int]) -> list[Metric]:
        """Counters and histograms of all processes but those that answer."""
        files = [file for file in self._folder.glob(f"[0-9]*{SUFFIX}") if int(file.stem) not in answering]
        ended = [file for file in files if not psutil.pid_exists(int(file.stem))]
        if ended:
            sums = added([self._ended(), *map(_read, ended)])
            _replace(self._folder / ENDED, OPENMETRICS.write(_Families(sums)).decode())
            for file in ended:
                file.unlink()
        return added([self._ended(), *(_read(file) for file in files if file not in ended)])

    def _ended(self) -> list[Metric]:
        file = self._folder / ENDED
        return _read(file) if file.exists() else []


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def parsed(text: str) -> list[Metric]:
    """The families of an OpenMetrics text."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def _read(file: Path) -> list[Metric]:
    """Without gauges, which tell of a moment that is gone."""
    return [family for family in parsed(file.read_text(encoding="utf-8")) if family.type != "gauge"]


def _replace(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
