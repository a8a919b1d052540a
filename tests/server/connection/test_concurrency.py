from __future__ import annotations

import asyncio
from typing import Any

from downshift.server.connection.concurrency import (
    CONCURRENT_SECONDS,
    ConcurrencyState,
    alone,
    streaming,
    track,
)
from tests.server.doubles import ScriptedBackend
from tests.server.listening import listening, post, read_all, status, wait_for

CLOSE = "Connection: close\r\n"
SOON, LATER = CONCURRENT_SECONDS / 4, CONCURRENT_SECONDS * 2


async def test_two_who_are_being_answered_are_not_alone_unless_one_of_them_only_streams() -> None:
    state, scope = ConcurrencyState(), dict[str, Any]()
    assert not alone(scope), "nobody knows"
    track(scope, state, "a connection", 1.0)
    assert alone(scope)
    state.tasks |= {asyncio.create_task(asyncio.sleep(0)) for _ in range(2)}
    assert not alone(scope)
    with streaming(scope):
        assert alone(scope)
    assert not alone(scope)


def test_clients_that_take_turns_are_not_alone_and_one_that_goes_on_soon_is() -> None:
    state, scope = ConcurrencyState(), dict[str, Any]()
    now = 1.0
    for connection in "abab":
        now += SOON
        track(scope, state, connection, now)
    assert not alone(scope)
    track(scope, state, "b", now + SOON)
    assert not alone(scope)
    track(scope, state, "b", now + LATER)
    assert alone(scope)


def test_clients_of_which_each_comes_long_after_the_other_are_alone() -> None:
    state, scope = ConcurrencyState(), dict[str, Any]()
    for index, connection in enumerate("abab"):
        track(scope, state, connection, index * LATER)
        assert alone(scope)


def test_over_http_only_who_is_alone_may_be_answered_inline() -> None:
    backend = ScriptedBackend()
    with listening(backend) as server:
        assert status(server.ask(post(headers=CLOSE))) == 200
        backend.keep = True
        with server.connect() as first, server.connect() as second:
            first.sendall(post(headers=CLOSE))
            wait_for(lambda: backend.waiting)
            second.sendall(post(headers=CLOSE))
            wait_for(lambda: len(backend.waiting) > 1)
            for future in backend.waiting:
                future.set_exception(RuntimeError("planted"))
            assert [status(read_all(each)) for each in (first, second)] == [500, 500]
    assert backend.inlines[0]
    assert not backend.inlines[2]
