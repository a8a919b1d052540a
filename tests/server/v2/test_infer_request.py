from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from downshift.server.errors import BadInput
from downshift.server.v2.infer_request import InferRequest, RequestedOutput, read_infer
from tests.server.doubles import PIXELS, manifest, tensor

MANIFEST = manifest()
VALUES = np.arange(PIXELS, dtype=np.float32).reshape(1, 3, 2, 2)


def read(request: object, tail: bytes = b"", max_batch: int = 4) -> InferRequest:
    head = orjson.dumps(request)
    return read_infer(head + tail, str(len(head)) if tail else None, MANIFEST, max_batch)


def binary(size: object = 4 * PIXELS, **changes: Any) -> dict[str, Any]:
    request = tensor(parameters={"binary_data_size": size}, **changes)
    del request["inputs"][0]["data"]
    return request


def test_flat_nested_and_binary_data_are_the_same_request() -> None:
    flat = read(tensor())
    nested = read(tensor(data=VALUES.tolist()))
    behind = read(binary(), VALUES.tobytes())
    for request in (flat, nested, behind):
        assert request.inputs.dtype == np.float32
        np.testing.assert_array_equal(request.inputs, VALUES)
        assert (request.id, request.timeout, request.requested) == (None, None, RequestedOutput())


def test_whole_numbers_are_numbers() -> None:
    np.testing.assert_array_equal(read(tensor(data=list(range(PIXELS)))).inputs, VALUES)


def test_id_timeout_and_binary_wish_are_kept() -> None:
    request = read(tensor() | {"id": "x", "parameters": {"timeout": 5, "binary_data_output": True}})
    assert (request.id, request.timeout, request.requested) == ("x", 5, RequestedOutput(binary=True))


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        (None, RequestedOutput()),
        ([], RequestedOutput()),
        ([{"name": "logits"}], RequestedOutput()),
        ([{"name": "logits", "parameters": {"binary_data": True}}], RequestedOutput(binary=True)),
        ([{"name": "logits", "parameters": {"classification": 3}}], RequestedOutput(classes=3)),
        (
            [{"name": "logits", "parameters": {"classification": 1, "binary_data": True}}],
            RequestedOutput(True, 1),
        ),
    ],
)
def test_an_output_can_be_asked_for_in_binary_and_as_classes(
    outputs: object, wanted: RequestedOutput
) -> None:
    assert read(tensor() | {"outputs": outputs}).requested == wanted


def test_an_output_s_own_wish_comes_before_the_request_s() -> None:
    request = tensor() | {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
    }
    assert read(request).requested == RequestedOutput()


@pytest.mark.parametrize("classes", [0, -1, 4, 10**18, 1.0, True, "2", [1]])
def test_classes_that_cannot_be_are_refused(classes: object) -> None:
    request = tensor() | {"outputs": [{"name": "logits", "parameters": {"classification": classes}}]}
    with pytest.raises(BadInput, match=r"classification .*: give a whole number from 1 to 3"):
        read(request)


@pytest.mark.parametrize(("name", "wire"), [("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8")])
def test_every_floating_datatype_is_read_in_json_and_in_binary(name: str, wire: str) -> None:
    values = VALUES / 7
    stored = values.astype(wire)
    in_json = read(tensor(datatype=name, data=values.tolist()))
    in_binary = read(binary(stored.nbytes, datatype=name), stored.tobytes())
    for request in (in_json, in_binary):
        assert request.inputs.dtype == np.float32
        np.testing.assert_array_equal(request.inputs, stored.astype(np.float32))


def test_bytes_are_pixels_and_are_normalised() -> None:
    pixels = (np.arange(PIXELS) * 23 % 256).astype(np.uint8).reshape(VALUES.shape)
    in_json = read(tensor(datatype="UINT8", data=pixels.tolist()))
    in_binary = read(binary(PIXELS, datatype="UINT8"), pixels.tobytes())
    for request in (in_json, in_binary):
        np.testing.assert_array_equal(request.inputs, pixels / np.float32(255))


@pytest.mark.parametrize("value", [-1, 256, 2**40, 0.5, 1.0])
def test_what_is_no_byte_is_no_pixel(value: float) -> None:
    with pytest.raises(BadInput, match="UINT8 must hold whole numbers from 0 to 255"):
        read(tensor(datatype="UINT8", data=[value] * PIXELS))


@pytest.mark.parametrize(("name", "value"), [("FP16", 65520.0), ("FP32", 1e39), ("FP64", 1e39)])
def test_a_number_too_large_is_refused(name: str, value: float) -> None:
    limit = "FP16" if name == "FP16" else "FP32"
    with pytest.raises(BadInput, match=f"too large for {limit}"):
        read(tensor(datatype=name, data=[value] * PIXELS))


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
    (tensor(datatype="INT8"), "datatype 'INT8': send one of FP32, FP16, FP64, UINT8"),
    (tensor(datatype="BYTES"), "datatype 'BYTES': send one of"),
    (tensor(datatype=["FP32"]), r"datatype \['FP32'\]: send one of"),
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


@pytest.mark.parametrize("depth", [70, 200, 1000, 2000, 500_000])
@pytest.mark.parametrize("field", ["data", "shape", "datatype", "name"])
@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")])
def test_json_nested_too_deeply_is_refused(field: str, depth: int, opening: str, closing: str) -> None:
    deep = opening * depth + "1" + closing * depth
    body = orjson.dumps(tensor(**{field: "DEEP"})).replace(b'"DEEP"', deep.encode())
    with pytest.raises(BadInput) as refused:
        read_infer(body, None, MANIFEST, 4)
    assert len(str(refused.value)) < 300


def test_what_is_ignored_must_not_be_nested_too_deeply_either() -> None:
    body = orjson.dumps(tensor() | {"parameters": {"x": "DEEP"}})
    read_infer(body.replace(b'"DEEP"', b"[" * 900 + b"]" * 900), None, MANIFEST, 4)
    with pytest.raises(BadInput, match="not valid JSON"):
        read_infer(body.replace(b'"DEEP"', b"[" * 1100 + b"]" * 1100), None, MANIFEST, 4)


def test_what_is_shown_of_a_bad_value_is_short() -> None:
    for value in (["x" * 10**6] * 100, {"x": "y" * 10**6}, "z" * 10**6, [[[1]]], 1e300):
        with pytest.raises(BadInput) as refused:
            read(tensor(datatype=value))
        assert len(str(refused.value)) < 150


@pytest.mark.parametrize(
    ("request_", "tail", "sentence"),
    [
        (tensor(), b"1234", "no binary_data_size"),
        (tensor(parameters={"binary_data_size": 48}), VALUES.tobytes(), "both data and binary_data_size"),
        (
            binary(),
            VALUES.tobytes()[:-1],
            r"datatype FP32 and shape .* takes 48 bytes, and 47 were sent: binary_data_size says 48",
        ),
        (
            binary(47),
            VALUES.tobytes(),
            r"datatype FP32 and shape .* takes 48 bytes, and 48 were sent: binary_data_size says 47",
        ),
        (binary(48, datatype="FP64"), VALUES.tobytes(), "takes 96 bytes"),
        (binary(48, datatype="UINT8"), VALUES.tobytes(), "takes 12 bytes"),
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
