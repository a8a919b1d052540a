"""A sub-net in float16: weights and arithmetic, with float32 inputs and outputs."""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16


def half_model(model: bytes) -> bytes:
    """The same ONNX model computing in float16; weights beyond its range become the largest that it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every weight that float16 rounds to zero
        converted = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return bytes(converted.SerializeToString())
