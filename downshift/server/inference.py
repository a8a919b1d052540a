"""One request's way through a model: admit, submit, wait or cancel when the client disconnects, report."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from downshift.runtime.errors import Draining
from downshift.runtime.request import Request as Query
from downshift.server.connection.concurrency import alone
from downshift.server.connection.disconnect import on_disconnect
from downshift.server.errors import ClientGone, row_of
from downshift.server.telemetry.request_log import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from starlette.requests import Request

    from downshift.runtime.request import Answer, FloatArray
    from downshift.server.catalog import Catalog, Model
    from downshift.server.demand import Budget, Demand
    from downshift.server.telemetry.metrics import Metrics


T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """An answer and its timing.

    total_seconds: first byte of the request until the answer was ready to be sent.
    remaining: what was left of the budget then, negative when late; None when none was granted.
    """

    answer: Answer
    budget: Budget
    total_seconds: float
    remaining: float | None

    @property
    def headers(self) -> dict[str, str]:
        """The response headers: sub-net, timing, what is left of the budget."""
        point, answer = self.answer.point, self.answer
        headers = {
            "X-Subnet": point.name,
            "X-Subnet-Sparsity": _plain(point.sparsity),
            "Server-Timing": (
                f"queue;dur={_ms(answer.queue_seconds)}, infer;dur={_ms(answer.compute_seconds)}, "
                f"total;dur={_ms(self.total_seconds)}"
            ),
        }
        if point.accuracy is not None:
            headers["X-Subnet-Accuracy"] = _plain(point.accuracy)
        if self.remaining is not None:
            headers["X-Latency-Budget-Remaining-Ms"] = str(_ms(self.remaining))
        if self.budget.wait is not None:
            headers["Preference-Applied"] = f"wait={self.budget.wait}"
        return headers

    @property
    def timing(self) -> dict[str, float]:
        """Milliseconds waited, computed, and taken in all."""
        return {
            "queue_ms": _ms(self.answer.queue_seconds),
            "infer_ms": _ms(self.answer.compute_seconds),
            "total_ms": _ms(self.total_seconds),
        }

    @property
    def parameters(self) -> dict[str, str | float]:
        """The headers' content as V2 response parameters."""
        point = self.answer.point
        parameters: dict[str, str | float] = {"subnet": point.name, "subnet_sparsity": point.sparsity}
        if point.accuracy is not None:
            parameters["subnet_accuracy"] = point.accuracy
        if self.remaining is not None:
            parameters["latency_budget_remaining_ms"] = _ms(self.remaining)
        return parameters | self.timing


@contextmanager
def admitted(
    catalog: Catalog, metrics: Metrics, name: str | None = None, version: str | None = None
) -> Iterator[Model]:
    """The model that answers a request from beginning to end, even if it is replaced meanwhile.

    Raises `UnknownModel`, `NotReady` or `Draining`, which are counted.
    """
    try:
        model = catalog.admit(name, version)
    except Exception as error:
        metrics.refused(row_of(error).outcome)
        raise
    with model.references:
        yield model


@contextmanager
def reading(model: Model, metrics: Metrics) -> Iterator[None]:
    """Count a request that ends inside, while it is read: the scheduler never hears of it."""
    try:
        yield
    except Exception as error:
        outcome = row_of(error).outcome
        metrics.refused(outcome, model.name)
        model.statistics.refused(outcome)
        raise


async def infer(
    request: Request, model: Model, inputs: FloatArray, demand: Demand, metrics: Metrics
) -> Report:
    """The model's answer to inputs float32 [n, C, H, W] and how it came about.

    Raises whatever the deployment refuses with, and `ClientGone` after cancelling a request whose
    client hung up.
    """
    record = record_of(request.scope)
    began = record.began
    budget = demand.budget
    metrics.granted(budget)
    deadline = budget.deadline(began)
    record.asked(model.name, None if deadline is None else budget.seconds)
    query = Query(
        inputs,
        deadline=deadline,
        subnet=demand.subnet,
        min_accuracy=demand.min_accuracy,
        priority=demand.priority,
        delivery=model.delivery.reserve(budget.seconds),
    )
    submitted = time.monotonic()
    future = model.backend.submit(query, inline=alone(request.scope))
    if future.done():
        answer, now = future.result(), time.monotonic()
    else:
        answer, now = await outcome(future, request), time.monotonic()
        model.delivery.took(now - submitted - answer.queue_seconds - answer.compute_seconds)
    metrics.answered(answer.point.name, now - began, record.identity.trace)
    report = Report(answer, budget, now - began, None if deadline is None else deadline - now)
    record.answered(answer, report.total_seconds)
    return report


async def outcome(future: Future[T], request: Request) -> T:
    """The future's result; raises what it raises, `Draining` when somebody else has cancelled it, and
    `ClientGone` after cancelling it for a client that hung up. The body must have been read before.
    """
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    def done(_: Future[T]) -> None:  # on the thread that has the result
        if not loop.is_closed():
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(done)
    try:
        with on_disconnect(request.scope, request.receive, wake):
            await waiting
        if not future.done():
            raise ClientGone("the client hung up before its answer was ready")
        if future.cancelled():
            raise Draining
        return future.result()
    finally:
        future.cancel()


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _plain(ratio: float) -> str:
    """A ratio in decimal notation, without noise in its last digits."""
    return f"{ratio:.6f}".rstrip("0").rstrip(".")
