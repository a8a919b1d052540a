"""The image endpoint: a picture in, its most probable labels out."""

import asyncio
import re
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from models.spec import InputSpec
from server.body import read_body
from server.boundary import Json
from server.catalog import Catalog
from server.demand import read_demand
from server.errors import BadInput
from server.image import preprocess, read_image
from server.inference import counted, infer
from server.metrics import Metrics
from server.multipart import image_part
from server.settings import Settings

DEFAULT_TOP_K = 5


def predict_router(catalog: Catalog, metrics: Metrics, settings: Settings, decoders: Executor) -> APIRouter:
    """`POST /predict`; pictures are decoded on `decoders`, never on the event loop."""
    router = APIRouter(tags=["images"])

    @router.post("/predict", openapi_extra=_PREDICT)
    async def predict(request: Request) -> Response:
        """Label a JPEG, PNG or WebP picture within the latency budget that the headers grant."""
        with counted(metrics):
            model = catalog.admit(request.query_params.get("model"))
            manifest, statistics = model.backend.manifest, model.statistics
            with statistics.reading():
                top_k = read_top_k(request.query_params.get("top_k"), len(manifest.labels))
                demand = read_demand(request.headers.items(), settings.max_budget)
                body = await read_body(request, settings.max_body_bytes)
                began = time.perf_counter()
                content_type = request.headers.get("content-type", "")
                loop = asyncio.get_running_loop()
                inputs = await loop.run_in_executor(
                    decoders, to_inputs, body, content_type, manifest.input, settings.max_pixels
                )
                read = time.perf_counter()
        report = await infer(request, model, inputs, demand, metrics)
        answered = time.perf_counter()
        subnet = report.answer.subnet
        answer: dict[str, Any] = {
            "model": model.name,
            "predictions": top_labels(report.answer.outputs[0], manifest.labels, top_k),
            "subnet": subnet.name,
            "sparsity": subnet.sparsity,
            "accuracy": subnet.accuracy,
            "engine": report.answer.engine,
            "timing": report.timing,
            "latency_budget_remaining_ms": report.parameters.get("latency_budget_remaining_ms"),
        }
        response = Json(answer, headers=report.headers)
        statistics.coded(read - began, time.perf_counter() - answered)
        return response

    return router


def to_inputs(body: bytes, content_type: str, spec: InputSpec, max_pixels: int) -> NDArray[np.float32]:
    """float32 [1, C, H, W] of the picture that is the body, or the multipart body's file."""
    if content_type.lower().startswith("multipart/"):
        body = image_part(body, content_type)
    return preprocess(read_image(body, max_pixels=max_pixels), spec)


def read_top_k(text: str | None, classes: int) -> int:
    """How many labels to answer; raises `BadInput` for anything but 1 to the number of classes."""
    if text is None:
        return min(DEFAULT_TOP_K, classes)
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= classes):
        raise BadInput(f"top_k {text[:40]!r}: give a whole number from 1 to {classes}")
    return int(text)


def top_labels(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The `top_k` most probable labels of logits [classes], most probable first; ties keep their order."""
    order = np.argsort(-logits, kind="stable")[:top_k]
    probability = softmax(logits)
    return [{"label": labels[index], "probability": float(probability[index])} for index in order]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities float64 [classes] that sum to one, however large the logits are."""
    exponent = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(exponent / exponent.sum(), dtype=np.float64)


_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_PREDICT = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": _PICTURE,
            "image/png": _PICTURE,
            "image/webp": _PICTURE,
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
            },
        },
    },
    "parameters": [
        {"name": "top_k", "in": "query", "schema": {"type": "integer", "minimum": 1}},
        {"name": "model", "in": "query", "schema": {"type": "string"}},
    ],
}
