"""Small unsigned integers packed back to back: the bit streams that hold an artifact's masks.

Value k occupies bits [k * bits, (k + 1) * bits) of the stream, its lowest bit first; bit j of the stream is
bit j % 8 of byte j // 8, the lowest first. Bits after the last value are zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BYTE = 8


def bits_for(subnets: int) -> int:
    """Bits that hold a level in [0, subnets], which is ceil(log2(subnets + 1))."""
    return subnets.bit_length()


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` packed values of `bits` bits occupy."""
    return -(-count * bits // BYTE)


def pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The values, in flat order, as one byte vector; `SpecError` when one needs more than `bits` bits."""
    flat = values.reshape(-1)
    if flat.size and int(flat.max()) >> bits:
        raise SpecError(f"value {int(flat.max())}: {bits} bits hold 0 to {2**bits - 1}")
    planes = (flat[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes, bitorder="little")


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint8]:
    """The `count` values of `bits` bits in the stream; `SpecError` when its length or padding is wrong."""
    if packed.size != packed_size(count, bits):
        needed = packed_size(count, bits)
        raise SpecError(f"{packed.size} bytes for {count} values of {bits} bits, which take {needed}")
    planes = np.unpackbits(packed.reshape(-1), bitorder="little")
    if planes[count * bits :].any():
        raise SpecError(f"a bit is set after the last of {count} values")
    weights = (1 << np.arange(bits)).astype(np.uint8)
    return planes[: count * bits].reshape(count, bits) @ weights
