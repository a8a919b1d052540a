"""Start-up text of `downshift serve`: a progress bar while models load, then their sub-nets and the URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.cli.console import progress_bar
from downshift.runtime.profiling.flatness import flat

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from downshift.runtime.preparation import Prepared
    from downshift.runtime.profiling.profile import Profile, SubnetLatency
    from downshift.runtime.profiling.profiler import Progress


class ServerConsole:
    """A `server.operator.Operator` that prints to stdout, and draws its progress bar on stderr.

    Models that are loaded before the server is ready are printed when it is: a line on stdout would break
    the progress bar.
    """

    def __init__(self) -> None:
        self._loaded: list[str] = []
        self._ready = False

    def loading(self) -> AbstractContextManager[Progress]:
        """A progress bar for the models that are loaded at start."""
        return progress_bar()

    def loaded(self, model: str, prepared: Prepared) -> None:
        """Print the model's sub-nets, now or when the server is ready."""
        text = subnets_text(model, prepared)
        if self._ready:
            print(text, flush=True)
        else:
            self._loaded.append(text)

    def ready(self, url: str, picture: Path, grpc_address: str | None = None) -> None:
        """Print every model's sub-nets, a curl line that sends this picture, and the addresses."""
        self._ready = True
        over_grpc = [] if grpc_address is None else [f"gRPC:  {grpc_address}"]
        print(*self._loaded, ready_text(url, picture), *over_grpc, sep="\n", flush=True)

    def improved(self, model: str, profile: Profile) -> None:
        """Print the latencies after tuning."""
        print(improved_text(model, profile), flush=True)


def subnets_text(model: str, prepared: Prepared) -> str:
    """A line for each sub-net of a loaded model, and for each engine that is not used, with the reason."""
    lines = [f"{model}: {len(prepared.profile.subnets)} sub-nets on {prepared.programs.threads} threads"]
    lines += map(_line, prepared.profile.subnets)
    if prepared.improvement is not None:
        lines.append("  note: measured roughly; tuning goes on while no request waits")
    notes = (*prepared.programs.skipped, flat(prepared.profile))
    lines += (f"  note: {note}" for note in notes if note is not None)
    return "\n".join(lines)


def ready_text(url: str, picture: Path) -> str:
    """A curl line that sends this picture, and the URL to open."""
    return (
        f"\nTry:   curl -i -H 'X-Latency-Budget-Ms: 50' --data-binary @{picture} {url}/predict\nOpen:  {url}"
    )


def improved_text(model: str, profile: Profile) -> str:
    """A line for each sub-net after tuning, with its new latencies."""
    return "\n".join([f"{model}: tuned for this machine, profile cached", *map(_line, profile.subnets)])


def _line(subnet: SubnetLatency) -> str:
    accuracy = "not measured" if subnet.accuracy is None else f"{subnet.accuracy:.2%}"
    return (
        f"  {subnet.name:<8} sparsity {subnet.sparsity:4.0%}  accuracy {accuracy:<12}  "
        f"p50 {subnet.p50[1] * 1e3:.3f} ms  p99 {subnet.p99[1] * 1e3:.3f} ms  {subnet.engines[1]}"
    )
