"""What ends a run before its time: SIGTERM, Ctrl-C, a full disk; each ends in one sentence."""

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
    """Within, an end by a signal or by Ctrl-C says which checkpoint there is to go on from."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as end:
        how = "Ctrl-C" if isinstance(end, KeyboardInterrupt) else "SIGTERM"
        remedy = "start again" if run.saved is None else "go on with --resume"
        report.say(f"ended by {how} at step {run.step} of {run.steps}; {run.kept}: {remedy}")
        raise


@contextmanager
def storage_errors(out: Path, run: TrainingRun) -> Iterator[None]:
    """Within, a full disk is a `StorageError` that says which checkpoint is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(
            f"{out}: {error.strerror} at step {run.step} of {run.steps}; {run.kept}: free some space, then "
            + ("start again" if run.saved is None else "go on with --resume")
        ) from error


@contextmanager
def exiting_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises `SystemExit` 143, so that loading processes end and half-written files go.

    A second SIGTERM ends the process at once. Outside the main thread Python allows no handler: nothing
    changes there.
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
