"""What every call goes through: keys, its record in the request log, and errors as codes.

A call is an HTTP/2 request, and its scope has the fields of an ASGI request: everything behind it reads
metadata as headers, and notes what it notes of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import grpc
from starlette.requests import Request

from downshift.server.connection.arrival import ARRIVAL
from downshift.server.connection.concurrency import calling
from downshift.server.connection.disconnect import DISCONNECT, Disconnect
from downshift.server.connection.error_middleware import sentence
from downshift.server.connection.keys import sent_keys
from downshift.server.errors import CLIENT_CLOSED_REQUEST, ClientGone, Unauthorized, retry_after, row_of
from downshift.server.telemetry.request_log import begin_record, finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from typing import TypeAlias

    from downshift.server.connection.concurrency import ConcurrencyState
    from downshift.server.connection.keys import Keys
    from downshift.server.telemetry.request_log import RequestLog

    Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
    Unary: TypeAlias = Callable[[Request, bytes], Awaitable["Reply"]]

IN_PROGRESS = 32  # requests of one stream that are answered at the same time
_MOST_MICROSECONDS = 99_999_999  # eight digits, as the protocol has it


class Reply(NamedTuple):
    """A serialised message, and what goes beside it as metadata."""

    message: bytes
    headers: Mapping[str, str] = {}


class Failure(Exception):  # noqa: N818 - what it is, raised out of a call
    """A call's end without a reply: code, sentence and metadata."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: Iterable[tuple[str, str]]) -> None:
        self.code, self.text, self.metadata = code, text, tuple(metadata)
        super().__init__(text)


class Calls:
    """Runs the calls of one server. keys: one of them is needed where there are any."""

    def __init__(self, keys: Iterable[Keys], request_log: RequestLog, state: ConcurrencyState) -> None:
        self._keys = tuple(keys)
        self._log = request_log
        self._state = state

    async def unary(  # noqa: PLR0913 - two are the library's
        self, answer: Unary, message: bytes, context: Context, *, path: str, began: float, keyed: bool
    ) -> bytes:
        """The reply's message, for a call that began at that monotonic second. keyed: it needs a key."""
        try:
            reply, metadata = await self._run(answer, message, context, path, began, keyed=keyed)
        except Failure as failure:
            await context.abort(failure.code, failure.text, failure.metadata)
        context.set_trailing_metadata(metadata)
        return reply.message

    async def stream(
        self,
        answer: Unary,
        refuse: Callable[[bytes, str], bytes],
        messages: AsyncIterator[bytes],
        context: Context,
        *,
        path: str,
    ) -> AsyncIterator[bytes]:
        """A reply for each message, in their order; each is a request of its own, and at most `IN_PROGRESS`
        are answered at the same time. refuse: the reply that carries an error's sentence.
        """
        try:
            self.authenticate(context)
        except Failure as failure:
            await context.abort(failure.code, failure.text, failure.metadata)
        room = asyncio.Semaphore(IN_PROGRESS)
        replies: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()

        async def reply(message: bytes) -> bytes:
            try:
                return (await self._run(answer, message, context, path, time.monotonic()))[0].message
            except Failure as failure:
                return refuse(message, failure.text)

        async def read() -> None:
            try:
                async for message in messages:
                    await room.acquire()
                    replies.put_nowait(asyncio.create_task(reply(message)))
            finally:
                replies.put_nowait(None)

        reader, waiting = asyncio.create_task(read()), None
        try:
            while (waiting := await replies.get()) is not None:
                yield await waiting
                room.release()
        finally:
            reader.cancel()
            for task in (waiting, *(replies.get_nowait() for _ in range(replies.qsize()))):
                if task is not None:
                    task.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    def authenticate(self, context: Context) -> None:
        """Raise the `Failure` of a call without a valid key."""
        try:
            self._check(_headers(context))
        except Unauthorized as error:
            raise Failure(grpc.StatusCode.UNAUTHENTICATED, str(error), ()) from None

    def _check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `Unauthorized` where keys are needed and the metadata hold none of them."""
        if not any(self._keys):
            return
        sent = sent_keys(headers)
        accepted = [keys.accept(sent) for keys in self._keys]
        if not any(accepted):
            raise Unauthorized("a key is needed: send it as authorization: Bearer KEY or x-api-key: KEY")

    async def _run(  # noqa: PLR0913 - of one call
        self,
        answer: Unary,
        message: bytes,
        context: Context,
        path: str,
        began: float,
        *,
        keyed: bool = False,
    ) -> tuple[Reply, tuple[tuple[str, str], ...]]:
        """The reply and its metadata; raises `Failure`. The request is logged, whatever becomes of it."""
        scope = _scope(path, began, message, context)
        record = begin_record(scope, began)
        mine = [(name.decode(), value.decode()) for name, value in record.identity.headers]
        try:
            if keyed:
                self._check(scope["headers"])
            with calling(scope, self._state, context.peer(), began):
                reply = await answer(Request(scope), message)
        except asyncio.CancelledError:
            record.status = CLIENT_CLOSED_REQUEST
            raise
        except Exception as error:
            row = row_of(error)
            record.status = row.status or HTTPStatus.INTERNAL_SERVER_ERROR
            if isinstance(error, ClientGone):
                raise asyncio.CancelledError from None
            if (after := retry_after(error)) is not None:
                mine += [("retry-after", str(after)), ("grpc-retry-pushback-ms", str(after * 1000))]
            text = sentence(error, record.identity.request_id)
            raise Failure(grpc.StatusCode[row.code], text, mine) from error
        else:
            record.status, record.sent = HTTPStatus.OK, len(reply.message)
            return reply, (*((name.lower(), value) for name, value in reply.headers.items()), *mine)
        finally:
            if self._log.wanted:
                finish(record, scope)
                self._log.add(record)


def _scope(path: str, began: float, message: bytes, context: Context) -> dict[str, Any]:
    """The call as an ASGI request that began then, and whose body has been read."""
    headers = [*_headers(context), (b"content-length", b"%d" % len(message))]
    left = context.time_remaining()
    if left is not None:  # the library takes grpc-timeout out of the metadata
        granted = left + (time.monotonic() - began)  # counted from the arrival, as any budget
        headers.append((b"grpc-timeout", timeout_value(granted)))
    return {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "path": path,
        "headers": headers,
        "client": _client(context.peer()),
        ARRIVAL: began,
        DISCONNECT: Disconnect(),  # a cancelled call is a cancelled task
    }


def _headers(context: Context) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in context.invocation_metadata() or ()
    ]


def timeout_value(seconds: float) -> bytes:
    """Those seconds as a value of `grpc-timeout`, at least a microsecond; long ones in milliseconds."""
    microseconds = max(1, round(seconds * 1e6))
    if microseconds <= _MOST_MICROSECONDS:
        return b"%du" % microseconds
    return b"%dm" % min(microseconds // 1000, _MOST_MICROSECONDS)


def _client(peer: str) -> tuple[str, int] | None:
    """Address and port of a peer such as `ipv4:127.0.0.1:4321` or `ipv6:%5B::1%5D:4321`."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None
