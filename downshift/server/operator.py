"""What the person who starts the server is told; the command line prints it."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from downshift.runtime.preparation import Prepared
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.profiling.profiler import Progress


class Operator(Protocol):
    """Receives start-up progress and results; each method may be called from any thread."""

    def loading(self) -> AbstractContextManager[Progress]:
        """Entered while the models of the command line are loaded; receives fractions in [0, 1] and texts."""

    def loaded(self, model: str, prepared: Prepared) -> None:
        """A model is profiled and answers: at start, or again after its file was replaced."""

    def ready(self, url: str, picture: Path, grpc_address: str | None = None) -> None:
        """Every model of the command line answers at this URL, and there over gRPC; picture: one to try."""

    def improved(self, model: str, profile: Profile) -> None:
        """Tuning in the background has found faster programs, with this profile."""


class Unfailing:
    """Wraps another operator and drops what it cannot print: a full disk or a closed pipe ends no server."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def loading(self) -> AbstractContextManager[Progress]:
        """The other's progress."""
        return self._operator.loading()

    def loaded(self, model: str, prepared: Prepared) -> None:
        """See `Operator.loaded`."""
        with suppress(OSError, ValueError):
            self._operator.loaded(model, prepared)

    def ready(self, url: str, picture: Path, grpc_address: str | None = None) -> None:
        """See `Operator.ready`."""
        with suppress(OSError, ValueError):
            self._operator.ready(url, picture, grpc_address)

    def improved(self, model: str, profile: Profile) -> None:
        """See `Operator.improved`."""
        with suppress(OSError, ValueError):
            self._operator.improved(model, profile)


class NullOperator:
    """Tells nobody: for servers inside another program."""

    def loading(self) -> AbstractContextManager[Progress]:
        """A progress callback that does nothing."""
        return nullcontext(lambda _fraction, _text: None)

    def loaded(self, model: str, prepared: Prepared) -> None:
        """Ignored."""

    def ready(self, url: str, picture: Path, grpc_address: str | None = None) -> None:
        """Ignored."""

    def improved(self, model: str, profile: Profile) -> None:
        """Ignored."""
