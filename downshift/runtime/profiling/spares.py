"""Programs that are kept although others are faster: where a sub-net goes when its GPU is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from downshift.runtime.engines.programs import Pair
    from downshift.runtime.profiling.profile import Profile


def needless(profile: Profile, on_device: AbstractSet[str]) -> frozenset[Pair]:
    """Pairs of sub-net and engine that nobody needs: outrun at every batch size, and no spare.

    on_device: names of engines on a GPU. A sub-net that only such engines run has one spare: its fastest
    program on an engine that needs no GPU, where there is one.
    """
    spares: set[Pair] = set()
    for name in profile.names:
        rows = [m for m in profile.measurements if m.subnet == name]
        if all(m.engine in on_device for m in rows if m.chosen):
            elsewhere = [m for m in rows if m.engine not in on_device and m.batch_size == 1]
            spares |= {(name, min(elsewhere, key=lambda m: m.p50).engine)} if elsewhere else set()
    return profile.outrun - spares
