"""The sparse engine in int8: our own integer kernels, which skip the zeros of a quantised sub-net."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from downshift.models.materialize import materialize
from downshift.runtime import _kernels
from downshift.runtime.engines.exported import int8_of
from downshift.runtime.engines.integer_network import network
from downshift.runtime.engines.packed_program import PackedProgram, programs_of
from downshift.runtime.engines.sparse import kernels_digest
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.json_cache import JsonCache

NAME = "sparse-int8"


class SparseInt8Program(PackedProgram):
    """A `PackedProgram` in int8."""

    engine = NAME

    def __init__(self, describe: Callable[[], _kernels.Int8Network], workers: _kernels.Workers) -> None:
        """describe: makes the network anew."""
        super().__init__()
        self._describe = describe
        self._workers = workers

    def _compiled(self) -> _kernels.Int8Program:
        return self._describe().compile(self._workers)


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

        def made(point: str) -> SparseInt8Program:
            describe = partial(_described, artifact, point)
            describe()
            return SparseInt8Program(describe, workers)

        return programs_of(subnets, made)


def cpu(_cache: JsonCache) -> SparseInt8Engine:
    """The sparse engine in int8; raises `EngineUnavailable` where DOWNSHIFT_FORCE_ISA is not there."""
    try:
        _kernels.int8_isa()
    except ValueError as error:
        raise EngineUnavailable(NAME, str(error), "unset DOWNSHIFT_FORCE_ISA") from error
    return SparseInt8Engine()


def _described(artifact: Artifact, point: str) -> _kernels.Int8Network:
    subnet = artifact.manifest.point(point).subnet.name
    ranges = int8_of(artifact, subnet).ranges
    try:
        return network(integer(lower(materialize(artifact, subnet)), ranges))
    except UnsupportedModel as reason:
        raise UnsupportedModel(f"engine {NAME}: sub-net {point}: {reason}") from reason
