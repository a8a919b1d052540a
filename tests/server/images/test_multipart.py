from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.server.errors import BadInput
from downshift.server.images.multipart import image_part

TYPE = "multipart/form-data; boundary=XX"


def body(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    """A body with these parts: what follows form-data in their headers, and their content."""
    return (
        b"".join(
            b"--XX\r\nContent-Disposition: form-data" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
            for head, content in parts
        )
        + end
    )


def test_the_part_named_image_comes_first_then_file_then_any_file() -> None:
    note = ("; name=note", b"hi")
    named = ("; name=image", b"A")
    filed = ('; name="file"; filename="x.png"', b"B")
    other = ('; name=picture; filename="y.png"', b"C")
    assert image_part(body(note, other, named), TYPE) == b"A"
    assert image_part(body(note, other, filed), TYPE) == b"B"
    assert image_part(body(note, other), TYPE) == b"C"


@pytest.mark.parametrize(
    "head",
    [
        "; filename*=UTF-8''na%C3%AFve.png",
        "; FileName*=utf-8'en'x.png",
        "; filename*0=photo; filename*1=.png",
        "; filename*0*=UTF-8''photo; filename*1=.png",
        "; name=picture; filename*=\"UTF-8''x.png\"",
        "\r\nContent-Type: image/png",
    ],
)
def test_a_part_with_an_extended_file_name_or_an_image_s_type_is_a_file(head: str) -> None:
    assert image_part(body(("; name=note", b"hi"), (head, b"A")), TYPE) == b"A"


def test_a_name_that_only_mentions_a_file_name_makes_no_file() -> None:
    with pytest.raises(BadInput, match="holds no file"):
        image_part(body(('; name="; filename*=x"', b"hi")), TYPE)


@given(st.binary(max_size=200).filter(lambda content: b"--XX" not in content))
def test_any_content_survives(content: bytes) -> None:
    assert image_part(body(('; name=image; filename="x"', content)), TYPE) == content


@pytest.mark.parametrize(
    ("data", "content_type", "sentence"),
    [
        (body(("; name=image", b"A")), "multipart/form-data", "no boundary"),
        (b"no multipart at all", TYPE, "malformed"),
        (body(("; name=image", b"A"), end=b""), TYPE, "ends before its closing boundary"),
        (body(("; name=note", b"hi")), TYPE, "holds no file"),
        (body(*[("; name=n", b"")] * 33), TYPE, "more than 32 parts"),
        (body(("; name=image" + "x" * 9000, b"A")), TYPE, "malformed"),
    ],
)
def test_a_bad_body_is_refused(data: bytes, content_type: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        image_part(data, content_type)


@given(st.binary(max_size=300), st.text(st.characters(max_codepoint=255), max_size=40))
def test_no_bytes_give_anything_but_a_part_or_bad_input(data: bytes, boundary: str) -> None:
    with suppress(BadInput):
        image_part(b"--XX\r\n" + data, f"multipart/form-data; boundary={boundary or 'XX'}")
