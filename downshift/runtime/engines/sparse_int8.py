"""The sparse engine in int8: our own integer kernels, which skip the zeros of a quantised sub-net."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from downshift.models.materialize import materialize
from downshift.runtime import _kernels
from downshift.runtime.engines.integer_network import network
from downshift.runtime.engines.sparse import kernels_digest
from downshift.runtime.errors import CalibrationError, EngineUnavailable, UnsupportedModel
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.json_cache import JsonCache
    from downshift.runtime.request import FloatArray

NAME = "sparse-int8"


class SparseInt8Program:
    """One quantised sub-net as a compact stream of its non-zero weights, packed when it is first run.

    Safe from any thread: programs of one `compile` share their threads and take turns.
    """

    engine = NAME

    def __init__(self, describe: Callable[[], _kernels.Int8Network], workers: _kernels.Workers) -> None:
        """describe: makes the network anew."""
        self._describe = describe
        self._workers = workers
        self._lock = threading.Lock()
        self._packed: _kernels.Int8Program | None = None

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W]; raises ValueError for another shape."""
        return (self._packed or self._pack()).run(batch)

    @property
    def stream_bytes(self) -> int:
        """Memory of the packed weights."""
        return (self._packed or self._pack()).stream_bytes

    def _pack(self) -> _kernels.Int8Program:
        with self._lock:
            if self._packed is None:
                self._packed = self._describe().compile(self._workers)
            return self._packed


@dataclass(frozen=True)
class SparseInt8Engine:
    """Lowers each materialised sub-net to our kernels, quantised with the artifact's activation ranges."""

    name: str = NAME
    precision: Precision = "int8"

    @cached_property
    def version(self) -> str:
        """Digest of the compiled kernels, and the instruction set they use here."""
        return f"{kernels_digest()}-{_kernels.int8_isa()}"

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, SparseInt8Program | UnsupportedModel]:
        """A program for every named point, all on the same `threads` threads, or why there is none.

        Every sub-net is lowered here, so that what cannot run is known at once; streams are packed later.
        """
        workers = _kernels.Workers(threads)
        programs: dict[str, SparseInt8Program | UnsupportedModel] = {}
        for subnet in subnets:
            describe = partial(_described, artifact, subnet)
            try:
                describe()
            except UnsupportedModel as reason:
                programs[subnet] = reason
            else:
                programs[subnet] = SparseInt8Program(describe, workers)
        return programs


def cpu(_cache: JsonCache) -> SparseInt8Engine:
    """The sparse engine in int8; raises `EngineUnavailable` where DOWNSHIFT_FORCE_ISA is not there."""
    try:
        _kernels.int8_isa()
    except ValueError as error:
        raise EngineUnavailable(NAME, str(error), "unset DOWNSHIFT_FORCE_ISA") from error
    return SparseInt8Engine()


def _described(artifact: Artifact, point: str) -> _kernels.Int8Network:
    subnet = artifact.manifest.point(point).subnet
    if subnet.int8 is None:
        raise CalibrationError(f"sub-net {subnet.name} has no int8: run `downshift quantize` on it first")
    try:
        return network(integer(lower(materialize(artifact, subnet.name)), subnet.int8.ranges))
    except UnsupportedModel as reason:
        raise UnsupportedModel(f"engine {NAME}: sub-net {point}: {reason}") from reason
