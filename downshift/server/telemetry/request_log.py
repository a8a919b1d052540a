"""Request log: a record per request, filled in on the event loop and written to sinks on a thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.supervisor import Supervisor
from downshift.server.telemetry.identity import read_identity

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any

    from downshift.runtime.request import Answer
    from downshift.runtime.supervisor import Worker
    from downshift.server.telemetry.identity import Identity

log = logging.getLogger("downshift.server")

MAX_PENDING = 65_536  # records that may wait to be written: some tens of MB
FLUSH_SECONDS = 0.1
_KEY = "downshift.request_record"


class RequestRecord:
    """One request. Owned by its own task until it has ended, then by the log's thread.

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
        """The request goes to a model, with a budget in seconds, or without one."""
        self.model, self.budget = model, budget

    def answered(self, answer: Answer, total_seconds: float) -> None:
        """The model answered, that long after the first byte."""
        self.answered_at = self.began + total_seconds
        self.subnet = answer.point.name
        self.queue_seconds, self.infer_seconds = answer.queue_seconds, answer.compute_seconds


def begin_record(scope: MutableMapping[str, Any], began: float) -> RequestRecord:
    """A new record for a request that begins; `record_of` finds it again."""
    made: RequestRecord = RequestRecord(scope, began)
    scope[_KEY] = made
    return made


def record_of(scope: Mapping[str, Any]) -> RequestRecord:
    """The record of a request that passed the error middleware."""
    found: RequestRecord = scope[_KEY]
    return found


class Sink(Protocol):
    """Where records are written; called on one thread, never on the event loop."""

    def write(self, records: Sequence[RequestRecord], lost: int) -> None:
        """Write them; `lost` more were dropped since the last call because the queue was full."""
        ...

    def close(self) -> None:
        """Flush and release; nothing follows."""
        ...


class RequestLog:
    """Queues records on the event loop (one append each); a thread writes them ten times a second.

    A killed process loses what it had not written. A sink that fails is named in the server's log, once until
    it works again, and affects no request.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        max_pending: int = MAX_PENDING,
        supervisor: Supervisor | None = None,
    ) -> None:
        """max_pending: records that may wait. supervisor: runs the thread."""
        self._sinks = tuple(sinks)
        self._max_pending = max_pending
        self._pending: deque[RequestRecord] = deque()
        self._lost = 0
        self._failing: set[int] = set()
        self._supervisor = supervisor or Supervisor()
        self._worker: Worker | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a sink."""
        return bool(self._sinks)

    def start(self) -> None:
        """Start the writing thread."""
        if self._sinks:
            self._worker = self._supervisor.start("request-log", self.flush, period=FLUSH_SECONDS)

    def add(self, ended: RequestRecord) -> None:
        """Queue the record of a request that has ended; a full queue drops it and counts it as lost."""
        if len(self._pending) < self._max_pending:
            self._pending.append(ended)
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what is queued and close the sinks."""
        if self._worker is not None:
            self._worker.close()
        self.flush()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001  the others are closed, too
                log.error("%s cannot be closed: %s", sink, error)

    def flush(self) -> None:
        """Write what is queued, on the calling thread."""
        lost, self._lost = self._lost, 0
        records = [self._pending.popleft() for _ in range(len(self._pending))]
        if not records and not lost:
            return
        for index, sink in enumerate(self._sinks):
            try:
                sink.write(records, lost)
            except Exception as error:  # noqa: BLE001  a full disk must not end the thread
                if index not in self._failing:
                    log.error("%s cannot write: %s; what it is given is lost", sink, error)
                self._failing.add(index)
            else:
                self._failing.discard(index)


def unix(moment: float, ended: RequestRecord) -> float:
    """Unix seconds of a monotonic moment of that request."""
    return ended.finished - (ended.ended - moment)


def finish(ended: RequestRecord, scope: Mapping[str, Any]) -> None:
    """Stamp the end of the request, and its body's declared length."""
    ended.ended, ended.finished = time.monotonic(), time.time()
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            ended.received = int(value[:18])
