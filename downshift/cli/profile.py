"""`downshift profile`: latency of every sub-net on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import Device, Json, Model, Threads, option

EXAMPLE = "downshift profile model.onnx --threads 2"


def profile(
    model: Model,
    threads: Threads = None,
    remeasure: Annotated[
        bool, option("Measure again, even if a profile is cached", False, "--remeasure")
    ] = False,
    plot: Annotated[
        Path | None,
        option("PNG file for a plot of accuracy against latency (needs downshift\\[train])", "none"),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure every sub-net's latency on this machine, for each engine and batch size."""
    import json
    from dataclasses import asdict

    from downshift.cli import plots
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.bundled import locate
    from downshift.runtime.gpu.driver import DeviceChoice
    from downshift.runtime.preparation import Setup, prepare
    from downshift.runtime.profiling.flatness import flat

    with progress_bar() as report:
        prepared = prepare(
            locate(model), Setup(threads=threads, remeasure=remeasure, device=DeviceChoice(device)), report
        )
    measurements, dominated = prepared.profile.measurements, prepared.profile.dominated
    if plot is not None:
        plots.draw(plot, prepared.profile)
    if as_json:
        typer.echo(json.dumps([asdict(measurement) for measurement in measurements], indent=2))
        return
    for note in (*prepared.programs.skipped, flat(prepared.profile)):
        if note is not None:
            typer.echo(f"note: {note}", err=True)
    print_table(
        ("sub-net", "sparsity", "accuracy", "engine", "batch", "p50 ms", "p95 ms", "p99 ms", "chosen", ""),
        (
            (
                *(m.subnet, f"{m.sparsity:.4f}", percent(m.accuracy), m.engine, str(m.batch_size)),
                *(f"{seconds * 1e3:.3f}" for seconds in (m.p50, m.p95, m.p99)),
                "yes" if m.chosen else "",
                "dominated" if m.subnet in dominated else "",
            )
            for m in measurements
        ),
    )
    for name in sorted(dominated):
        typer.echo(f"{name} is dominated: another sub-net is at least as accurate and at least as fast")
