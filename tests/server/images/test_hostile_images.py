"""Damaged files of any kind never fail the server."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.models.images.pictures import encoded, noise, picture
from tests.server.doubles import serving

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


@settings(max_examples=300)
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
