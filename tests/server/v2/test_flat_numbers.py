from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.server.errors import BadInput
from downshift.server.v2 import flat_numbers
from downshift.server.v2.flat_numbers import cut_numbers
from downshift.server.v2.infer_request import LONG, read_infer
from tests.server.doubles import PIXELS, manifest, tensor

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_numbers, "PIECE", 16)
    monkeypatch.setattr(flat_numbers, "PAUSE", 0.0)


@given(st.lists(numbers, min_size=1, max_size=60), st.sampled_from(["", " ", "\n\t "]))
def test_pieces_give_what_the_whole_gives(values: list[float], blank: str) -> None:
    array = f",{blank}".join(orjson.dumps(value).decode() for value in values)
    text = (
        f'{{"inputs": [{{"name": "x", "data"{blank}:{blank}[{blank}{array}{blank}]}}], "id": "y"}}'.encode()
    )
    cut = cut_numbers(text)
    assert cut is not None
    rest, got = cut
    expected = np.asarray(orjson.loads(text)["inputs"][0]["data"])
    np.testing.assert_array_equal(got, expected)
    assert orjson.loads(rest) == {"inputs": [{"name": "x", "data": []}], "id": "y"}


@pytest.mark.parametrize(
    "text",
    [
        '{"data": []}',
        '{"data": [1, 2,]}',
        '{"data": [1, 2, ]}',
        '{"data": [,1]}',
        '{"data": [1,,2]}',
        '{"data": [1 2]}',
        '{"data": [1, 2}',
        '{"data": [1, "2"]}',
        '{"data": [[1], [2]]}',
        '{"data": 3}',
        '{"data": "[1]"}',
        '{"name": "data", "x": [1]}',
        '{"data": [1], "more": {"data": [2]}}',
        '{"DATA": [1]}',
        "",
        "[1]",
    ],
)
def test_whatever_is_written_otherwise_is_left_to_the_parser(text: str) -> None:
    assert cut_numbers(text.encode()) is None


@given(st.text('[]{},:"0123456789.eE+- datatruefalsn', max_size=80))
def test_nothing_that_is_no_json_becomes_json(inner: str) -> None:
    text = f'{{"data": [{inner}]}}'.encode()
    cut = cut_numbers(text)
    if cut is None:
        return
    rest, got = cut
    try:
        remaining = orjson.loads(rest)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
    else:
        whole = orjson.loads(text)
        np.testing.assert_array_equal(np.asarray(whole["data"]), got)
        assert remaining == whole | {"data": []}


def test_a_long_request_is_read_as_a_short_one_is() -> None:
    count = LONG // PIXELS
    values = np.random.default_rng(0).random((count, PIXELS), np.float32)
    request = tensor(shape=[count, 3, 2, 2], data=values.ravel().tolist())
    body = orjson.dumps(request)
    assert len(body) > LONG
    assert cut_numbers(body) is not None
    read = read_infer(body, None, manifest(), count)
    np.testing.assert_array_equal(read.inputs.reshape(count, -1), values)
    nested = tensor(shape=[count, 3, 2, 2], data=values.reshape(count, 3, 2, 2).tolist())
    np.testing.assert_array_equal(
        read_infer(orjson.dumps(nested), None, manifest(), count).inputs, read.inputs
    )


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"data": [1.0] * LONG}, "inputs must hold"),
        ({"inputs": {"data": [1.0] * LONG}}, "inputs must hold"),
        ({"inputs": [{"parameters": {"data": [1.0] * LONG}}]}, "name"),
        (tensor(data=[True] * LONG), "numbers only"),
        (tensor(data=[None] * LONG), "numbers only"),
        (tensor(data=[1.0] * LONG), "not .* nor flat"),
    ],
)
def test_a_long_request_that_is_wrong_is_told_so(request_: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_infer(orjson.dumps(request_), None, manifest(), 4)
    with pytest.raises(BadInput, match="not valid JSON"):
        read_infer(orjson.dumps(request_)[:-1], None, manifest(), 4)
