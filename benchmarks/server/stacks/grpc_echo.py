"""A bare grpc.aio server that reads the message and answers as many bytes as ModelInfer has: no model at all.

python benchmarks/server/stacks/grpc_echo.py PORT BYTES
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

port, size = map(int, sys.argv[1:])
ANSWER = bytes(size)


async def echo(_message: bytes, _context: Any) -> bytes:
    """The same bytes for everybody."""
    return ANSWER


async def main() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    methods: dict[str, Any] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(echo)}
    handler = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


uvloop.run(main())
