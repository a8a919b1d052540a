"""Waiters are notified of a disconnect at once, once, and only while they wait."""

from __future__ import annotations

import asyncio
from typing import Any

from downshift.server.connection.disconnect import DISCONNECT, Disconnect, on_disconnect
from tests.server.doubles import until


async def nothing() -> dict[str, Any]:
    raise AssertionError("the event says it")


async def test_a_lost_connection_notifies_every_subscriber() -> None:
    disconnect, heard = Disconnect(), list[str]()
    scope: dict[str, Any] = {}
    scope[DISCONNECT] = disconnect
    with (
        on_disconnect(scope, nothing, lambda: heard.append("a")),
        on_disconnect(scope, nothing, lambda: heard.append("b")),
    ):
        assert not heard
        disconnect.set()
        assert sorted(heard) == ["a", "b"]


async def test_who_has_unsubscribed_is_not_called() -> None:
    disconnect, heard = Disconnect(), list[str]()
    scope: dict[str, Any] = {}
    scope[DISCONNECT] = disconnect
    with on_disconnect(scope, nothing, lambda: heard.append("a")):
        pass
    disconnect.set()
    assert not heard


async def test_who_subscribes_too_late_is_called_at_once() -> None:
    disconnect, heard = Disconnect(), list[str]()
    scope: dict[str, Any] = {}
    scope[DISCONNECT] = disconnect
    disconnect.set()
    with on_disconnect(scope, nothing, lambda: heard.append("a")):
        assert heard == ["a"]


async def test_under_another_server_asgi_is_asked() -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard = list[str]()
    with on_disconnect({}, messages.get, lambda: heard.append("a")):
        messages.put_nowait({"type": "http.request"})
        messages.put_nowait({"type": "http.disconnect"})
        await until(lambda: heard)
    with on_disconnect({}, messages.get, lambda: heard.append("b")):
        await asyncio.sleep(0)
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.sleep(0)
    assert heard == ["a"]
