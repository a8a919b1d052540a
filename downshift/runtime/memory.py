"""Returns freed memory to the operating system where the C allocator would keep it."""

from __future__ import annotations

import ctypes
import sys


def release() -> None:
    """Trim the heap: `malloc_trim` of glibc returns freed pages of all arenas to the system.

    glibc keeps an arena for every thread that ever allocated; preparing a model frees as much memory as
    serving it needs. Does nothing with other C libraries. Takes some 10 ms and releases the GIL.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
