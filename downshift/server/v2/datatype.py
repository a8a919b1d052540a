"""Input datatypes of the V2 protocol, and their conversion to the network's FP32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from downshift.models.pixels import normalise
from downshift.server.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec


@dataclass(frozen=True)
class Datatype:
    """A datatype of the V2 protocol; `wire` is its little-endian binary form."""

    name: str
    wire: np.dtype[Any]

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        """Numbers parsed from JSON as this datatype; raises `BadInput` for values out of its range."""
        with np.errstate(over="ignore"):
            return values.astype(self.wire)

    def to_input(self, values: NDArray[Any], spec: InputSpec) -> NDArray[np.float32]:  # noqa: ARG002  pixels
        """Values [N, C, H, W] as the network's float32 input; raises `BadInput` unless all are finite."""
        with np.errstate(over="ignore"):
            inputs = values.astype(np.float32, copy=False)
        if not np.isfinite(inputs).all():
            raise BadInput(f"inputs[0].data holds NaN, infinity, or a number too large for {self._limit}")
        return inputs

    @property
    def _limit(self) -> str:
        return self.name if self.wire.itemsize < FP32.wire.itemsize else FP32.name


class Pixels(Datatype):
    """8-bit pixels, 0 to 255, normalised by the server with the manifest's mean and deviation."""

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        """See `Datatype.cast`: whole numbers from 0 to 255 only."""
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > np.iinfo(self.wire).max:
            raise BadInput(f"inputs[0].data of datatype {self.name} must hold whole numbers from 0 to 255")
        return values.astype(self.wire)

    def to_input(self, values: NDArray[Any], spec: InputSpec) -> NDArray[np.float32]:
        """See `Datatype.to_input`."""
        return normalise(values, spec)


FP32 = Datatype("FP32", np.dtype("<f4"))
UINT8 = Pixels("UINT8", np.dtype("u1"))
DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (FP32, Datatype("FP16", np.dtype("<f2")), Datatype("FP64", np.dtype("<f8")), UINT8)
}
