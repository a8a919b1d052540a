"""The picture of a profile: accuracy against latency, and which sub-nets are worth having."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.runtime.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.runtime.profiling.profile import Profile


def draw(path: Path, profile: Profile) -> None:
    """Leave a PNG at that path: every sub-net at its p50, a line to its p99; dominated ones are hollow.

    Raises `ProfileError` where accuracies were never measured, `ModuleNotFoundError` without matplotlib.
    """
    known = [(subnet, subnet.accuracy) for subnet in profile.subnets if subnet.accuracy is not None]
    if len(known) < len(profile.subnets):
        raise ProfileError(
            "no picture: sub-nets of this artifact have no measured accuracy; train it, or leave --plot out"
        )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for subnet, accuracy in known:
        dominated = subnet.name in profile.dominated
        axis.hlines(100 * accuracy, 1e3 * subnet.p50[1], 1e3 * subnet.p99[1], color="tab:blue", alpha=0.4)
        axis.plot(
            1e3 * subnet.p50[1],
            100 * accuracy,
            "o",
            color="tab:blue",
            fillstyle="none" if dominated else "full",
        )
        label = f"{subnet.name} (dominated)" if dominated else subnet.name
        axis.annotate(label, (1e3 * subnet.p50[1], 100 * accuracy), (6, -10), textcoords="offset points")
    front = sorted((s.p50[1], accuracy) for s, accuracy in known if s.name not in profile.dominated)
    axis.step(
        [1e3 * x for x, _ in front], [100 * y for _, y in front], where="post", color="tab:blue", linewidth=1
    )
    axis.set(xscale="log", xlabel="milliseconds for one image, p50 to p99", ylabel="validation accuracy, %")
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, format="png", dpi=120)
