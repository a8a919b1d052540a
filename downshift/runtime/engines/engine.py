"""The seam between the scheduler and whatever computes: `Engine` compiles, `Program` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.background import Work
    from downshift.runtime.errors import UnsupportedModel
    from downshift.runtime.gpu.busy import BusyMeter
    from downshift.runtime.gpu.driver import Device
    from downshift.runtime.request import FloatArray

Forward: TypeAlias = "Callable[[FloatArray], FloatArray]"
"""The forward pass, as `Program.run` is: logits for a batch."""
Fit: TypeAlias = "Callable[[Forward], bool]"
"""Whether a program with that forward pass may answer requests."""


def unchecked(run: Forward) -> bool:  # noqa: ARG001 - a `Fit`
    """Accept any program: for callers that check later."""
    return True


class Program(Protocol):
    """One sub-net compiled for this machine.

    Only one thread runs a program at a time, so it may own scratch memory.
    """

    @property
    def engine(self) -> str:
        """Name of the engine that compiled it."""
        ...

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W], any n >= 1; releases the GIL meanwhile.

        The batch is C-contiguous, is not modified, and may be overwritten afterwards; the result is the
        caller's to keep.
        """
        ...


@runtime_checkable
class Tunable(Protocol):
    """A program that can autotune: search for a faster configuration by measuring on this machine."""

    @property
    def tuned(self) -> bool:
        """Whether it was tuned, now or at an earlier start."""
        ...

    def tuning(self, seconds: float, fit: Fit = unchecked) -> Work[None]:
        """Autotune in steps of milliseconds that take about `seconds` together.

        The program switches to the best configuration at the end and caches it; until then it runs as
        before. When `fit`, which may be called on another thread, rejects the result, it keeps running as
        before and counts as not tuned.
        """
        ...


@runtime_checkable
class OnDevice(Protocol):
    """A program, or an engine, that computes on a GPU."""

    @property
    def device(self) -> Device:
        """Which one."""
        ...

    @property
    def busy(self) -> BusyMeter:
        """Our own time on it, of all programs of the engine together."""
        ...


class Engine(Protocol):
    """Compiles sub-nets; constructing one raises `EngineUnavailable` where it cannot work at all."""

    @property
    def name(self) -> str:
        """The name users ask for and metrics carry."""
        ...

    @property
    def precision(self) -> Precision:
        """Of the points that it compiles."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever speed may change; part of the key of cached profiles."""
        ...

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, Program | UnsupportedModel]:
        """For every named sub-net, in the engine's precision, its program or why this engine cannot run it.

        subnets: names of points, such as `s90`, or `s90-int8` for an engine in int8. All at once, so that an
        engine can share memory between them. Raises `UnsupportedModel` when it can run none of them.
        """
        ...
