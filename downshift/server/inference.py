"""One request's way through a model: submit, wait, and let go when the client hangs up."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from downshift.models.images.errors import ImageError
from downshift.runtime.errors import DeadlineExpired, Draining, Shed
from downshift.runtime.request import Request as Query
from downshift.runtime.scheduling.observer import Outcome
from downshift.server.connection.arrival import arrival
from downshift.server.connection.concurrency import alone
from downshift.server.connection.disconnect import on_disconnect
from downshift.server.errors import ClientGone, NotReady, ServerFault
from downshift.server.report import Report
from downshift.server.telemetry.metrics import INVALID, SHED
from downshift.server.telemetry.request_log import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from starlette.requests import Request

    from downshift.runtime.request import Tensor
    from downshift.server.catalog import Catalog, Model
    from downshift.server.demand import Demand
    from downshift.server.telemetry.metrics import Metrics


T = TypeVar("T")


@contextmanager
def counted(metrics: Metrics) -> Iterator[None]:
    """Count an inference request that ends inside, which is before the scheduler could count it."""
    try:
        yield
    except (NotReady, Draining, Shed):
        metrics.refused(SHED)
        raise
    except DeadlineExpired:
        metrics.refused(Outcome.EXPIRED)
        raise
    except ClientGone:
        metrics.refused(Outcome.CANCELLED)
        raise
    except (ServerFault, ImageError):
        metrics.refused(INVALID)
        raise


@contextmanager
def admitted(
    catalog: Catalog, metrics: Metrics, name: str | None = None, version: str | None = None
) -> Iterator[Model]:
    """The model that answers a request from beginning to end, whatever replaces it meanwhile.

    Raises `UnknownModel`, `NotReady` or `Draining`, which are counted.
    """
    with counted(metrics):
        model = catalog.admit(name, version)
    with model.users:
        yield model


async def infer(request: Request, model: Model, inputs: Tensor, demand: Demand, metrics: Metrics) -> Report:
    """The model's answer to inputs float32 [n, C, H, W] and how it came about.

    Raises whatever the deployment refuses with, and `ClientGone` after cancelling a request whose
    client hung up.
    """
    began = arrival(request.scope)
    noted = record_of(request.scope)
    budget = demand.budget
    metrics.granted(budget)
    deadline = budget.deadline(began)
    noted.asked(model.name, None if deadline is None else budget.seconds)
    reserve = model.delivery.reserve(budget.seconds)
    query = Query(inputs, deadline, demand.subnet, demand.min_accuracy, demand.priority, reserve)
    submitted = time.monotonic()
    future = model.backend.submit(query, inline=alone(request.scope))
    if future.done():
        answer, now = future.result(), time.monotonic()
    else:
        answer, now = await outcome(future, request), time.monotonic()
        model.delivery.took(now - submitted - answer.queue_seconds - answer.compute_seconds)
    metrics.answered(answer.subnet.name, now - began, noted.identity.trace)
    report = Report(answer, budget, now - began, None if deadline is None else deadline - now)
    noted.answered(report)
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
