"""Work in small pieces, done between requests: an iterator whose every step is short.

What a step yields is how many seconds to rest before the next; what the iterator returns is its result.
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

REST = 0.002
NICENESS = 10


def finish(work: Work[Result]) -> Result:
    """The result of all of the work, done now."""
    while True:
        try:
            rest = next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if rest > 0:
            time.sleep(rest)


def aside(task: Callable[[], Result]) -> Work[Result]:
    """The result of something that takes too long for one piece: a thread of low priority does it.

    Closed before its end, it returns only when the task is done.
    """
    with ThreadPoolExecutor(1, "downshift-background", _step_back) as pool:
        future = pool.submit(task)
        while not future.done():
            yield REST
    return future.result()


def _step_back() -> None:
    """Let every other thread of the machine go first."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
