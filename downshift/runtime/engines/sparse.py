"""The sparse engine: our own CPU kernels, which skip the zeros of a sub-net."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.models.materialize import materialize
from downshift.runtime import _kernels
from downshift.runtime.background import aside, finish
from downshift.runtime.engines.engine import unchecked
from downshift.runtime.engines.packed_program import PackedProgram, programs_of
from downshift.runtime.engines.sparse_network import network
from downshift.runtime.engines.tiling_cache import TilingCache
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.shrink import shrunk
from downshift.runtime.machine import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.background import Work
    from downshift.runtime.engines.engine import Fit
    from downshift.runtime.json_cache import JsonCache

log = logging.getLogger(__name__)

NAME = "sparse"
PIECE_SECONDS = 0.002


class SparseProgram(PackedProgram):
    """A `PackedProgram` in float32, which can be tuned: its tilings are found by measuring."""

    engine = NAME

    def __init__(
        self,
        describe: Callable[[], _kernels.Network],
        workers: _kernels.Workers,
        tilings: Sequence[_kernels.Tiling] | None,
        keep: Callable[[Sequence[_kernels.Tiling]], None],
    ) -> None:
        """describe: makes the network anew. tilings: found by an earlier `tune`. keep: stores new ones."""
        super().__init__()
        self._describe = describe
        self._workers = workers
        self._tilings = tilings
        self._keep = keep

    @property
    def tuned(self) -> bool:
        """Whether its tilings were measured on this machine, now or at an earlier start."""
        return self._tilings is not None

    def tune(self, seconds: float) -> None:
        """All of `tuning` at once."""
        finish(self.tuning(seconds))

    def tuning(self, seconds: float, fit: Fit = unchecked) -> Work[None]:
        """See `Tunable`: better tilings are measured; runs meanwhile take turns with the measurements."""
        described = yield from aside(self._describe)
        search = yield from aside(partial(described.tuning, self._workers))
        spent = 0.0
        while spent < seconds:
            begin = time.perf_counter()
            more = search.advance(PIECE_SECONDS)
            spent += time.perf_counter() - begin
            if not more:
                break
            yield 0.0
        tilings = search.best
        packed = yield from aside(partial(described.compile, self._workers, tilings))
        if not (yield from aside(partial(fit, packed.run))):
            return
        with self._lock:
            self._tilings, self._packed = tilings, packed
        yield from aside(partial(self._keep, tilings))

    def _compiled(self) -> _kernels.Program:
        described = self._describe()
        try:
            return described.compile(self._workers, self._tilings or [])
        except ValueError:
            if self._tilings is None:
                raise
            log.warning("cached tilings do not fit this network and are ignored")
            self._tilings = None
            return described.compile(self._workers)


@dataclass(frozen=True)
class SparseEngine:
    """Lowers each materialised sub-net to our kernels.

    cache: where tilings found by measuring are kept.
    """

    cache: JsonCache
    name: str = NAME
    precision: Precision = "fp32"

    @cached_property
    def version(self) -> str:
        """Digest of the compiled kernels, and the instruction set they use here."""
        return f"{kernels_digest()}-{_kernels.isa()}"

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, SparseProgram | UnsupportedModel]:
        """A program for every named sub-net, all on the same `threads` threads, or why there is none.

        Every sub-net is lowered here, so that what cannot run is known at once; streams are packed later.
        """
        workers = _kernels.Workers(threads)
        machine = this_machine(threads, {self.name: self.version})
        cache = TilingCache(self.cache, artifact.manifest.sha256, machine)

        def made(subnet: str) -> SparseProgram:
            describe = partial(_described, artifact, subnet)
            describe()
            return SparseProgram(describe, workers, cache.load(subnet), partial(cache.store, subnet))

        return programs_of(subnets, made)


@cache
def kernels_digest() -> str:
    """Digest of the compiled kernels: another build may be faster."""
    return hashlib.sha256(Path(str(_kernels.__file__)).read_bytes()).hexdigest()[:16]


def cpu(cache: JsonCache) -> SparseEngine:
    """The sparse engine; raises `EngineUnavailable` where DOWNSHIFT_FORCE_ISA names what is not there."""
    try:
        _kernels.isa()
    except ValueError as error:
        raise EngineUnavailable(NAME, str(error), "unset DOWNSHIFT_FORCE_ISA") from error
    return SparseEngine(cache)


def _described(artifact: Artifact, subnet: str) -> _kernels.Network:
    try:
        return network(shrunk(lower(materialize(artifact, subnet))))
    except UnsupportedModel as reason:
        raise UnsupportedModel(f"engine {NAME}: sub-net {subnet}: {reason}") from reason
