"""Data-loading processes: they exit with the trainer, and shared memory is checked before they start."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import get_worker_info

from downshift.trainer.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from multiprocessing.process import BaseProcess

    from torch import Tensor
    from torch.utils.data import DataLoader

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where torch puts the tensors that processes share
AHEAD = 2  # prefetched batches per loading process, torch's default
STALL_SECONDS = 600.0  # without a batch: a loading process hangs, in a file on a dead network disk perhaps
MIB = 2**20


def end_with_trainer(_: int) -> None:
    """Exit this loading process as soon as the trainer has exited, even after SIGKILL.

    torch's own watchdog polls the parent process, which here is the fork server: that outlives the trainer
    while it has children.
    """
    trainer = multiprocessing.parent_process()
    if trainer is None:
        return

    def watch() -> None:
        trainer.join()
        os._exit(1)

    threading.Thread(target=watch, name="trainer watch", daemon=True).start()


def share(tensor: Tensor) -> Tensor:
    """The tensor, moved to shared memory in a loading process; raises `RuntimeError` if that is full.

    Left to the queue's feeder thread, the failure would drop the batch silently and the trainer would block
    forever.
    """
    if get_worker_info() is not None:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def check_shared_memory(batch_bytes: int, loaders: int, free: int | None = None) -> None:
    """Raise `WorkerError` unless shared memory holds the batches that `loaders` processes prefetch.

    free: bytes; by default what is free now, and no limit on a system without /dev/shm.
    """
    if free is None:
        if not SHARED_MEMORY.is_dir():
            return
        free = shutil.disk_usage(SHARED_MEMORY).free
    processes = loaders * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed = batch_bytes * (AHEAD * processes + 1)
    if needed > free:
        raise WorkerError(
            f"{SHARED_MEMORY} has {free / MIB:.0f} MiB free, {processes} loading processes need "
            f"{needed / MIB:.0f} MiB: enlarge it (docker run --shm-size=1g), or load in the training process "
            "itself (--set data.workers=0)"
        )


def batches_of(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches; raises `WorkerError` when a loading process exits early, or hangs."""
    others = set(multiprocessing.active_children())
    batches = iter(loader)
    watchdog = Watchdog(set(multiprocessing.active_children()) - others)
    while True:
        try:
            with watchdog.watching():
                batch = next(batches)
        except StopIteration:
            return
        except Exception as error:
            if watchdog.fired:
                raise WorkerError(
                    f"the loading processes gave no batch for {STALL_SECONDS:.0f} s: check that the images "
                    "can be read, on a network file system above all; then continue with --resume, or load "
                    "in the training process itself (--set data.workers=0)"
                ) from error
            if not str(error).startswith(("DataLoader worker (pid", "Pin memory thread")):
                raise
            raise WorkerError(
                f"a loading process ended ({error}), as when memory runs out: continue with --resume and "
                "fewer of them, such as --set data.workers=1"
            ) from error
        yield batch


class Watchdog:
    """Kills loading processes that give nothing for `STALL_SECONDS`, which ends whatever waits for them.

    The loader's own time limit does not see a process that was stopped after it had announced a batch: the
    trainer then waits for the batch itself. Nor would such a process end when it is asked to.
    """

    def __init__(self, processes: Collection[BaseProcess]) -> None:
        self.fired = False
        self._processes = processes

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, time runs."""
        if not self._processes:
            yield
            return
        timer = threading.Timer(STALL_SECONDS, self._fire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _fire(self) -> None:
        self.fired = True
        for process in self._processes:
            process.kill()
