"""The open-loop client of the overloaded server reads every answer whole, whatever headers come first."""

from __future__ import annotations

import asyncio

from benchmarks.server.responsiveness import OpenLoop, Record

ANSWER = (
    b"HTTP/1.1 200 OK\r\ninference-header-content-length: 2\r\ncontent-length: 6\r\n\r\n{}\r\n\r\n"
    b"HTTP/1.1 429 Too Many Requests\r\nserver-timing: total;dur=1.250\r\ncontent-length: 2\r\n\r\n{}"
)


async def answers(requests: int) -> Record:
    halves = iter(
        [ANSWER[: ANSWER.index(b"HTTP/1.1 429")], ANSWER[ANSWER.index(b"HTTP/1.1 429") :]] * requests
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4) == b"ask!":
            writer.write(next(halves))
        writer.close()
        await writer.wait_closed()

    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(task := asyncio.create_task(serve(reader, writer)))
        await task

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        record = await OpenLoop(port, b"ask!").run([0.0] + [0.05] * (2 * requests - 1))
        await asyncio.wait(connections, timeout=10)
        return record


def test_the_next_answer_on_a_connection_begins_where_the_last_one_ended() -> None:
    record = asyncio.run(answers(2))
    assert {status: len(latencies) for status, latencies in record.latencies.items()} == {200: 2, 429: 2}
    assert record.inside == {429: [0.00125] * 2}
    assert record.broken == 0
