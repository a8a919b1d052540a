from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.codec import InferRequest, read_infer, write_infer
from server.errors import BadInput
from tests.server.doubles import PIXELS, manifest, tensor

MANIFEST = manifest()
VALUES = np.arange(PIXELS, dtype=np.float32).reshape(1, 3, 2, 2)


def read(request: object, tail: bytes = b"", max_batch: int = 4) -> InferRequest:
    head = orjson.dumps(request)
    return read_infer(head + tail, str(len(head)) if tail else None, MANIFEST, max_batch)


def binary(size: object = 4 * PIXELS) -> dict[str, Any]:
    request = tensor(parameters={"binary_data_size": size})
    del request["inputs"][0]["data"]
    return request


def test_flat_nested_and_binary_data_are_the_same_request() -> None:
    flat = read(tensor())
    nested = read(tensor(data=VALUES.tolist()))
    behind = read(binary(), VALUES.tobytes())
    for request in (flat, nested, behind):
        assert request.inputs.dtype == np.float32
        np.testing.assert_array_equal(request.inputs, VALUES)
        assert (request.id, request.timeout, request.binary) == (None, None, False)


def test_whole_numbers_are_numbers() -> None:
    np.testing.assert_array_equal(read(tensor(data=list(range(PIXELS)))).inputs, VALUES)


def test_id_timeout_and_binary_wish_are_kept() -> None:
    request = read(tensor() | {"id": "x", "parameters": {"timeout": 5, "binary_data_output": True}})
    assert (request.id, request.timeout, request.binary) == ("x", 5, True)


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        (None, False),
        ([], False),
        ([{"name": "logits"}], False),
        ([{"name": "logits", "parameters": {"binary_data": True}}], True),
    ],
)
def test_an_output_can_be_asked_for_in_binary(outputs: object, wanted: bool) -> None:
    assert read(tensor() | {"outputs": outputs}).binary is wanted


BAD: list[tuple[object, str]] = [
    ([], "JSON object with 'inputs'"),
    ({}, "exactly one tensor, 'image'"),
    ({"inputs": []}, "exactly one tensor"),
    ({"inputs": ["image"]}, "exactly one tensor"),
    ({"inputs": tensor()["inputs"] * 2}, "exactly one tensor"),
    (tensor() | {"id": 7}, "id must be a string"),
    (tensor() | {"id": "x" * 257}, "at most 256 characters"),
    (tensor() | {"parameters": []}, "parameters must be a JSON object"),
    (tensor() | {"outputs": {}}, "outputs must be a list"),
    (tensor() | {"outputs": [{"name": "probabilities"}]}, "outputs names 'probabilities'.*'logits'"),
    (tensor() | {"outputs": [{"name": "logits"}] * 2}, "more than once"),
    (tensor(name="picture"), "name 'picture': this model's input is 'image'"),
    (tensor(name=None), "name None"),
    (tensor(datatype="INT8"), "datatype 'INT8': this model takes FP32"),
    (tensor(datatype=None), "datatype None"),
    (tensor(shape=[3, 2, 2]), r"shape \[3, 2, 2\]: this model takes \[N, 3, 2, 2\] with N in 1 to 4"),
    (tensor(shape=[0, 3, 2, 2]), r"N in 1 to 4"),
    (tensor(shape=[5, 3, 2, 2]), r"N in 1 to 4"),
    (tensor(shape=[-1, 3, 2, 2]), r"N in 1 to 4"),
    (tensor(shape=[True, 3, 2, 2]), r"N in 1 to 4"),
    (tensor(shape=[1.0, 3, 2, 2]), r"N in 1 to 4"),
    (tensor(shape="1322"), r"N in 1 to 4"),
    (tensor(shape=[]), r"N in 1 to 4"),
    (tensor(data=None), "list of numbers, flat or nested"),
    (tensor(data="0123"), "list of numbers, flat or nested"),
    (tensor(data=[1.0] * 11), r"data has shape \[11\], not \[1, 3, 2, 2\] nor flat"),
    (tensor(data=[[1.0] * 6] * 2), r"data has shape \[2, 6\]"),
    (tensor(data=[[1.0], [1.0, 2.0]]), "ragged"),
    (tensor(data=["1"] * PIXELS), "numbers only"),
    (tensor(data=[None] * PIXELS), "numbers only"),
    (tensor(data=[True] * PIXELS), "numbers only"),
    (tensor(data=[{}] * PIXELS), "numbers only"),
    (tensor(data=[1e39] * PIXELS), "too large for FP32"),
    (tensor(parameters=1), r"inputs\[0\].parameters must be a JSON object"),
]


