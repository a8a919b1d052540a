"""Ring buffer of per-second aggregates: outcomes, sub-nets, accuracy, queue delays; constant memory."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from downshift.runtime.request import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from downshift.runtime.gpu.monitor import Gpu
    from downshift.runtime.scheduling.lifecycle import Settled

SECONDS = 300
MINUTE = 60
NO_MODEL = ""  # requests that end before their model is resolved: in totals, not in any model's history
NOT_COUNTED = (Outcome.CANCELLED, Outcome.INVALID)  # caused by the client: excluded from SLO attainment


@dataclass(slots=True)
class _Second:
    """Aggregates of one second, for one model.

    outcomes: requests by outcome. answers: requests by sub-net. accuracy: sum over the `rated` answers in
    time. waited, longest: queue delay in seconds, sum and maximum over executed requests.
    """

    second: int = -1
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    rated: int = 0
    accuracy: float = 0.0
    waited: float = 0.0
    longest: float = 0.0


@dataclass(slots=True, frozen=True)
class Sample:
    """State of the server: CPU utilisation, GPUs, and (queued, in flight) of every model."""

    cpu: float
    gpus: tuple[Gpu, ...]
    work: Mapping[str, tuple[int, int]]


class History:
    """The last `seconds` seconds of every model; thread-safe. `now` gives monotonic seconds."""

    def __init__(self, seconds: int = SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._models: dict[str, list[_Second]] = {}
        self._samples: dict[int, Sample] = {}

    @property
    def last(self) -> int:
        """The last complete second."""
        return int(self._now()) - 1

    def sample(self, sample: Sample) -> None:
        """Record the server's state for the last complete second."""
        last = self.last
        with self._lock:
            self._samples[last] = sample
            for second in [each for each in self._samples if each <= last - self._seconds]:
                del self._samples[second]

    def ended(self, model: str, outcome: Outcome) -> None:
        """Count a request that was not executed; invalid ones are not the model's and are ignored."""
        if outcome is not Outcome.INVALID:
            with self._lock:
                self._count(model, outcome)

    def executed(self, model: str, event: Settled, accuracy: float | None) -> None:
        """Count a request that was executed by a sub-net of this accuracy."""
        with self._lock:
            second = self._count(model, event.outcome)
            second.waited += event.queue_seconds
            second.longest = max(second.longest, event.queue_seconds)
            if event.subnet is not None and event.answer is not None:
                second.answers[event.subnet] = second.answers.get(event.subnet, 0) + 1
            if accuracy is not None and event.outcome is Outcome.OK:
                second.rated += 1
                second.accuracy += accuracy

    def attainment(self, seconds: int = MINUTE) -> float:
        """SLO attainment over the last seconds, the current one included; NaN without requests."""
        in_time = ended = 0
        with self._lock:
            for second in self._latest(seconds):
                in_time += second.outcomes.get(Outcome.OK, 0)
                ended += sum(second.outcomes[each] for each in second.outcomes if each not in NOT_COUNTED)
        return in_time / ended if ended else math.nan

    def served_accuracy(self, seconds: int = MINUTE) -> float:
        """Mean validation accuracy of answers in time, over the same window; NaN without any."""
        with self._lock:
            latest = self._latest(seconds)
            rated = sum(second.rated for second in latest)
            return sum(second.accuracy for second in latest) / rated if rated else math.nan

    def since(self, second: int) -> list[dict[str, Any]]:
        """All complete seconds after that one, oldest first, empty ones included."""
        last = self.last
        first = max(second + 1, last - self._seconds + 1)
        with self._lock:
            return [self._describe(each) for each in range(first, last + 1)]

    def _latest(self, seconds: int) -> list[_Second]:
        oldest = int(self._now()) - seconds + 1
        return [second for ring in self._models.values() for second in ring if second.second >= oldest]

    def _count(self, model: str, outcome: Outcome) -> _Second:
        now = int(self._now())
        ring = self._models.get(model)
        if ring is None:  # one slot more: the current second must not overwrite a visible one
            ring = self._models[model] = [_Second() for _ in range(self._seconds + 1)]
        index = now % len(ring)
        second = ring[index]
        if second.second != now:
            second = ring[index] = _Second(now)
        second.outcomes[outcome] = second.outcomes.get(outcome, 0) + 1
        return second

    def _describe(self, second: int) -> dict[str, Any]:
        described: dict[str, Any] = {"second": second}
        models: dict[str, dict[str, Any]] = {}
        for name, ring in self._models.items():
            slot = ring[second % len(ring)]
            if slot.second == second and name != NO_MODEL:
                models[name] = _ended(slot)
        sample = self._samples.get(second)
        if sample is not None:
            described["cpu"] = round(sample.cpu, 3)
            described["gpus"] = [
                {"utilization": round(gpu.pressure, 3), "memory": gpu.memory} for gpu in sample.gpus
            ]
            for name, (queued, in_flight) in sample.work.items():
                models.setdefault(name, {}).update(queued=queued, in_flight=in_flight)
        return described | {"models": models}


def _ended(second: _Second) -> dict[str, Any]:
    """A second as JSON; queue delays cover executed requests only."""
    executed = sum(second.answers.values())
    return {
        "outcomes": {outcome.value: count for outcome, count in second.outcomes.items()},
        "answers": dict(second.answers),
        "accuracy": round(second.accuracy / second.rated, 5) if second.rated else None,
        "queue_ms": round(1e3 * second.waited / executed, 3) if executed else None,
        "longest_queue_ms": round(1e3 * second.longest, 3),
    }
