"""Files made to hurt: bombs are refused in bounded memory, damage of any kind never fails the server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.models.images.bombs import BOMBS
from tests.models.images.pictures import encoded, noise, picture
from tests.server.doubles import serving

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 32 * 2**20

FILES = {
    "jpeg": encoded(picture(noise(12, 9)), "JPEG"),
    "progressive jpeg": encoded(picture(noise(12, 9)), "JPEG", progressive=True),
    "cmyk jpeg": encoded(picture(noise(12, 9)).convert("CMYK"), "JPEG"),
    "png": encoded(picture(noise(12, 9, 4)), "PNG"),
    "palette png": encoded(picture(noise(12, 9)).quantize(9), "PNG", transparency=1),
    "webp": encoded(picture(noise(12, 9, 4)), "WEBP"),
    "lossless webp": encoded(picture(noise(12, 9)), "WEBP", lossless=True),
    "gif": encoded(
        picture(noise(12, 9)), "GIF", save_all=True, append_images=[picture(noise(12, 9, seed=1))]
    ),
    "bmp": encoded(picture(noise(12, 9)), "BMP"),
    "tiff": encoded(picture(noise(12, 9)), "TIFF"),
    "lzw tiff": encoded(picture(noise(12, 9)), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encoded(picture(noise(12, 9)), "TIFF", compression="jpeg"),
    "fax": encoded(Image.new("1", (40, 40)), "TIFF", compression="group4"),
}


@pytest.fixture(scope="module")
def costs() -> Mapping[str, tuple[str, int, int]]:
    """What reading every bomb answered, its size, and the memory it took, in a process of its own."""
    program = [sys.executable, "-m", "tests.models.images.bombs"]
    costs: dict[str, tuple[str, int, int]] = json.loads(subprocess.check_output(program))
    return costs


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts in other units elsewhere")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(name: str, costs: Mapping[str, tuple[str, int, int]]) -> None:
    answer, _, memory = costs[name]
    assert answer in {"ImageTooLarge", "BrokenImage"}
    assert memory < MEMORY


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 7)), max_size=12),
    st.integers(0, 2**16) | st.none(),
)
async def test_flipped_bits_and_cut_ends_never_fail_the_server(
    name: str, flips: list[tuple[int, int]], end: int | None
) -> None:
    data = bytearray(FILES[name])
    for position, bit in flips:
        data[position % len(data)] ^= 1 << bit
    if end is not None:
        del data[max(1, end % len(data)) :]
    async with serving(max_pixels=10_000) as served:
        response = await served.client.post("/predict", content=bytes(data))
    assert response.status_code in {200, 400, 413, 415}
    if response.status_code != 200:
        assert list(response.json()) == ["error"]
        assert not served.backend.requests
