"""Parsing the protocol's messages, and their parameters, which are unions, from and to Python's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from downshift.server.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.server.grpc.inference_pb2 import InferParameter

M = TypeVar("M")


def parse(kind: type[M], message: bytes) -> M:
    """The message of that kind; raises `BadInput` for bytes that are none."""
    try:
        parsed: M = kind.FromString(message)  # type: ignore[attr-defined]
    except DecodeError as error:
        name = kind.DESCRIPTOR.name  # type: ignore[attr-defined]
        raise BadInput(f"these {len(message)} bytes are no {name} message: {error}") from None
    return parsed


def values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters' values; None for one that holds nothing."""
    return {name: _value(parameter) for name, parameter in parameters.items()}


def _value(parameter: Any) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(parameter, chosen)


def put(parameters: Mapping[str, InferParameter], given: Mapping[str, str | float]) -> None:
    """Add these values to a message's parameters."""
    for name, value in given.items():
        if isinstance(value, str):
            parameters[name].string_param = value
        else:
            parameters[name].double_param = value
