"""Cooperative background work: a generator of short steps that run between requests.

A step yields the seconds to rest before the next one; the generator returns the result.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Work = Generator[float, None, Result]

REST = 0.002  # seconds between two looks at a task that another thread runs
NICENESS = 10  # of that thread


def finish(work: Work[Result]) -> Result:
    """Run all steps now, on this thread; the result of the work."""
    while True:
        try:
            rest = next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if rest > 0:
            time.sleep(rest)


def aside(task: Callable[[], Result]) -> Work[Result]:
    """Offload a task that is too long for one step to a thread of low priority; the task's result.

    Closing the generator early waits until the task is done.
    """
    with ThreadPoolExecutor(1, "downshift-background", _lower_priority) as pool:
        future = pool.submit(task)
        while not future.done():
            yield REST
    return future.result()


def _lower_priority() -> None:
    """Lower this thread's priority, so that it runs when no other thread wants the core."""
    if sys.platform == "linux":  # elsewhere priorities belong to processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
