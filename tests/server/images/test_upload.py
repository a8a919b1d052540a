from __future__ import annotations

import base64
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.server.errors import BadInput
from downshift.server.images.upload import image_file

DATA = b"\x00\xff picture"
TEXT = base64.b64encode(DATA).decode()
JSON = "application/json"


@pytest.mark.parametrize("content_type", ["", "image/png", "application/jsonx", "text/json"])
def test_a_body_that_is_neither_form_nor_json_is_the_file(content_type: str) -> None:
    assert image_file(DATA, content_type) == DATA


@pytest.mark.parametrize("content_type", [JSON, "Application/JSON; charset=utf-8", "application/vnd.x+json"])
@pytest.mark.parametrize(
    "text",
    [TEXT, f"data:image/png;base64,{TEXT}", f"data:;base64,{TEXT}", TEXT[:4] + "\r\n" + TEXT[4:] + "\n"],
)
def test_base64_in_json_is_decoded(content_type: str, text: str) -> None:
    assert image_file(orjson.dumps({"image": text}), content_type) == DATA


def test_a_form_gives_its_file() -> None:
    body = (
        b'--X\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + DATA + b"\r\n--X--\r\n"
    )
    assert image_file(body, "Multipart/form-data; boundary=X") == DATA


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"null", "must be an object with the image in base64"),
        (b'{"picture": ""}', "must be an object with the image in base64"),
        (b'{"image": [1]}', "must be an object with the image in base64"),
        (b'{"image": "A"}', "image is not base64"),
        (b'{"image": "data:image/png,AAAA"}', "image is not base64"),
        ('{"image": "é==="}'.encode(), "image is not base64"),
    ],
)
def test_other_json_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        image_file(body, JSON)


@given(st.binary(max_size=200), st.sampled_from([JSON, "multipart/form-data; boundary=X", "multipart/mixed"]))
def test_no_body_gives_anything_but_a_file_or_bad_input(body: bytes, content_type: str) -> None:
    with suppress(BadInput):
        image_file(body, content_type)
