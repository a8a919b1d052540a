from __future__ import annotations

import pytest

from downshift.models.images.errors import BrokenImage
from downshift.models.images.jpeg import MAX_EXIF, MAX_SCANS, check_jpeg
from downshift.models.images.reader import read_image
from tests.models.images.pictures import encoded, noise, picture


def segment(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2) + data


SCAN = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + b"\x12\xff\x00\x34\xff\xd0\x56"
END = b"\xff\xd9"


def jpeg(*parts: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(parts)


def test_as_many_scans_as_encoders_write_pass() -> None:
    check_jpeg(jpeg(SCAN * MAX_SCANS, END), 1)


def test_endless_scans_are_refused() -> None:
    with pytest.raises(BrokenImage, match="more than 100 scans: save it anew"):
        check_jpeg(jpeg(SCAN * (MAX_SCANS + 1)), 1)


def test_an_end_inside_a_segment_hides_nothing() -> None:
    comment = segment(0xFE, b"\xff\xd9")
    with pytest.raises(BrokenImage, match="scans"):
        check_jpeg(jpeg((comment + SCAN) * (MAX_SCANS + 1)), 1)


def test_what_follows_the_picture_does_not_count() -> None:
    check_jpeg(jpeg(SCAN, END, SCAN * 200), 1)


def test_scans_of_an_embedded_thumbnail_do_not_count() -> None:
    check_jpeg(jpeg(segment(0xE1, SCAN * 200), SCAN, END), 1)


def test_exif_spread_over_segments_is_added_up() -> None:
    exif = segment(0xE1, b"Exif\0\0" + bytes(60_000))
    check_jpeg(jpeg(exif, SCAN, END), 1)
    with pytest.raises(BrokenImage, match="bytes of EXIF: save it without"):
        check_jpeg(jpeg(exif * (MAX_EXIF // 60_000 + 1), SCAN, END), 1)


def test_a_real_progressive_picture_with_repeated_scans_is_refused_before_decoding() -> None:
    data = encoded(picture(noise(16, 16)), "JPEG", progressive=True)
    read_image(data)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(BrokenImage, match="scans"):
        read_image(data[:-2] + data[last:-2] * 100 + END)
