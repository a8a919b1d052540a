"""What the collector of reference cycles need not look at again: everything a server has once it is ready."""

from __future__ import annotations

import gc


def set_aside() -> None:
    """Collect now, and leave whatever is still there out of later collections.

    A collection of everything holds the interpreter for some 40 ms, under load for four times that, and every
    request waits. What comes and goes with requests is little, and collected as before. To be called again
    when something large has become garbage, which would else stay for good.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
