"""What one request leaves behind for people who look later: noted on its way, written once it is over."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from downshift.server.telemetry.identity import read_identity

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any

    from downshift.server.report import Report
    from downshift.server.telemetry.identity import Identity

log = logging.getLogger("downshift.server")

MOST = 65_536  # trails that may wait to be written: some tens of MB
PERIOD = 0.1
_KEY = "downshift.trail"


class Trail:
    """One request. Owned by its own task until it is over, then by whoever writes it.

    began, answered_at, ended: monotonic seconds of the first byte, of the model's answer, of the end.
    finished: Unix seconds of the end. status: 0 when no response began. received: bytes of the request's
    body, where it said so; sent: of the response's. Model, sub-net and phases are those of inference alone.
    """

    __slots__ = (
        "answered_at",
        "began",
        "budget",
        "client",
        "ended",
        "finished",
        "identity",
        "infer_seconds",
        "method",
        "model",
        "path",
        "queue_seconds",
        "received",
        "sent",
        "status",
        "subnet",
    )

    def __init__(self, scope: Mapping[str, Any], began: float) -> None:
        self.identity: Identity = read_identity(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        client = scope.get("client")
        self.client: str | None = client[0] if client else None
        self.began = began
        self.ended = self.finished = 0.0
        self.status = self.sent = 0
        self.received: int | None = None
        self.model: str | None = None
        self.subnet: str | None = None
        self.budget: float | None = None
        self.queue_seconds: float | None = None
        self.infer_seconds: float | None = None
        self.answered_at: float | None = None

    def asked(self, model: str, budget: float | None) -> None:
        """A model is asked, within that many seconds, or as long as it takes."""
        self.model, self.budget = model, budget

    def answered(self, report: Report) -> None:
        """The model answered."""
        answer = report.answer
        self.answered_at = self.began + report.total_seconds
        self.subnet = answer.subnet.name
        self.queue_seconds, self.infer_seconds = answer.queue_seconds, answer.compute_seconds


def begin(scope: MutableMapping[str, Any], began: float) -> Trail:
    """The trail of a request that begins, to be found by `trail`."""
    made: Trail = Trail(scope, began)
    scope[_KEY] = made
    return made


def trail(scope: Mapping[str, Any]) -> Trail:
    """The trail of a request that passed the boundary."""
    found: Trail = scope[_KEY]
    return found


class Sink(Protocol):
    """Where trails are written; called on one thread, which is never the event loop's."""

    def write(self, trails: Sequence[Trail], lost: int) -> None:
        """Keep them; `lost` more were dropped since the last time, because too many waited."""
        ...

    def close(self) -> None:
        """Nothing follows."""
        ...


class Trails:
    """Takes trails on the event loop for the price of an append; a thread writes them ten times a second.

    What a killed process had not written is lost. A sink that fails is named in the server's log, once until
    it works again, and costs no request anything.
    """

    def __init__(self, sinks: Sequence[Sink] = (), most: int = MOST) -> None:
        self._sinks = tuple(sinks)
        self._most = most
        self._waiting: deque[Trail] = deque()
        self._lost = 0
        self._failing: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="downshift-trails", daemon=True)

    @property
    def wanted(self) -> bool:
        """Somebody writes them."""
        return bool(self._sinks)

    def start(self) -> None:
        """Begin to write."""
        if self._sinks:
            self._thread.start()

    def add(self, ended: Trail) -> None:
        """The request is over."""
        if len(self._waiting) < self._most:
            self._waiting.append(ended)
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what waits and close the sinks."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001  the others are closed, too
                log.error("%s cannot be closed: %s", sink, error)

    def flush(self) -> None:
        """Write what waits, on the calling thread."""
        lost, self._lost = self._lost, 0
        trails = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not trails and not lost:
            return
        for index, sink in enumerate(self._sinks):
            try:
                sink.write(trails, lost)
            except Exception as error:  # noqa: BLE001  a full disk must not end the thread
                if index not in self._failing:
                    log.error("%s cannot write: %s; what it is given is lost", sink, error)
                self._failing.add(index)
            else:
                self._failing.discard(index)

    def _serve(self) -> None:
        while not self._stop.wait(PERIOD):
            self.flush()


def unix(moment: float, ended: Trail) -> float:
    """Unix seconds of a monotonic moment of that request."""
    return ended.finished - (ended.ended - moment)


def over(ended: Trail, scope: Mapping[str, Any]) -> None:
    """Note that the request is over now."""
    ended.ended, ended.finished = time.monotonic(), time.time()
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            ended.received = int(value[:18])
