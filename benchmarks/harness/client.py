"""The load generator: closed loop or open loop, one thread, requests made beforehand, every answer checked.

Closed loop: every connection sends its next request as soon as its answer is there. Open loop: requests leave
when their trace says so, whatever became of those before; a latency counts from when the request was due, so
that time it waited for a connection or for this process is not hidden (no coordinated omission).

An answer that was seen before costs a look-up, a new one is compared with the network's logits.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.check import check
from benchmarks.harness.connections import OK, Connections
from benchmarks.harness.errors import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from benchmarks.harness.check import Floats
    from benchmarks.harness.connections import Answer
    from benchmarks.harness.wire import Wire

_REMEMBERED = 4096  # answers


@dataclass
class Load:
    """What a closed loop came to.

    latencies: seconds of every answer that was right. subnets: how many each sub-net gave. refused:
    answers by another status than 200. cpu: processor seconds of the client. seconds: of the run. size: of
    the last answer's body in bytes.
    """

    latencies: list[float] = field(default_factory=list)
    subnets: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    cpu: float = 0.0
    seconds: float = 0.0
    size: int = 0

    @property
    def throughput(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the answers came."""
        return float(np.quantile(self.latencies, share)) if self.latencies else float("nan")


@dataclass(frozen=True, eq=False)
class Record:
    """What became of every request of an open loop, arrays [n] in the order of the trace.

    due, sent, ended: seconds from the start: when it should leave, when its first byte did, when its answer
    was there; infinite where that never happened. status: HTTP's, 0 without an answer. subnet: who answered,
    or empty. queued, computed, inside: seconds that the server says it waited, its batch was computed, and
    all of it took; NaN where it does not say.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    status: NDArray[np.int64]
    subnet: NDArray[np.str_]
    queued: NDArray[np.float64]
    computed: NDArray[np.float64]
    inside: NDArray[np.float64]

    @classmethod
    def unanswered(cls, due: NDArray[np.float64]) -> Record:
        """Nothing was sent yet."""
        count = len(due)
        sent, ended = np.full((2, count), np.inf)
        queued, computed, inside = np.full((3, count), np.nan)
        status, subnet = np.zeros(count, np.int64), np.full(count, "", "U32")
        return cls(due, sent, ended, status, subnet, queued, computed, inside)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from when each request was due to its answer."""
        return self.ended - self.due

    def in_time(self, budget: float) -> NDArray[np.bool_]:
        """Which requests had a good answer within that many seconds of when they were due."""
        return np.asarray((self.status == OK) & (self.latency <= budget))

    def note(self, index: int, ended: float, answer: Answer) -> None:
        """The answer to a request."""
        durations = answer.durations
        self.ended[index], self.status[index], self.subnet[index] = ended, answer.status, answer.subnet
        for name, column in (("queue", self.queued), ("infer", self.computed), ("total", self.inside)):
            column[index] = durations.get(name, np.nan)


class Client:
    """Asks one model over one wire, and knows the right answers."""

    def __init__(self, wire: Wire, images: NDArray[Any], expected: Mapping[str, Floats]) -> None:
        """images: [n, C, H, W], sent one at a time. expected: sub-net -> logits [n, classes].

        Answers that name no sub-net are held against those of the sub-net ''.
        """
        self._wire, self._expected = wire, expected
        self._requests = [wire.request(images[index : index + 1]) for index in range(len(images))]
        self._right: set[tuple[int, str, bytes]] = set()

    def closed_loop(self, port: int, connections: int, seconds: float) -> Load:
        """Keep that many connections busy from one core; raises `WrongAnswer` at the first wrong answer."""
        load, requests = Load(), self._requests
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
        try:
            with Connections[tuple[int, float]](port, connections) as line:
                cpu, begin = time.process_time(), time.perf_counter()
                upcoming, waiting = 0, connections
                for _ in range(connections):
                    upcoming = (upcoming + 1) % len(requests)
                    line.send((upcoming, time.perf_counter()), requests[upcoming])
                while waiting:
                    for (index, sent), answer in line.answers():
                        now = time.perf_counter()
                        if answer is None or answer.closes:
                            raise WrongAnswer(f"the server hung up after {answer and answer.head[:300]!r}")
                        if now < begin + seconds:
                            upcoming = (upcoming + 1) % len(requests)
                            line.send((upcoming, now), requests[upcoming])
                        else:
                            waiting -= 1
                        self._count(load, index, now - sent, answer)
                load.seconds, load.cpu = time.perf_counter() - begin, time.process_time() - cpu
        finally:
            os.sched_setaffinity(0, cores)
        return load

    def open_loop(
        self, port: int, times: NDArray[np.float64], *, connections: int = 128, grace: float = 5.0
    ) -> Record:
        """Send a request at each of these seconds from now, ascending; returns when all is over.

        connections: most that are open at once; when all are taken, requests that are due wait for one.
        grace: seconds after the last request is due that answers are waited for. Raises `WrongAnswer`.
        """
        record, due, requests = Record.unanswered(times), deque[int](), self._requests
        upcoming = ended = 0
        give_up = float(times[-1]) + grace
        with Connections[int](port, connections) as line:
            begin = time.monotonic()
            while ended < len(times) and (now := time.monotonic() - begin) < give_up:
                while upcoming < len(times) and times[upcoming] <= now:
                    due.append(upcoming)
                    upcoming += 1
                while due and line.available:
                    index = due.popleft()
                    record.sent[index] = time.monotonic() - begin
                    line.send(index, requests[index % len(requests)])
                until = float(times[upcoming]) if upcoming < len(times) else give_up
                for index, answer in line.answers(max(0.0, until - (time.monotonic() - begin))):
                    ended += 1
                    if answer is not None:
                        record.note(index, time.monotonic() - begin, answer)
                        if answer.status == OK:
                            self._check(index % len(requests), answer)
        return record

    def _count(self, load: Load, index: int, latency: float, answer: Answer) -> None:
        if answer.status != OK:
            load.refused[answer.status] += 1
            return
        load.subnets[self._check(index, answer)] += 1
        load.latencies.append(latency)
        load.size = len(answer.body)

    def _check(self, index: int, answer: Answer) -> str:
        """The sub-net that answered; raises `WrongAnswer` unless these are its logits."""
        subnet = answer.subnet
        key = index, subnet, self._wire.logits(*answer)
        if key not in self._right:
            check(
                f"sub-net {subnet or 'served'}", np.frombuffer(key[2], "<f4"), self._expected[subnet][index]
            )
            if len(self._right) < _REMEMBERED:
                self._right.add(key)
        return subnet
