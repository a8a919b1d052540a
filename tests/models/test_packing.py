"""Small integers survive being packed, and the stream's bits lie where the format says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.errors import SpecError
from downshift.models.packing import bits_for, pack, packed_size, unpack


@pytest.mark.parametrize(
    ("values", "bits", "stream"),
    [
        ([], 3, []),
        ([1], 1, [0b1]),
        ([1, 0, 0, 0, 0, 0, 0, 0, 1], 1, [0b00000001, 0b1]),
        ([1, 2, 3, 0], 2, [0b00_11_10_01]),
        ([7, 0, 5], 3, [0b01_000_111, 0b1]),
        ([5, 6], 4, [0x65]),
        ([255, 1], 8, [255, 1]),
    ],
)
def test_literal_streams(values: list[int], bits: int, stream: list[int]) -> None:
    packed = pack(np.array(values, np.uint8), bits)
    assert packed.dtype == np.uint8
    assert packed.tolist() == stream
    assert unpack(packed, len(values), bits).tolist() == values


@pytest.mark.parametrize("subnets", [1, 2, 3, 4, 5, 7, 8, 15, 16, 254, 255])
def test_bits_are_the_rounded_up_logarithm_of_the_number_of_levels(subnets: int) -> None:
    assert bits_for(subnets) == math.ceil(math.log2(subnets + 1))


@given(st.integers(1, 8), st.data())
def test_any_values_come_back(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    packed = pack(np.array(values, np.uint8), bits)
    assert packed.size == packed_size(len(values), bits) == math.ceil(len(values) * bits / 8)
    assert unpack(packed, len(values), bits).tolist() == values


def test_a_value_that_needs_more_bits_is_refused() -> None:
    with pytest.raises(SpecError, match="value 4: 2 bits hold 0 to 3"):
        pack(np.array([1, 4], np.uint8), 2)


@pytest.mark.parametrize(
    ("stream", "problem"), [([1, 0], "2 bytes for 5"), ([], "0 bytes for 5"), ([32], "after the last of 5")]
)
def test_a_stream_of_another_length_or_with_set_padding_is_refused(stream: list[int], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        unpack(np.array(stream, np.uint8), 5, 1)