@pytest.mark.parametrize(("request_", "sentence"), BAD)
def test_a_bad_request_is_refused_with_a_sentence(request_: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read(request_)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"inputs": NaN}', b"[" * 100_000, b"1e999"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        read_infer(body, None, MANIFEST, 4)


def test_data_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = [1.0]
    for _ in range(200):
        deep = [deep]
    with pytest.raises(BadInput):
        read(tensor(data=deep))


@pytest.mark.parametrize(
    ("request_", "tail", "sentence"),
    [
        (tensor(), b"1234", "no binary_data_size"),
        (tensor(parameters={"binary_data_size": 48}), VALUES.tobytes(), "both data and binary_data_size"),
        (binary(), VALUES.tobytes()[:-1], "takes 48 bytes: binary_data_size says 48 and 47 follow"),
        (binary(47), VALUES.tobytes(), "takes 48 bytes: binary_data_size says 47 and 48 follow"),
        (binary("48"), VALUES.tobytes(), "takes 48 bytes"),
        (binary(), np.full(PIXELS, np.nan, dtype=np.float32).tobytes(), "NaN"),
        (binary(), np.full(PIXELS, -np.inf, dtype=np.float32).tobytes(), "infinity"),
    ],
)
def test_bad_binary_data_is_refused(request_: object, tail: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read(request_, tail)


@pytest.mark.parametrize("size", ["", "0", "-1", "abc", "1e3", "99", "9" * 5000])
def test_a_json_length_that_cannot_be_is_refused(size: str) -> None:
    with pytest.raises(BadInput, match="Inference-Header-Content-Length"):
        read_infer(b"{}", size, MANIFEST, 4)


def test_the_response_is_this_json() -> None:
    answer = {"model_name": "pets", "model_version": "1", "id": "7", "parameters": {"subnet": "s90"}}
    body = write_infer(answer, np.array([[0.5, -2.0, 1.25]], np.float32), MANIFEST, binary=False)
    assert body.json_size is None
    assert body.content == (
        b'{"model_name":"pets","model_version":"1","id":"7","parameters":{"subnet":"s90"},'
        b'"outputs":[{"name":"logits","datatype":"FP32","shape":[1,3],"data":[0.5,-2.0,1.25]}]}'
    )


def test_the_binary_response_is_json_and_then_little_endian_floats() -> None:
    body = write_infer({}, np.array([[1.0, 2.0]], np.float32), MANIFEST, binary=True)
    head = (
        b'{"outputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}'
    )
    assert body.content == head + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert body.json_size == len(head)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3), st.just(2), st.just(2)), elements=FINITE)
)
def test_any_finite_tensor_survives_in_json_and_in_binary(values: Any) -> None:
    shape = list(values.shape)
    in_json = read(tensor(shape=shape, data=values.tolist()))
    request = binary(values.nbytes)
    request["inputs"][0]["shape"] = shape
    np.testing.assert_array_equal(in_json.inputs, values)
    np.testing.assert_array_equal(read(request, values.tobytes()).inputs, values)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), JSON), JSON, JSON
)
def test_no_json_gives_anything_but_a_finite_request_or_bad_input(
    changes: dict[str, Any], outputs: Any, parameters: Any
) -> None:
    try:
        request = read(tensor(**changes) | {"outputs": outputs, "parameters": parameters})
    except BadInput:
        return
    assert request.inputs.shape == (1, 3, 2, 2)
    assert math.isfinite(request.inputs.sum())
