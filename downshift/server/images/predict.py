"""The image endpoint: an image in, its most probable labels out."""

import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from downshift.models.images.preprocess import read_input
from downshift.models.spec import InputSpec
from downshift.runtime.ranking import ranking
from downshift.server.catalog import Catalog, Model
from downshift.server.connection.arrival import arrival, unix_arrival
from downshift.server.connection.body import read_body
from downshift.server.connection.error_middleware import JsonResponse
from downshift.server.demand import read_demand
from downshift.server.errors import BadInput
from downshift.server.images.decoders import Decoders
from downshift.server.images.upload import image_file
from downshift.server.inference import admitted, infer, outcome, reading
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics

DEFAULT_TOP_K = 5


def predict_router(catalog: Catalog, metrics: Metrics, settings: Settings, decoders: Decoders) -> APIRouter:
    """`POST /predict`; images are decoded by `decoders`, never on the event loop."""
    router = APIRouter(tags=["images"])

    @router.post("/predict", openapi_extra=_PREDICT)
    async def predict(request: Request) -> Response:
        """Label an image within the latency budget that the headers grant.

        The body is the image file, a form with the file in a field named `image`, or JSON with the file
        in base64. What a file is, its content decides. Waiting to be decoded and decoding count against
        the budget.
        """
        with admitted(catalog, metrics, request.query_params.get("model")) as model:
            return await answer_predict(request, model)

    async def answer_predict(request: Request, model: Model) -> Response:
        manifest, statistics = model.backend.manifest, model.statistics
        with reading(model, metrics):
            top_k = read_top_k(request.query_params.get("top_k"), len(manifest.labels))
            arrived = partial(unix_arrival, request.scope)
            demand = read_demand(request.headers.items(), settings.max_budget, arrived=arrived)
            decoders.check()  # before a byte of the body is read
            body = await read_body(request, settings.max_body_bytes)
            began = time.perf_counter()
            content_type = request.headers.get("content-type", "")
            work = partial(to_input, body, content_type, manifest.input, settings.max_pixels)
            deadline = demand.budget.deadline(arrival(request.scope))
            inputs = await outcome(decoders.submit(work, deadline), request)
            read = time.perf_counter()
        report = await infer(request, model, inputs, demand, metrics)
        answered = time.perf_counter()
        point = report.answer.point
        answer: dict[str, Any] = {
            "model": model.name,
            "predictions": top_labels(report.answer.outputs[0], manifest.labels, top_k),
            "subnet": point.name,
            "sparsity": point.sparsity,
            "accuracy": point.accuracy,
            "engine": report.answer.engine,
            "timing": report.timing,
            "latency_budget_remaining_ms": report.parameters.get("latency_budget_remaining_ms"),
        }
        response = JsonResponse(answer, headers=report.headers)
        statistics.coded(read - began, time.perf_counter() - answered)
        return response

    return router


def to_input(body: bytes, content_type: str, spec: InputSpec, max_pixels: int) -> NDArray[np.float32]:
    """float32 [1, C, H, W] of the image in a request body of that type."""
    return read_input(image_file(body, content_type), spec, max_pixels=max_pixels)


def read_top_k(text: str | None, classes: int) -> int:
    """How many labels to answer; raises `BadInput` for anything but 1 to the number of classes."""
    if text is None:
        return min(DEFAULT_TOP_K, classes)
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= classes):
        raise BadInput(f"top_k {text[:40]!r}: give a whole number from 1 to {classes}")
    return int(text)


def top_labels(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The `top_k` most probable labels of logits [classes], most probable first; ties keep their order."""
    return [{"label": name, "probability": value} for name, value in ranking(logits, labels, top_k)]


_FILE = {"schema": {"type": "string", "format": "binary"}}
_FILES = ("jpeg", "png", "webp", "gif", "bmp", "tiff")
_ANSWER = {
    "type": "object",
    "required": ["model", "predictions", "subnet", "sparsity", "accuracy", "engine", "timing"],
    "properties": {
        "model": {"type": "string"},
        "predictions": {
            "type": "array",
            "description": "the most probable labels, most probable first",
            "items": {
                "type": "object",
                "required": ["label", "probability"],
                "properties": {"label": {"type": "string"}, "probability": {"type": "number"}},
            },
        },
        "subnet": {
            "type": "string",
            "description": "the sub-net that answered, `-int8` after its name in int8",
        },
        "sparsity": {"type": "number"},
        "accuracy": {"type": ["number", "null"], "description": "its validation accuracy, where measured"},
        "engine": {"type": "string"},
        "timing": {
            "type": "object",
            "required": ["queue_ms", "infer_ms", "total_ms"],
            "properties": {
                "queue_ms": {"type": "number"},
                "infer_ms": {"type": "number"},
                "total_ms": {"type": "number", "description": "from the request's first byte"},
            },
        },
        "latency_budget_remaining_ms": {"type": ["number", "null"]},
    },
}


def _header(name: str, kind: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": kind}}


_PREDICT = {
    "requestBody": {
        "required": True,
        "content": {
            **{f"image/{kind}": _FILE for kind in _FILES},
            "application/octet-stream": _FILE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "description": "the image file in base64, or a data: URL of it",
                        }
                    },
                }
            },
        },
    },
    "parameters": [
        {
            "name": "top_k",
            "in": "query",
            "description": f"how many labels to answer, {DEFAULT_TOP_K} unless asked otherwise",
            "schema": {"type": "integer", "minimum": 1},
        },
        {
            "name": "model",
            "in": "query",
            "description": "which of the served models answers; the first unless asked otherwise",
            "schema": {"type": "string"},
        },
        _header("X-Latency-Budget-Ms", "number", "milliseconds the answer may take, from the first byte"),
        _header("X-Deadline-Unix-Ms", "number", "when the answer must be there: milliseconds since 1970 UTC"),
        _header("X-Subnet", "string", "the sub-net that must answer"),
        _header("X-Min-Accuracy", "number", "refuse rather than answer less accurately than this ratio"),
    ],
    "responses": {
        "200": {"description": "The labels", "content": {"application/json": {"schema": _ANSWER}}},
    },
}
