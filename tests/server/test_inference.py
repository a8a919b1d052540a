from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from downshift.runtime.errors import DeadlineExpired
from downshift.runtime.request import Answer
from tests.server.doubles import ScriptedBackend, serving, tensor, until

if TYPE_CHECKING:
    from tests.server.doubles import Served

BODY = orjson.dumps(tensor())
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/v2/models/pets/infer",
    "raw_path": b"/v2/models/pets/infer",
    "query_string": b"",
    "headers": [(b"x-latency-budget-ms", b"60000")],
    "scheme": "http",
    "server": ("server", 80),
    "client": ("client", 1),
}


class Connection:
    """One request on a connection that can break."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)
        self.sent: list[Any] = []

    def hang_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def ask(self, served: Served) -> asyncio.Task[None]:
        return asyncio.create_task(served.app(dict(SCOPE), self.incoming.get, self.send))


def body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


async def test_a_client_that_hangs_up_while_waiting_has_its_request_cancelled() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        connection = Connection(body(BODY))
        task = connection.ask(served)
        await until(lambda: served.backend.waiting)
        connection.hang_up()
        await task
    assert served.backend.waiting[0].cancelled()
    assert connection.sent[0]["status"] == 499
    assert (
        served.count("downshift_requests_total", subnet="none", outcome="cancelled") == 0
    )  # the scheduler's


async def test_a_client_that_hangs_up_while_sending_is_never_submitted() -> None:
    async with serving() as served:
        connection = Connection(body(BODY[:10], more=True))
        connection.hang_up()
        await connection.ask(served)
    assert not served.backend.requests
    assert served.count("downshift_requests_total", subnet="none", outcome="cancelled") == 1


async def test_a_request_that_the_server_stops_handling_is_cancelled() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        task = Connection(body(BODY)).ask(served)
        await until(lambda: served.backend.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert served.backend.waiting[0].cancelled()


async def test_a_request_that_expires_in_the_queue_is_a_504() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        connection = Connection(body(BODY))
        task = connection.ask(served)
        await until(lambda: served.backend.waiting)
        served.backend.waiting[0].set_exception(DeadlineExpired(0.5))
        await task
    assert connection.sent[0]["status"] == 504


async def test_a_request_that_the_backend_gives_up_is_a_503() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        connection = Connection(body(BODY))
        task = connection.ask(served)
        await until(lambda: served.backend.waiting)
        served.backend.waiting[0].cancel()
        await task
    assert connection.sent[0]["status"] == 503


async def test_the_deadline_counts_from_the_arrival_not_from_the_end_of_the_upload() -> None:
    async with serving() as served:
        connection = Connection(body(BODY))
        scope = dict(SCOPE) | {"downshift.arrival": 1000.0}
        await served.app(scope, connection.incoming.get, connection.send)
    assert served.backend.requests[0].deadline == 1060.0


async def test_what_answers_took_to_come_back_is_kept_of_the_next_budgets() -> None:
    async with serving() as served:
        model = served.catalog.get()
        for _ in range(100):
            model.delivery.took(0.05)
        for budget in ("1000", "20"):
            headers = {"X-Latency-Budget-Ms": budget}
            await served.client.post("/v2/models/pets/infer", json=tensor(), headers=headers)
    longer, short = (request.delivery for request in served.backend.requests)
    assert 0.049 < longer < 0.056
    assert short == pytest.approx(0.002)


async def test_an_answer_that_comes_back_late_is_learned_from() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        before = served.catalog.get().delivery.seconds
        task = Connection(body(BODY)).ask(served)
        await until(lambda: served.backend.waiting)
        point = served.backend.manifest.point("s50")
        a_second_ago = Answer(
            outputs=np.zeros((1, 3), np.float32),
            point=point,
            engine="fake",
            queue_seconds=-1.0,
            compute_seconds=0.0,
            batch_size=1,
            late=False,
        )
        served.backend.waiting[0].set_result(a_second_ago)
        await task
        assert served.catalog.get().delivery.seconds > before


async def test_without_a_budget_there_is_no_deadline() -> None:
    async with serving(max_budget_ms=2000) as served:
        response = await served.client.post("/v2/models/pets/infer", json=tensor())
    assert served.backend.requests[0].deadline is None
    assert "x-latency-budget-remaining-ms" not in response.headers


async def test_before_the_model_is_ready_only_liveness_answers() -> None:
    async with serving(ready=False) as served:
        client = served.client
        live = await client.get("/v2/health/live")
        refused = [
            await client.get("/v2/health/ready"),
            await client.get("/v2/models/pets"),
            await client.get("/v2/models/pets/ready"),
            await client.get("/subnets"),
            await client.post("/v2/models/pets/infer", json=tensor()),
            await client.post("/predict", content=b"x"),
        ]
    assert live.json() == {"live": True}
    for response in refused:
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert "try again shortly" in response.json()["error"]
    assert served.count("downshift_requests_total", subnet="none", outcome="shed") == 2


async def test_while_draining_nothing_new_is_admitted_and_what_waits_is_answered() -> None:
    async with serving(ScriptedBackend(keep=True)) as served:
        connection = Connection(body(BODY))
        task = connection.ask(served)
        await until(lambda: served.backend.waiting)
        served.catalog.drain()
        refused = await served.client.post("/v2/models/pets/infer", json=tensor())
        ready = await served.client.get("/v2/health/ready")
        live = await served.client.get("/v2/health/live")
        served.backend.waiting[0].set_exception(DeadlineExpired(0.5))
        await task
    assert (refused.status_code, ready.status_code, live.status_code) == (503, 503, 200)
    assert refused.headers["retry-after"] == "1"
    assert connection.sent[0]["status"] == 504


async def test_a_backend_whose_executor_died_is_not_ready() -> None:
    async with serving() as served:
        served.backend.scheduler.serving = False
        response = await served.client.get("/v2/health/ready")
    assert response.status_code == 503


async def test_the_application_closes_its_models_when_it_ends() -> None:
    async with serving(drain_seconds=3) as served:
        assert served.backend.closed is None
    assert served.backend.closed == 3


async def test_every_try_with_the_same_headers_has_the_same_deadline() -> None:
    began = time.monotonic()
    headers = {"X-Latency-Budget-Ms": "50000", "X-Deadline-Unix-Ms": f"{(time.time() + 20) * 1e3:.3f}"}
    async with serving() as served:
        for _ in range(3):
            answer = await served.client.post("/v2/models/pets/infer", json=tensor(), headers=headers)
            assert answer.status_code == 200
        assert served.count("downshift_budget_source_total", source="x-deadline-unix-ms") == 3
    deadlines = [request.deadline for request in served.backend.requests]
    assert None not in deadlines
    assert began < min(deadlines)
    assert max(deadlines) < began + 40  # a relative budget would end after 50 s


async def test_a_try_after_the_deadline_is_expired_and_never_reaches_the_model() -> None:
    headers = {"X-Latency-Budget-Ms": "50", "X-Deadline-Unix-Ms": f"{(time.time() - 1) * 1e3:.3f}"}
    async with serving() as served:
        answer = await served.client.post("/v2/models/pets/infer", json=tensor(), headers=headers)
        assert served.count("downshift_requests_total", subnet="none", outcome="expired") == 1
    assert answer.status_code == 504
    assert "by this server's clock" in answer.json()["error"]
    assert served.backend.requests == []
