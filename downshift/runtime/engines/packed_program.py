"""What programs of the sparse engines share, in any precision: weights are packed when first needed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeVar

from downshift.runtime.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from downshift.runtime import _kernels
    from downshift.runtime.request import FloatArray

    Packed = _kernels.Program | _kernels.Int8Program

T = TypeVar("T")


class PackedProgram(ABC):
    """One sub-net as a compact stream of its non-zero weights, packed when it is first run.

    Safe from any thread: programs of one `compile` share their threads and take turns.
    """

    engine: ClassVar[str]

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packed: Packed | None = None

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W]; raises ValueError for another shape."""
        return (self._packed or self._pack()).run(batch)

    @property
    def stream_bytes(self) -> int:
        """Memory of the packed weights."""
        return (self._packed or self._pack()).stream_bytes

    @abstractmethod
    def _compiled(self) -> Packed:
        """The program as the kernels run it; called once, under the lock."""

    def _pack(self) -> Packed:
        with self._lock:
            if self._packed is None:
                self._packed = self._compiled()
            return self._packed


def programs_of(subnets: Sequence[str], made: Callable[[str], T]) -> dict[str, T | UnsupportedModel]:
    """What `made` makes of every named sub-net, or the `UnsupportedModel` that it raises."""
    found: dict[str, T | UnsupportedModel] = {}
    for subnet in subnets:
        try:
            found[subnet] = made(subnet)
        except UnsupportedModel as reason:
            found[subnet] = reason
    return found
