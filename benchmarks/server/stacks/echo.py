"""Bare uvicorn and Starlette that read the body and answer as many bytes as a V2 answer has: no model at all.

python benchmarks/server/stacks/echo.py PORT BYTES
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

port, size = map(int, sys.argv[1:])
ANSWER = bytes(size)


async def echo(request: Request) -> Response:
    """The same bytes for everybody who has sent theirs."""
    await request.body()
    return Response(ANSWER, media_type="application/octet-stream")


app = Starlette(routes=[Route("/v2/models/model/infer", echo, methods=["POST"])])
uvicorn.run(app, port=port, log_level="warning", access_log=False)
