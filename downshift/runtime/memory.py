"""Memory that was needed for a while: given back to the machine, where the allocator would keep it."""

from __future__ import annotations

import ctypes
import sys


def release() -> None:
    """Return what this process has freed to the system.

    glibc keeps freed memory of every thread that once asked for it; preparing a model frees as much as
    serving it needs. Elsewhere the allocator is left alone. Takes some 10 ms, without the interpreter's lock.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
