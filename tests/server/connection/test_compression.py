from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.server.connection.compression import (
    DEFLATE,
    GZIP,
    IDENTITY,
    choose_encoding,
    deflate,
    inflate,
    read_encoding,
)
from downshift.server.errors import BadInput, BodyTooLarge, UnsupportedMedia

packed = partial(gzip.compress, mtime=0)  # the same bytes, and test names, whenever it is collected

TEXT = b"pets and more pets" * 9


def naked(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(packed(TEXT), GZIP), (zlib.compress(TEXT), DEFLATE), (naked(TEXT), DEFLATE)],
    ids=["gzip", "zlib", "naked"],
)
def test_what_clients_compress_is_inflated(body: bytes, encoding: str) -> None:
    assert inflate(body, encoding, len(TEXT)) == TEXT


@given(st.binary(max_size=3000), st.sampled_from([GZIP, DEFLATE]))
def test_what_is_deflated_is_inflated_again(content: bytes, encoding: str) -> None:
    assert inflate(deflate(content, encoding), encoding, 3000) == content


@pytest.mark.parametrize("encoding", [GZIP, DEFLATE])
def test_a_bomb_is_refused_in_bounded_memory(encoding: str) -> None:
    bomb = deflate(bytes(200_000_000), encoding)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="longer than the 100000 bytes"):
            inflate(bomb, encoding, 100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(bomb) + 1_000_000


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"no gzip at all", "not valid gzip"),
        (packed(TEXT)[:-9], "cut short"),
        (packed(TEXT)[:5], "cut short"),
        (packed(TEXT)[:-8] + bytes(8), "not valid gzip"),
        (packed(TEXT) + b"more", "4 bytes follow"),
        (zlib.compress(TEXT), "not valid gzip"),
    ],
)
def test_a_damaged_body_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        inflate(body, GZIP, 10_000)


@given(st.binary(max_size=60), st.sampled_from([GZIP, DEFLATE]))
def test_no_body_gives_anything_but_content_or_a_refusal(body: bytes, encoding: str) -> None:
    with suppress(BadInput, BodyTooLarge):
        assert len(inflate(body, encoding, 100)) <= 100


@pytest.mark.parametrize(
    ("header", "encoding"),
    [(None, IDENTITY), ("identity", IDENTITY), (" GZip ", GZIP), ("x-gzip", GZIP), ("deflate", DEFLATE)],
)
def test_known_encodings_are_read(header: str | None, encoding: str) -> None:
    assert read_encoding(header) == encoding


@pytest.mark.parametrize("header", ["br", "zstd", "gzip, gzip", "gzip" * 50])
def test_other_encodings_are_refused(header: str) -> None:
    with pytest.raises(UnsupportedMedia, match="send gzip, deflate, or the plain body"):
        read_encoding(header)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, IDENTITY),
        ("", IDENTITY),
        ("br, zstd", IDENTITY),
        ("gzip;q=0", IDENTITY),
        ("*", IDENTITY),
        ("gzip", GZIP),
        ("gzip, deflate, br", GZIP),
        ("deflate", DEFLATE),
        ("deflate;q=1.0, gzip;q=0.5", DEFLATE),
        ("gzip; q=0, deflate", DEFLATE),
        (";;q=,,gzip;q=x", GZIP),
    ],
)
def test_an_answer_is_compressed_as_the_client_prefers(header: str | None, encoding: str) -> None:
    assert choose_encoding(header) == encoding
