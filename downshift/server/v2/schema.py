"""OpenAPI schemas of the V2 endpoints; for documentation only, the parsers do not use them.

The schemas hold for every model. Model-specific constraints (tensor names, shapes, number of classes) are in
`GET /v2/models/{name}`; a request that violates them gets 400.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from downshift.server.demand import LAST_RANK
from downshift.server.v2.datatype import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_ANY_OBJECT: Schema = {"type": "object"}
_BINARY: Schema = {"type": "string", "format": "binary"}


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _described(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text}


_SHAPE = _list({"type": "integer"})
_DATATYPE: Schema = {"type": "string", "enum": list(DATATYPES)}
_INPUT = _object(
    {
        "name": _TEXT,
        "shape": _list({"type": "integer", "minimum": 1}, minItems=4, maxItems=4),
        "datatype": _DATATYPE,
    },
    {
        "data": _described(_list({}), "numbers, flat or nested; absent where they follow the JSON in binary"),
        "parameters": _object({}, {"binary_data_size": _described(_COUNT, "bytes behind the JSON")}),
    },
)
_REQUESTED = _object(
    {"name": _TEXT},
    {
        "parameters": _object(
            {},
            {
                "binary_data": _described(_FLAG, "put the tensor behind the JSON"),
                "classification": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "answer that many best classes, as BYTES value:index:label",
                },
            },
        )
    },
)
_REQUEST = _object(
    {"inputs": _list(_INPUT, minItems=1, maxItems=1)},
    {
        "id": {"type": "string", "maxLength": 256},
        "parameters": _object(
            {},
            {
                "timeout": _described(_COUNT, "latency budget in microseconds; 0 is none"),
                "priority": {
                    **_COUNT,
                    "maximum": LAST_RANK,
                    "description": "1 goes first; 0 is the usual one",
                },
                "binary_data_output": _described(_FLAG, "put every tensor behind the JSON"),
            },
        ),
        "outputs": _list(_REQUESTED, maxItems=1),
    },
)
_ANSWER = _object(
    {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "parameters": _object(
            {
                "subnet": _TEXT,
                "subnet_sparsity": {"type": "number"},
                "queue_ms": {"type": "number"},
                "infer_ms": {"type": "number"},
                "total_ms": {"type": "number"},
            },
            {"subnet_accuracy": {"type": "number"}, "latency_budget_remaining_ms": {"type": "number"}},
        ),
        "outputs": _list(
            _object(
                {"name": _TEXT, "datatype": {"type": "string", "enum": ["FP32", "BYTES"]}, "shape": _SHAPE},
                {"data": _list({}), "parameters": _object({}, {"binary_data_size": _COUNT})},
            ),
            minItems=1,
            maxItems=1,
        ),
    },
    {"id": _TEXT},
)
_DURATION = _object({"count": _COUNT, "ns": _COUNT})
_PHASES = ("compute_input", "compute_infer", "compute_output")
_STATISTICS = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "last_inference": _described(_COUNT, "milliseconds since 1970; 0 when there was none"),
        "inference_count": _COUNT,
        "execution_count": _COUNT,
        "inference_stats": _object(
            dict.fromkeys(("success", "fail", "queue", *_PHASES, "cache_hit", "cache_miss"), _DURATION)
        ),
        "batch_stats": _list(_object({"batch_size": _COUNT, **dict.fromkeys(_PHASES, _DURATION)})),
    }
)
_TENSOR = _object({"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE}, {"parameters": _ANY_OBJECT})
_CONFIG_TENSOR = _object({"name": _TEXT, "data_type": _TEXT, "dims": _SHAPE})

SERVER = _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)})
LIVE, READY = _object({"live": _FLAG}), _object({"ready": _FLAG})
MODELS = _object({"models": _list(_object({"name": _TEXT}))})
MODEL_READY = _object({"name": _TEXT, "ready": _FLAG})
METADATA = _object(
    {
        "name": _TEXT,
        "versions": _list(_TEXT),
        "platform": _TEXT,
        "inputs": _list(_TENSOR),
        "outputs": _list(_TENSOR),
    }
)
CONFIG = _object(
    {
        "name": _TEXT,
        "platform": _TEXT,
        "backend": _TEXT,
        "version_policy": _ANY_OBJECT,
        "max_batch_size": _COUNT,
        "input": _list(_CONFIG_TENSOR),
        "output": _list(_CONFIG_TENSOR),
        "instance_group": _list(_ANY_OBJECT),
        "dynamic_batching": _ANY_OBJECT,
        "parameters": {"type": "object", "additionalProperties": _object({"string_value": _TEXT})},
    }
)
STATS = _object({"model_stats": _list(_STATISTICS)})


def answers(schema: Schema) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that returns 200 with JSON of this schema."""
    return {200: {"description": "OK", "content": {"application/json": {"schema": schema}}}}


def _header(name: str, text: str, schema: Schema = _TEXT) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def _named(headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {name: {"description": text, "schema": _TEXT} for name, text in headers}


_LENGTH = "Inference-Header-Content-Length"
_ENCODINGS: Schema = {"type": "string", "enum": ["identity", "gzip", "deflate"]}
INFER: dict[str, Any] = {
    "parameters": [
        _header("X-Latency-Budget-Ms", "how long the answer may take, from the request's first byte"),
        _header("X-Deadline-Unix-Ms", "when the answer must be there: milliseconds since 1970 UTC"),
        _header("X-Subnet", "answer with exactly this sub-net"),
        _header("X-Min-Accuracy", "refuse rather than answer less accurately than this ratio"),
        _header("X-Priority", "1 goes first, 8 last"),
        _header(_LENGTH, "bytes of JSON before a tensor in binary"),
        _header("Content-Encoding", "how the body is compressed", _ENCODINGS),
        _header("Accept-Encoding", "how a large answer may be compressed"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {
                "schema": _described(_BINARY, f"JSON, then the tensor: see {_LENGTH}")
            },
        },
    },
}
INFER_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The model's answer",
        "headers": _named(
            [
                ("X-Subnet", "who answered"),
                ("X-Subnet-Sparsity", "its share of removed weights"),
                ("X-Subnet-Accuracy", "its validation accuracy, where measured"),
                ("X-Latency-Budget-Remaining-Ms", "what was left of the budget, where one was granted"),
                ("X-Request-Id", "under which the access log has the request"),
                ("Server-Timing", "milliseconds in the queue, in the engine and in all"),
                (_LENGTH, "bytes of JSON before a tensor in binary"),
            ]
        ),
        "content": {
            "application/json": {"schema": _ANSWER},
            "application/octet-stream": {"schema": _BINARY},
        },
    },
}
