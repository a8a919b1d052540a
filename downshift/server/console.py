"""What the operator sees: a progress bar while the model is prepared, then where and how to ask."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from downshift.runtime.preparation import Prepared
    from downshift.runtime.profiling.profile import Profile, SubnetLatency
    from downshift.runtime.profiling.profiler import Progress as Report


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on stderr, to be told the finished fraction and a text; it disappears at the end.

    Where stderr is no terminal nothing is printed.
    """
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)

        def report(fraction: float, text: str) -> None:
            progress.update(task, completed=fraction, description=text)

        yield report


def subnets_text(model: str, prepared: Prepared) -> str:
    """What to print when a model is ready: its sub-nets, and why an engine is not used."""
    lines = [f"{model}: {len(prepared.profile.subnets)} sub-nets on {prepared.programs.threads} threads"]
    lines += map(_line, prepared.profile.subnets)
    if prepared.improvement is not None:
        lines.append("  note: measured roughly; while no request waits, faster programs are looked for")
    lines += (f"  note: {reason}" for reason in prepared.programs.skipped)
    return "\n".join(lines)


def ready_text(url: str, picture: Path) -> str:
    """What to print when every model is: a curl line that sends this picture, and the URL to open."""
    return (
        f"\nTry:   curl -i -H 'X-Latency-Budget-Ms: 50' --data-binary @{picture} {url}/predict\nOpen:  {url}"
    )


def improved_text(model: str, profile: Profile) -> str:
    """What to print when faster programs, measured with care, have taken the place of the first ones."""
    return "\n".join([f"{model}: tuned for this machine, and remembered", *map(_line, profile.subnets)])


def _line(subnet: SubnetLatency) -> str:
    accuracy = "not measured" if subnet.accuracy is None else f"{subnet.accuracy:.2%}"
    return (
        f"  {subnet.name:<8} sparsity {subnet.sparsity:4.0%}  accuracy {accuracy:<12}  "
        f"p50 {subnet.p50[1] * 1e3:.3f} ms  p99 {subnet.p99[1] * 1e3:.3f} ms  {subnet.engines[1]}"
    )
