from __future__ import annotations

import struct

import numpy as np
import orjson
import pytest

from downshift.server.v2.infer_request import RequestedOutput
from downshift.server.v2.infer_response import InferBody, bytes_tensor, write_infer
from tests.server.doubles import manifest

MANIFEST = manifest()
LOGITS = np.array([[0.5, -2.0, 1.25]], np.float32)


def write(requested: RequestedOutput, outputs: np.ndarray = LOGITS) -> InferBody:
    return write_infer({}, outputs, MANIFEST, requested)


def test_the_response_is_this_json() -> None:
    answer = {"model_name": "pets", "model_version": "1", "id": "7", "parameters": {"subnet": "s90"}}
    body = write_infer(answer, LOGITS, MANIFEST, RequestedOutput())
    assert body.json_size is None
    assert body.content == (
        b'{"model_name":"pets","model_version":"1","id":"7","parameters":{"subnet":"s90"},'
        b'"outputs":[{"name":"logits","datatype":"FP32","shape":[1,3],"data":[0.5,-2.0,1.25]}]}'
    )


def test_the_binary_response_is_json_and_then_little_endian_floats() -> None:
    body = write(RequestedOutput(binary=True), np.array([[1.0, 2.0]], np.float32))
    head = (
        b'{"outputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}'
    )
    assert body.content == head + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert body.json_size == len(head)


def test_the_best_classes_come_as_value_index_and_label() -> None:
    outputs = np.array([[0.5, -2.0, 1.25], [10.0, 0.1, 10.0]], np.float32)
    assert write(RequestedOutput(classes=2), outputs).content == (
        b'{"outputs":[{"name":"logits","datatype":"BYTES","shape":[2,2],'
        b'"data":["1.25:2:bird","0.5:0:cat","10:0:cat","10:2:bird"]}]}'
    )


def test_classes_in_binary_are_behind_their_lengths() -> None:
    body = write(RequestedOutput(binary=True, classes=1))
    assert body.json_size is not None
    head, tail = body.content[: body.json_size], body.content[body.json_size :]
    assert orjson.loads(head)["outputs"] == [
        {"name": "logits", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 15}}
    ]
    assert tail == b"\x0b\x00\x00\x001.25:2:bird"


@pytest.mark.parametrize("value", [1e-7, -3.4028235e38, 0.1, 1 / 3])
def test_a_class_s_value_reads_back_as_the_same_float(value: float) -> None:
    [text] = orjson.loads(write(RequestedOutput(classes=1), np.array([[value]], np.float32)).content)[
        "outputs"
    ][0]["data"]
    assert np.float32(text.split(":")[0]) == np.float32(value)


def test_the_length_of_a_label_is_that_of_its_bytes() -> None:
    assert bytes_tensor(["é"]) == struct.pack("<I", 2) + "é".encode()
