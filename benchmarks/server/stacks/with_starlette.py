"""Bare uvicorn and Starlette, one inference at a time on a worker thread: what most people write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import uvicorn
from onnx_model import PORT, Model
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

model = Model()
limiter = anyio.CapacityLimiter(1)  # as many threads as everybody else has


async def infer(request: Request) -> Response:
    """One image's logits."""
    body = await request.body()
    (answer,) = await anyio.to_thread.run_sync(model.answer, [body], limiter=limiter)
    return Response(answer, media_type="application/octet-stream")


app = Starlette(routes=[Route("/infer", infer, methods=["POST"])])
uvicorn.run(app, port=PORT, log_level="warning", access_log=False)
