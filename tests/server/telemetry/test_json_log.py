from __future__ import annotations

import json
import logging
import sys

import orjson

from downshift.server.telemetry.json_log import JsonFormatter, log_as_json


def record(**extra: object) -> logging.LogRecord:
    made = logging.getLogger("downshift.server").makeRecord(
        "downshift.server",
        logging.ERROR,
        __file__,
        1,
        "request %s failed",
        ("id-1",),
        None,
        extra=dict(extra),
    )
    made.created = 1_800_000_000.25
    return made


def test_a_record_is_one_line_of_json() -> None:
    assert JsonFormatter().format(record(request_id="id-1")) == (
        '{"time":"2027-01-15T08:00:00.250+00:00","level":"error","logger":"downshift.server",'
        '"message":"request id-1 failed","request_id":"id-1"}'
    )


def test_a_traceback_is_part_of_the_line() -> None:
    made = record()
    try:
        raise ValueError("broken")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = JsonFormatter().format(made)
    assert "\n" not in text
    assert "ValueError: broken" in json.loads(text)["error"]
    assert "request_id" not in json.loads(text)


def test_uvicorns_log_takes_the_same_way() -> None:
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    try:
        handler = log_as_json()
        assert isinstance(handler.formatter, JsonFormatter)
        assert logging.getLogger().handlers == [handler]
        assert all(not logger.handlers and logger.propagate for logger in loggers[1:])
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def test_a_text_that_is_not_utf_8_is_escaped_and_the_line_is_written() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "file %s", ("caf\udce9",), None)
    assert orjson.loads(JsonFormatter().format(record))["message"] == "file caf\\udce9"
