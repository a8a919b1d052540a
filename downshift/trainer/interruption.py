"""Early termination of a run: SIGTERM, Ctrl-C and a full disk each end in one sentence."""

from __future__ import annotations

import errno
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from downshift.trainer.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from downshift.trainer.progress import Reporter
    from downshift.trainer.run import TrainingRun

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def reporting_last_checkpoint(run: TrainingRun, report: Reporter) -> Iterator[None]:
    """Context: on SIGTERM and Ctrl-C, report the last checkpoint, then propagate."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as end:
        how = "Ctrl-C" if isinstance(end, KeyboardInterrupt) else "SIGTERM"
        remedy = "start again" if run.saved is None else "continue with --resume"
        report.say(f"ended by {how} at step {run.step} of {run.steps}; {run.kept}: {remedy}")
        raise


@contextmanager
def storage_errors(out: Path, run: TrainingRun) -> Iterator[None]:
    """Context: a full disk becomes a `StorageError` that names the last checkpoint."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(
            f"{out}: {error.strerror} at step {run.step} of {run.steps}; {run.kept}: free some space, then "
            + ("start again" if run.saved is None else "continue with --resume")
        ) from error


@contextmanager
def exiting_on_sigterm() -> Iterator[None]:
    """Context: SIGTERM raises `SystemExit` 143, so that loading processes exit and partial files are removed.

    A second SIGTERM kills the process at once. A no-op outside the main thread, where Python allows no signal
    handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
