"""Ray Serve: one replica, `serve.batch` without a wait, and the settings its guide names for throughput."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from onnx_model import MAX_BATCH, PORT, Model
from ray import serve
from starlette.requests import Request  # noqa: TC002 - Ray reads the annotation
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Sequence


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
class Classifier:
    """Bytes in, bytes out."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0)
    async def infer(self, images: Sequence[bytes]) -> list[bytes]:
        """The logits of a batch, off the event loop."""
        return await asyncio.to_thread(self.model.answer, images)

    async def __call__(self, request: Request) -> Response:
        """One image's logits."""
        answer = await self.infer(await request.body())
        return Response(answer, media_type="application/octet-stream")


ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Classifier.bind(), blocking=True)
