from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from downshift.server.errors import BadSetting
from downshift.server.telemetry.access_log import LONGEST, AccessLog, line
from downshift.server.telemetry.identity import Identity, TraceContext
from downshift.server.telemetry.request_log import RequestLog, RequestRecord
from tests.server.doubles import ScriptedBackend, serving, tensor

if TYPE_CHECKING:
    from httpx2 import Response

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
FULL = Path("/dev/full")


def record(path: str = "/predict") -> RequestRecord:
    made = RequestRecord(
        {"method": "POST", "path": path, "headers": [], "client": ("10.0.0.1", 5)}, began=100.0
    )
    made.identity = Identity("id-1", TraceContext(TRACE, "a" * 16, "b" * 16, sampled=True))
    made.status, made.received, made.sent = 200, 3072, 512
    made.model, made.subnet, made.budget = "pets", "s90", 0.025
    made.queue_seconds, made.infer_seconds = 0.0015, 0.004
    made.ended, made.finished = 100.0075, 1_800_000_000.25
    return made


def test_a_line_of_the_log() -> None:
    assert line(record()) == (
        b'{"time":"2027-01-15T08:00:00.250+00:00","request_id":"id-1","method":"POST","path":"/predict",'
        b'"status":200,"model":"pets","subnet":"s90","budget_ms":25.0,"queue_ms":1.5,"infer_ms":4.0,'
        b'"total_ms":7.5,"bytes_in":3072,"bytes_out":512,"client":"10.0.0.1",'
        b'"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}\n'
    )


def test_what_a_client_chose_is_bounded_and_cannot_forge_a_line() -> None:
    written = line(record('/\n{"status":200}' + "x" * 10_000))
    assert written.count(b"\n") == 1
    assert len(orjson.loads(written)["path"]) == LONGEST


def test_lines_are_appended_and_losses_told(tmp_path: Path) -> None:
    target = tmp_path / "access.log"
    target.write_text("before\n")
    log = AccessLog(str(target))
    log.write([record(), record()], lost=3)
    log.close()
    first, *lines = target.read_text().splitlines()
    assert first == "before"
    assert [json.loads(each).get("request_id") for each in lines] == ["id-1", "id-1", None]
    assert json.loads(lines[-1]) == {"lost": 3}


def test_a_rotated_file_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    target = tmp_path / "access.log"
    log = AccessLog(str(target))
    log.write([record("/one")], lost=0)
    target.rename(tmp_path / "access.log.1")
    log.write([record("/two")], lost=0)
    log.close()
    assert "/one" in (tmp_path / "access.log.1").read_text()
    assert "/two" in target.read_text()
    assert "/one" not in target.read_text()


def test_standard_output_stays_open(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = AccessLog("-")
    log.write([record()], lost=0)
    log.close()
    assert not sys.stdout.closed
    assert capfdbinary.readouterr().out == line(record())


def test_a_file_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadSetting, match=r"access log '.*missing/access.log' cannot be written .*standard output"
    ):
        AccessLog(str(tmp_path / "missing" / "access.log"))


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
async def test_a_full_disk_costs_no_request_anything(caplog: pytest.LogCaptureFixture) -> None:
    request_log = RequestLog([AccessLog(str(FULL))])
    with caplog.at_level(logging.ERROR, "downshift.server"):
        async with serving(request_log=request_log) as served:
            assert (await served.client.post("/v2/models/pets/infer", json=tensor())).status_code == 200
    assert [message for message in caplog.messages if "No space left" in message]


async def logged(target: Path, headers: dict[str, str], *, path: str, **content: Any) -> tuple[Response, Any]:
    """The answer to one request, and its line."""
    async with serving(ScriptedBackend(), request_log=RequestLog([AccessLog(str(target))])) as served:
        response = await served.client.post(path, headers=headers, **content)
    [only] = target.read_text().splitlines()  # noqa: ASYNC240
    return response, json.loads(only)


async def test_an_answer_is_logged_with_all_that_is_known(tmp_path: Path) -> None:
    headers = {"X-Latency-Budget-Ms": "9000", "X-Request-Id": "mine", "traceparent": PARENT}
    response, found = await logged(tmp_path / "log", headers, path="/v2/models/pets/infer", json=tensor())
    assert response.headers["x-request-id"] == found["request_id"] == "mine"
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", response.headers["traceresponse"])
    assert found["trace_id"] == TRACE
    assert (found["method"], found["path"], found["status"]) == ("POST", "/v2/models/pets/infer", 200)
    assert (found["model"], found["subnet"], found["budget_ms"]) == ("pets", "s50", 9000.0)
    assert (found["queue_ms"], found["infer_ms"]) == (1.5, 4.0)
    assert found["total_ms"] >= 0
    assert found["bytes_in"] == len(response.request.content)
    assert found["bytes_out"] == len(response.content)
    assert found["client"] == "127.0.0.1"


async def test_a_refused_request_is_logged_without_what_it_never_got(tmp_path: Path) -> None:
    response, found = await logged(tmp_path / "log", {}, path="/v2/models/dogs/infer", json=tensor())
    assert found["status"] == response.status_code == 404
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["model"] is found["subnet"] is found["budget_ms"] is found["trace_id"] is None
    assert "traceresponse" not in response.headers


async def test_an_internal_error_carries_the_request_id_to_client_and_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = ScriptedBackend(error=RuntimeError("secret"))
    request_log = RequestLog([AccessLog(str(tmp_path / "log"))])
    with caplog.at_level(logging.ERROR, "downshift.server"):
        async with serving(backend, request_log=request_log) as served:
            response = await served.client.post(
                "/v2/models/pets/infer", json=tensor(), headers={"X-Request-Id": "mine"}
            )
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "mine"
    assert response.json()["error"].endswith("mine")
    [record] = caplog.records
    assert record.__dict__["request_id"] == "mine"
    assert json.loads((tmp_path / "log").read_text())["status"] == 500
