"""Directories are written by hand: eight bytes of header, then what a test wants to claim."""

from __future__ import annotations

import re
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedImage
from downshift.models.images.tiff import MAX_ENTRIES, MAX_VALUES, check_tiff

SHORT, LONG, LONG8, UNDEFINED, FLOAT = 3, 4, 16, 7, 11
WIDTH, COMPRESSION, STRIPS, TILE_WIDTH, TILE_LENGTH, EXIF = 256, 259, 273, 322, 323, 34665
Entry = tuple[int, int, int, int]


def tiff(*entries: Entry, order: str = "<", offset: int = 8) -> bytes:
    """A classic TIFF whose one directory has these entries: tag, type, count, value."""
    packed = b"".join(
        struct.pack(order + "HHI", tag, kind, count)
        + (struct.pack(order + "H2x", value) if kind == SHORT else struct.pack(order + "I", value))
        for tag, kind, count, value in entries
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", offset) + struct.pack(order + "H", len(entries)) + packed


def big_tiff(*entries: Entry) -> bytes:
    packed = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", len(entries)) + packed


PLAIN: Entry = (COMPRESSION, SHORT, 1, 1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_modest_picture_passes(order: str) -> None:
    check_tiff(tiff((WIDTH, LONG, 1, 64), PLAIN, (STRIPS, LONG, MAX_VALUES, 500), order=order), 100)
    check_tiff(big_tiff((WIDTH, LONG8, 1, 64), PLAIN), 100)


@pytest.mark.parametrize("make", [tiff, big_tiff])
def test_lists_without_end_are_refused(make: type) -> None:
    with pytest.raises(BrokenImage, match=f"lists {MAX_VALUES + 1} values under tag 273"):
        check_tiff(make((STRIPS, LONG, MAX_VALUES + 1, 8)), 100)


def test_a_long_profile_is_no_list() -> None:
    check_tiff(tiff((34675, UNDEFINED, 10_000_000, 8)), 100)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tile_larger_than_any_picture_is_refused(order: str) -> None:
    data = tiff((TILE_WIDTH, SHORT, 1, 30_000), (TILE_LENGTH, LONG, 1, 20_000), order=order)
    with pytest.raises(ImageTooLarge, match="tiles of 30000 x 20000 pixels, more than the 50 accepted"):
        check_tiff(data, 50)


def test_a_usual_tile_passes_though_the_limit_is_small() -> None:
    check_tiff(tiff((TILE_WIDTH, LONG, 1, 256), (TILE_LENGTH, LONG, 1, 256)), 50)


@pytest.mark.parametrize(
    "entry", [(TILE_WIDTH, FLOAT, 1, 7), (TILE_LENGTH, LONG, 2, 8), (TILE_WIDTH, LONG8, 1, 8)]
)
def test_a_tile_side_that_is_no_single_whole_number_is_refused(entry: Entry) -> None:
    with pytest.raises(BrokenImage, match=f"tag {entry[0]} is no whole number"):
        check_tiff(tiff(entry), 50)


def test_the_larger_of_two_claims_counts() -> None:
    sides = [(TILE_WIDTH, LONG, 1, side) for side in (16, 2**31)]
    with pytest.raises(ImageTooLarge):
        check_tiff(tiff(*sides), 50)


def test_a_compression_with_a_dictionary_of_its_own_size_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="TIFF compression 34925 is not read here: save it with LZW"):
        check_tiff(tiff((COMPRESSION, SHORT, 1, 34925)), 50)


def test_nested_directories_are_looked_through_too() -> None:
    inner = struct.pack("<HHHII", 1, 33437, 5, MAX_VALUES + 1, 8)
    with pytest.raises(BrokenImage, match="under tag 33437"):
        check_tiff(tiff((EXIF, LONG, 1, 22)) + inner, 50)


def test_a_directory_that_points_to_itself_comes_to_an_end() -> None:
    with pytest.raises(BrokenImage, match="more than 8 directories"):
        check_tiff(tiff((EXIF, LONG, 1, 8)), 50)


@pytest.mark.parametrize(
    "data", [b"II*\0", b"II*\0\xff\xff\xff\xff", tiff(PLAIN)[:-1], b"II+\0" + bytes(4) + b"\xff" * 8]
)
def test_directories_that_run_out_of_the_file_are_broken(data: bytes) -> None:
    with pytest.raises(BrokenImage, match="truncated or corrupt"):
        check_tiff(data, 50)


def test_a_directory_of_thousands_is_refused() -> None:
    data = big_tiff()[:16] + struct.pack("<Q", MAX_ENTRIES + 1)
    with pytest.raises(BrokenImage, match=re.escape(f"a directory of {MAX_ENTRIES + 1} entries")):
        check_tiff(data, 50)


@given(st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]), st.binary(max_size=200))
def test_no_bytes_give_anything_but_our_own_errors(magic: bytes, data: bytes) -> None:
    with suppress(ImageError, UnsupportedImage):
        check_tiff(magic + data, 50)
