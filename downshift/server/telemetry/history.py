"""What each of the last seconds was like, for whoever looks: constant memory, however many requests."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from downshift.runtime.errors import DeadlineExpired, DeadlineImpossible, Draining, Shed
from downshift.runtime.scheduling.observer import Outcome, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from downshift.runtime.gpu import Gpu
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.observer import Settled

SECONDS = 300
SHED = "shed"


@dataclass(slots=True)
class _Second:
    """What ended within one second, for one model.

    outcomes: requests by how they ended. answers: requests by the sub-net that answered. accuracy: the sum
    over the `rated` answers that were in time. waited, longest: seconds in the queue, sum and maximum,
    of all that were executed.
    """

    second: int = -1
    outcomes: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    rated: int = 0
    accuracy: float = 0.0
    waited: float = 0.0
    longest: float = 0.0


@dataclass(slots=True, frozen=True)
class Sample:
    """The server at one moment: the CPU's busy share, every GPU, and (waiting, executing) of every model."""

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
        """The last second that is over."""
        return int(self._now()) - 1

    def observer(self, model: str, accuracy: Mapping[str, float | None]) -> Silent:
        """What hears the events of this model's scheduler; `accuracy` is that of its sub-nets."""
        return _Events(self, model, accuracy)

    def sample(self, sample: Sample) -> None:
        """Keep the state of the server for the second that is over."""
        last = self.last
        with self._lock:
            self._samples[last] = sample
            for second in [each for each in self._samples if each <= last - self._seconds]:
                del self._samples[second]

    @contextmanager
    def reading(self, model: str) -> Iterator[None]:
        """Count a request that is refused inside, before the model's scheduler hears of it."""
        try:
            yield
        except (Shed, DeadlineExpired) as error:
            self.refused(model, error)
            raise

    def refused(self, model: str, error: Exception) -> None:
        """Count a request that was not accepted; one that could not be understood is none of the model's."""
        if isinstance(error, DeadlineImpossible | DeadlineExpired):
            self.ended(model, Outcome.EXPIRED.value)
        elif isinstance(error, Shed | Draining):
            self.ended(model, SHED)

    def ended(self, model: str, outcome: str) -> None:
        """Count a request that ended without an answer."""
        with self._lock:
            self._count(model, outcome)

    def settled(self, model: str, event: Settled, accuracy: float | None) -> None:
        """Count the end of a request that a sub-net of this accuracy was executed for."""
        with self._lock:
            second = self._count(model, event.outcome.value)
            second.waited += event.queue_seconds
            second.longest = max(second.longest, event.queue_seconds)
            if event.subnet is not None and event.error is None:
                second.answers[event.subnet] = second.answers.get(event.subnet, 0) + 1
            if accuracy is not None and event.outcome is Outcome.OK:
                second.rated += 1
                second.accuracy += accuracy

    def since(self, second: int) -> list[dict[str, Any]]:
        """Every second after that one that is over, oldest first; seconds in which nothing happened, too."""
        last = self.last
        first = max(second + 1, last - self._seconds + 1)
        with self._lock:
            return [self._describe(each) for each in range(first, last + 1)]

    def _count(self, model: str, outcome: str) -> _Second:
        now = int(self._now())
        ring = self._models.get(model)
        if ring is None:  # one more, so that the second now filling replaces none that is shown
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
            if slot.second == second:
                models[name] = _ended(slot)
        sample = self._samples.get(second)
        if sample is not None:
            described["cpu"] = round(sample.cpu, 3)
            described["gpus"] = [
                {"utilization": round(gpu.utilization, 3), "memory": gpu.memory} for gpu in sample.gpus
            ]
            for name, (queued, in_flight) in sample.work.items():
                models.setdefault(name, {}).update(queued=queued, in_flight=in_flight)
        return described | {"models": models}


class _Events(Silent):
    def __init__(self, history: History, model: str, accuracy: Mapping[str, float | None]) -> None:
        self._history = history
        self._model = model
        self._accuracy = accuracy

    def rejected(self, request: Request, error: Exception) -> None:  # noqa: ARG002  the protocol's
        self._history.refused(self._model, error)

    def settled(self, event: Settled) -> None:
        if event.subnet is None:
            self._history.ended(self._model, event.outcome.value)
        else:
            self._history.settled(self._model, event, self._accuracy.get(event.subnet))


def _ended(second: _Second) -> dict[str, Any]:
    """The JSON of a second in which requests ended; executed ones only have waited."""
    executed = sum(second.answers.values())
    return {
        "outcomes": dict(second.outcomes),
        "answers": dict(second.answers),
        "accuracy": round(second.accuracy / second.rated, 5) if second.rated else None,
        "queue_ms": round(1e3 * second.waited / executed, 3) if executed else None,
        "longest_queue_ms": round(1e3 * second.longest, 3),
    }
