"""Says when a profile is flat: sparser sub-nets that are no faster cost accuracy and gain nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile

FLAT = 1.1  # ratio of the slowest to the fastest sub-net's p50: below it they are equals but for noise


def flat(profile: Profile) -> str | None:
    """A sentence with the remedy, where no sub-net is faster than another at any batch size; else None.

    A dense engine, and any GPU, computes zeros that fall anywhere as it computes other numbers.
    """
    if len(profile.subnets) < 2:  # noqa: PLR2004 - one alone cannot differ
        return None
    seconds = [[subnet.p50[size] for subnet in profile.subnets] for size in profile.batch_sizes]
    ratio = max(max(each) / min(each) for each in seconds)
    if ratio >= FLAT:
        return None
    engines = ", ".join(sorted({m.engine for m in profile.measurements if m.chosen}))
    return (
        f"sub-nets do not differ in latency on {engines} (by {ratio - 1:.0%} at most): sparser ones are less "
        "accurate and save no time; train channel sub-nets, or 2:4 ones for TensorRT, or use engine sparse"
    )
