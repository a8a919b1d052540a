"""Whoever waits hears of a client that hangs up: at once, once, and only while waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from downshift.server.connection.disconnect import Line, connect, hangup
from tests.server.doubles import until


async def nothing() -> dict[str, Any]:
    raise AssertionError("the line says it")


async def test_a_lost_line_calls_everybody_on_it() -> None:
    line, heard = Line(), list[str]()
    scope: dict[str, Any] = {}
    connect(scope, line)
    with hangup(scope, nothing, lambda: heard.append("a")), hangup(scope, nothing, lambda: heard.append("b")):
        assert not heard
        line.lose()
        assert sorted(heard) == ["a", "b"]


async def test_who_has_left_is_not_called() -> None:
    line, heard = Line(), list[str]()
    scope: dict[str, Any] = {}
    connect(scope, line)
    with hangup(scope, nothing, lambda: heard.append("a")):
        pass
    line.lose()
    assert not heard


async def test_who_comes_too_late_is_called_at_once() -> None:
    line, heard = Line(), list[str]()
    scope: dict[str, Any] = {}
    connect(scope, line)
    line.lose()
    with hangup(scope, nothing, lambda: heard.append("a")):
        assert heard == ["a"]


async def test_without_a_line_the_server_is_asked() -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard = list[str]()
    with hangup({}, messages.get, lambda: heard.append("a")):
        messages.put_nowait({"type": "http.request"})
        messages.put_nowait({"type": "http.disconnect"})
        await until(lambda: heard)
    with hangup({}, messages.get, lambda: heard.append("b")):
        await asyncio.sleep(0)
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.sleep(0)
    assert heard == ["a"]
